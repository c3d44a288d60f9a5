"""Tests for a task of your own: the contract that the loop relies on.

    import pytest
    from visionlab.testing import CONTRACT

    @pytest.mark.parametrize("check", CONTRACT.values(), ids=CONTRACT)
    def test_contract(check, tmp_path):
        check(make_my_task, tmp_path)

`make_my_task()` returns a new, small `visionlab.task.Task`: about 45 training samples with a `val`
split, equal weights at each call.
"""

from visionlab.testing.contract import CONTRACT

__all__ = ["CONTRACT"]
