"""Batch norm over two processes is batch norm over their samples together."""

import copy
from collections.abc import Callable

import pytest
import torch
from groups import together
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from visionlab.core.processes import rank
from visionlab.engine.distributed.data_parallel import all_reduce_gradients
from visionlab.engine.distributed.sync_batch_norm import synchronise_batch_norms

pytestmark = pytest.mark.integration

SHARES = (5, 2)  # samples of each process
NORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "2d": (lambda: nn.BatchNorm2d(3), (3, 4, 4)),
    "one_pixel": (lambda: nn.BatchNorm2d(3), (3, 1, 1)),
    "1d": (lambda: nn.BatchNorm1d(3, momentum=None), (3,)),
    "sequence": (lambda: nn.BatchNorm1d(3), (3, 6)),
    "plain": (lambda: nn.BatchNorm2d(3, affine=False, track_running_stats=False), (3, 4, 4)),
    "timm": (lambda: BatchNormAct2d(3, act_layer=nn.SiLU), (3, 4, 4)),
    "timm_relu": (lambda: BatchNormAct2d(3), (3, 4, 4)),
}
Learnt = tuple[Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]


def _model(name: str) -> nn.Module:
    torch.manual_seed(1)
    norm = NORMS[name][0]()
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return nn.Sequential(norm)


def _inputs(name: str, *, number: int) -> tuple[Tensor, Tensor]:
    """Return inputs whose mean is far from 0, and what the outputs are multiplied with."""
    generator = torch.Generator().manual_seed(number)
    shape = (sum(SHARES), *NORMS[name][1])
    return 50 + torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def _learn(model: nn.Module, name: str, rows: slice) -> Learnt:
    """Return outputs, gradients of inputs and of weights, and state, after two batches."""
    for number in (2, 3):
        model.zero_grad()
        inputs, factors = (each[rows].clone() for each in _inputs(name, number=number))
        inputs.requires_grad_()
        outputs = model(inputs)
        (outputs * factors).sum().backward()
    if any(True for _ in model.parameters()):
        all_reduce_gradients(model, {})
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert inputs.grad is not None
    return outputs.detach(), inputs.grad, gradients, model.state_dict()


def _compare(name: str, expected: Learnt) -> None:
    model = _model(name)
    keys = list(model.state_dict())
    synchronise_batch_norms(model)
    rows = slice(0, SHARES[0]) if rank() == 0 else slice(SHARES[0], None)
    outputs, gradient, gradients, state = _learn(copy.deepcopy(model), name, rows)
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(outputs, expected[0][rows], **close)
    torch.testing.assert_close(gradient, expected[1][rows], **close)
    torch.testing.assert_close(gradients, expected[2], **close)
    assert list(state) == keys
    torch.testing.assert_close(state, expected[3], **close)


@pytest.mark.parametrize("name", NORMS)
def test_two_processes_give_what_the_whole_batch_gives(name: str) -> None:
    together(_compare, name, _learn(_model(name), name, slice(None)))


def _hold(name: str) -> None:
    model = _model(name)
    synchronise_batch_norms(model)
    before = copy.deepcopy(model.state_dict())
    if rank() == 0:  # were anything exchanged, this process would wait for the other
        ours = model.eval()(_inputs(name, number=2)[0])
        torch.testing.assert_close(ours, _model(name).eval()(_inputs(name, number=2)[0]))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["2d", "1d", "timm"])
def test_in_eval_mode_a_norm_is_what_it_was(name: str) -> None:
    together(_hold, name)


def _in_bfloat16() -> None:
    model = _model("timm")
    synchronise_batch_norms(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(_inputs("timm", number=2)[0].bfloat16().requires_grad_())
    assert outputs.dtype == torch.bfloat16
    outputs.sum().backward()
    assert next(model.parameters()).grad.dtype == torch.float32


def test_bfloat16_stays_bfloat16() -> None:
    together(_in_bfloat16)


def test_an_unknown_batch_norm_is_refused() -> None:
    message = "sync_batch_norm must be false for a model with BatchNorm3d, got true"
    with pytest.raises(ValueError, match=message):
        synchronise_batch_norms(nn.Sequential(nn.BatchNorm3d(2)))
