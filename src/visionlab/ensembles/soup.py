"""Model soup: one model with the mean weights of several."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from visionlab.ensembles.prediction import Inference, Member
from visionlab.optim.averaging import recompute_buffers
from visionlab.task import model_input


def soup(members: Sequence[Member], weights: Sequence[float], inference: Inference) -> Member:
    """Return a member with the weighted mean of the weights of members of one task.

    Statistics of batch norms do not match averaged weights; they are recomputed from an epoch of
    the training samples (SWA, arXiv 1803.05407, section 3.2). Other buffers are those of the last
    member. See "Model soups", arXiv 2203.05482.
    """
    first, last = members[0], members[-1]
    module = first.task.evaluated
    mean = _mean_weights([member.weights for member in members], weights)
    is_buffer = dict(module.named_buffers())
    module.load_state_dict(
        {name: last.weights[name] if name in is_buffer else value for name, value in mean.items()}
    )
    frozen = [(norm, copy.deepcopy(norm.state_dict())) for norm in first.task.frozen_norms]
    with inference.autocast():
        recompute_buffers(module, _training_inputs(first, inference))
    for norm, statistics in frozen:
        norm.load_state_dict(statistics)
    state = {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
    folder = first.folder.parent.with_name("soup") / first.folder.name
    return Member(
        name="soup", task=first.task, weights=state, cache_key=first.cache_key, folder=folder
    )


def _mean_weights(
    states: Sequence[Mapping[str, Tensor]], weights: Sequence[float]
) -> dict[str, Tensor]:
    total = sum(weights)
    return {
        name: sum(
            (state[name].double() * (weight / total))
            for state, weight in zip(states, weights, strict=True)
        ).to(states[0][name].dtype)  # type: ignore[union-attr]
        for name in states[0]
    }


def _training_inputs(member: Member, inference: Inference) -> Iterator[tuple[Any]]:
    """Yield what the model takes for each batch of an epoch of training."""
    batches = member.task.splits["train"].batches(
        batch_size=inference.batch_size, epoch=0, first_batch=0
    )
    for batch in batches:
        inference.check()
        yield (model_input(member.task.evaluated, batch),)
