"""Momentum contrast: a query encoder, a momentum encoder of keys, and a queue of keys."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.backbones.pooled import PooledBackbone, stride_px
from visionlab.core import seeding
from visionlab.core.checks import check_at_least, check_range
from visionlab.core.processes import num_processes
from visionlab.tasks.pretraining.model.encoder import Encoder, Head
from visionlab.tasks.pretraining.model.gathering import gather_rows, rows_of_rank, share_first
from visionlab.tasks.pretraining.model.split_batch_norm import split_batch_norms

_SHUFFLE = seeding.derive(0, "shuffled batch norm")
_LARGEST_BATCH = 2**32


class ContrastOutput(NamedTuple):
    """Similarities (cosines) of queries and keys, float32; D is 2 with both directions, else 1.

    Attributes:
        queries: (D, B, dim), of length 1.
        positives: (D, B), of each query and its own key.
        negatives: (D, B, queue_length), of each query and the keys in the queue.
    """

    queries: Tensor
    positives: Tensor
    negatives: Tensor


@dataclass(frozen=True, kw_only=True)
class Moco:
    """Settings of MoCo v1 (arXiv 1911.05722) and v2 (arXiv 2003.04297).

    Attributes:
        backbone: what is pretrained.
        head: projection head of both encoders.
        queue_length: number of keys that serve as negatives.
        momentum: share of itself that the key encoder keeps at each step.
        symmetric: whether each view is query and key in turn, with both sets of keys enqueued.
        bn_splits: parts of a batch, on each process, that batch norms see. Keys are computed on
            shuffled parts; in a single part, the statistics that a query shares with its key give
            the key away (arXiv 1911.05722, section 3.3).
    """

    backbone: PooledBackbone
    head: Head
    queue_length: int
    momentum: float
    symmetric: bool
    bn_splits: int

    def __post_init__(self) -> None:
        check_at_least(self, 1, "queue_length", "bn_splits")
        check_range(self, "[0, 1)", "momentum")

    def __call__(self, *, num_images: int, size_px: int) -> "MocoNet":
        """Return the model for a data set of some images and views of a size.

        Raises:
            ValueError: the queue would hold several keys of every image, a view is smaller than a
                pixel of the last feature map, or batch norms cannot be split.
        """
        if self.queue_length > num_images:
            raise ValueError(
                f"model.queue_length must be <= the {num_images} training images, "
                f"got {self.queue_length}"
            )
        backbone = self.backbone()
        if (stride := stride_px(backbone)) > size_px:
            raise ValueError(
                f"model.backbone must have a stride of at most the {size_px} px of a view, "
                f"got {stride}"
            )
        query = Encoder(backbone, self.head(int(backbone.num_features)))  # type: ignore[arg-type]
        split_batch_norms(query, self.bn_splits)
        return MocoNet(
            query,
            dim=self.head.dim,
            queue_length=self.queue_length,
            momentum=self.momentum,
            symmetric=self.symmetric,
            num_groups=self.bn_splits * num_processes(),
        )


class MocoNet(nn.Module):
    """MoCo around a query encoder; only the encoder is evaluated and handed on.

    The keys of a step enter the queue, and the momentum encoder follows, after the optimizer step:
    the next step finds what the original finds, which does the latter first thing in a step.

    Args:
        query: the encoder.
        dim: length of its projections.
        queue_length: see `Moco`.
        momentum: see `Moco`.
        symmetric: see `Moco`.
        num_groups: groups of images with batch statistics of their own, over all processes.
    """

    queue: Tensor
    pointer: Tensor
    num_shuffles: Tensor
    synchronised: Sequence[nn.Module] = ()

    def __init__(
        self,
        query: Encoder,
        *,
        dim: int,
        queue_length: int,
        momentum: float,
        symmetric: bool,
        num_groups: int,
    ) -> None:
        super().__init__()
        self.query, self.key = query, copy.deepcopy(query).requires_grad_(False)
        self.momentum, self.symmetric, self.num_groups = momentum, symmetric, num_groups
        self.register_buffer("queue", _unit(torch.randn(queue_length, dim)))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("num_shuffles", torch.zeros((), dtype=torch.int64))
        self._new_keys: list[Tensor] = []

    @property
    def evaluated(self) -> nn.Module:
        """The query encoder."""
        return self.query

    @property
    def backbone(self) -> nn.Module:
        """The backbone of the query encoder."""
        return self.query.backbone

    def forward(self, pairs: Tensor) -> ContrastOutput:
        """Return the similarities for pairs of views, (B, 2, 3, H, W)."""
        views = pairs.unbind(1)
        directions = (views, views[::-1]) if self.symmetric else (views,)
        projections = [self.query(first).projections for first, _ in directions]
        keys = [self._keys(second) for _, second in directions]
        if torch.is_grad_enabled():  # otherwise no step follows
            self._new_keys += keys
        with torch.autocast(pairs.device.type, enabled=False):
            queries = torch.stack([_unit(rows) for rows in projections])
            own = torch.stack([rows[rows_of_rank()] for rows in keys])
            return ContrastOutput(queries, (queries * own).sum(dim=2), queries @ self.queue.T)

    @torch.no_grad()
    def after_load(self) -> None:
        """Start the key encoder from the weights that the query encoder got."""
        self.key.load_state_dict(self.query.state_dict())

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the key encoder towards the query encoder, and enqueue the keys of the step."""
        torch._foreach_lerp_(
            list(self.key.parameters()), list(self.query.parameters()), 1.0 - self.momentum
        )
        share_first(self.key)
        for keys in self._new_keys:
            self._enqueue(keys)
        self._new_keys.clear()

    @torch.no_grad()
    def _keys(self, images: Tensor) -> Tensor:
        """Return the keys of the images of all processes, of length 1, in the order of the batch.

        Each process computes a share of them, shuffled, so that the groups with batch statistics of
        their own are not those of the queries.
        """
        if self.num_groups == 1:
            return _unit(self.key(images).projections)
        images = gather_rows(images)
        order = self._order(len(images))
        keys = gather_rows(_unit(self.key(images[order[rows_of_rank()]]).projections))
        return keys[order.argsort()]

    def _order(self, count: int) -> Tensor:
        """Return the next permutation, (count,), which is the same in all processes."""
        rows = torch.arange(count, device=self.queue.device)
        draws = seeding.uniform(
            self.num_shuffles * _LARGEST_BATCH + rows, seed=_SHUFFLE, num_draws=1
        )
        self.num_shuffles.add_(1)
        return draws[:, 0].argsort(stable=True)

    def _enqueue(self, keys: Tensor) -> None:
        """Overwrite the oldest keys of the queue, which is a ring."""
        length = len(self.queue)
        kept = keys[-length:]
        first = self.pointer + len(keys) - len(kept)
        self.queue[(first + torch.arange(len(kept), device=keys.device)) % length] = kept
        self.pointer.copy_((self.pointer + len(keys)) % length)


def _unit(rows: Tensor) -> Tensor:
    """Return rows scaled to length 1, float32."""
    return F.normalize(rows.float(), dim=1)
