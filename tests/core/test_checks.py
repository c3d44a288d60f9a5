import math
import re
from types import SimpleNamespace

import pytest

from visionlab.core.checks import check_at_least, check_choice, check_positive, check_range


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1]", (0, 0.5, 1.0), (-0.1, 1.1, math.inf, math.nan)),
        ("[0, 1)", (0, 0.999), (1.0, -1e-9)),
        ("(0, 1]", (1e-9, 1), (0.0, 2)),
        ("[-1, 0.5]", (-1.0, 0.5), (-1.1, 0.6)),
    ],
)
def test_a_range_has_its_bounds(
    interval: str, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    for value in inside:
        check_range(SimpleNamespace(share=value), interval, "share")
    for value in outside:
        message = re.escape(f"share must be in {interval}, got {value}")
        with pytest.raises(ValueError, match=f"^{message}$"):
            check_range(SimpleNamespace(ok=0.25, share=value), interval, "ok", "share")


def test_bounds_below_and_choices() -> None:
    settings = SimpleNamespace(zero=0, one=1, infinite=math.inf, unknown=math.nan, word="a")
    check_at_least(settings, 0, "zero", "one")
    check_positive(settings, "one")
    check_choice(settings, ["a", "b"], "word")
    for name, got in {"zero": 0, "unknown": "nan"}.items():
        with pytest.raises(ValueError, match=f"^{name} must be >= 1, got {got}$"):
            check_at_least(settings, 1, "one", name)
        with pytest.raises(ValueError, match=f"^{name} must be > 0, got {got}$"):
            check_positive(settings, "one", name)
    with pytest.raises(ValueError, match=r"^infinite must be <= 1e\+09, got inf$"):
        check_at_least(settings, 1, "infinite")
    with pytest.raises(ValueError, match=r"^infinite must be <= 1e\+09, got inf$"):
        check_positive(settings, "infinite")
    with pytest.raises(ValueError, match=r"^word must be one of b, c, got 'a'$"):
        check_choice(settings, ["b", "c"], "word")
