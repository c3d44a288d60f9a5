"""MoCo against a plain implementation, its queue, and batch norm over parts of a batch."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.backbones.initial import BackboneWeights, load_backbone
from visionlab.backbones.pooled import (
    PooledBackbone,
    PooledResNetCifar,
    PooledSmallImages,
    PooledTimm,
)
from visionlab.tasks.pretraining.loss import InfoNce, contrast_scalars
from visionlab.tasks.pretraining.model.encoder import LinearHead, MlpHead
from visionlab.tasks.pretraining.model.moco import Moco, MocoNet
from visionlab.tasks.pretraining.model.split_batch_norm import split_batch_norms

PAIRS = torch.rand(6, 2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def moco(
    *,
    backbone: PooledBackbone = PooledResNetCifar(depth=8),  # noqa: B008 - frozen
    queue_length: int = 7,
    bn_splits: int = 1,
    symmetric: bool = False,
    size_px: int = 12,
) -> MocoNet:
    torch.manual_seed(1)
    return Moco(
        backbone=backbone,
        head=MlpHead(dim=5),
        queue_length=queue_length,
        momentum=0.9,
        symmetric=symmetric,
        bn_splits=bn_splits,
    )(num_images=100, size_px=size_px)


def plain_loss(
    query: nn.Module, key: nn.Module, queue: Tensor, first: Tensor, second: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the losses and keys of He et al., algorithm 1, with a temperature of 0.2."""
    q = F.normalize(query(first).projections, dim=1)
    with torch.no_grad():
        k = F.normalize(key(second).projections, dim=1)
    logits = torch.cat([torch.einsum("nc,nc->n", q, k)[:, None], q @ queue.T], dim=1) / 0.2
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64), reduction="none"), k


def test_two_steps_equal_those_of_a_plain_implementation() -> None:
    model = moco()
    query, key, queue = (copy.deepcopy(each) for each in (model.query, model.key, model.queue))
    place = 0
    for step in range(2):
        for theirs, ours in zip(key.parameters(), query.parameters(), strict=True):
            theirs.data.mul_(0.9).add_(ours.data, alpha=0.1)
        expected, keys = plain_loss(query, key, queue, PAIRS[:, 0], PAIRS[:, 1])
        got = InfoNce(temperature=0.2)(model(PAIRS), torch.zeros(6))["contrastive"]
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)
        for losses, network in ((expected, query), (got, model.query)):
            network.zero_grad()
            losses.mean().backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.sub_(0.1 * parameter.grad)
        model.after_step()
        for row in keys:
            queue[place % 7] = row
            place += 1
        torch.testing.assert_close(model.queue, queue, atol=1e-6, rtol=1e-6)
        assert int(model.pointer) == 6 * (step + 1) % 7


def test_both_directions_add_up_and_enqueue_both_sets_of_keys() -> None:
    model = moco(symmetric=True, queue_length=20)
    one, _ = plain_loss(model.query, model.key, model.queue, PAIRS[:, 0], PAIRS[:, 1])
    other, _ = plain_loss(model.query, model.key, model.queue, PAIRS[:, 1], PAIRS[:, 0])
    losses = InfoNce(temperature=0.2)(model(PAIRS), torch.zeros(6))["contrastive"]
    torch.testing.assert_close(losses, one + other, atol=1e-5, rtol=1e-5)
    model.after_step()
    assert int(model.pointer) == 12


def test_a_queue_shorter_than_the_batch_holds_the_newest_keys() -> None:
    model = moco(queue_length=4)
    _, keys = plain_loss(model.query, copy.deepcopy(model.key), model.queue, *PAIRS.unbind(1))
    model(PAIRS)
    model.after_step()
    expected = keys[[4, 5, 2, 3]]  # rows 2 to 5 at places 2, 3, 0, 1
    torch.testing.assert_close(model.queue, expected, atol=1e-5, rtol=1e-5)


def test_a_forward_pass_without_a_step_leaves_the_queue_alone() -> None:
    model = moco()
    before = model.queue.clone()
    with torch.no_grad():
        model(PAIRS)
    model.after_step()
    assert torch.equal(model.queue, before)


def test_shuffling_puts_each_key_back_into_its_row() -> None:
    model = moco(bn_splits=3).eval()  # running statistics do not depend on the group
    own = F.normalize(model.key(PAIRS[:, 1]).projections, dim=1)
    queries = F.normalize(model.query(PAIRS[:, 0]).projections, dim=1)
    outputs = model(PAIRS)
    torch.testing.assert_close(outputs.positives[0], (queries * own).sum(dim=1))
    assert int(model.num_shuffles) == 1


@pytest.mark.parametrize("count", [8, 9])
def test_split_batch_norm_normalises_every_nth_image_together(count: int) -> None:
    images = torch.rand(count, 4, 3, 3, generator=torch.Generator().manual_seed(2))
    split = nn.Sequential(nn.BatchNorm2d(4))
    parts = [copy.deepcopy(split) for _ in range(4)]
    split_batch_norms(split, 4)
    found = split(images)
    for first, norm in enumerate(parts):
        torch.testing.assert_close(found[first::4], norm(images[first::4]))
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(norm[0], name) for norm in parts]).mean(dim=0)
        torch.testing.assert_close(getattr(split[0], name), mean)


def test_scalars_tell_spread_from_collapse() -> None:
    model = moco()
    outputs = model(PAIRS)
    one_point = outputs._replace(queries=outputs.queries[:, :1].expand(-1, 6, -1))
    assert contrast_scalars(one_point, torch.zeros(6))["spread"] == pytest.approx(0.0, abs=1e-6)
    everywhere = F.normalize(
        torch.randn(1, 5000, 16, generator=torch.Generator().manual_seed(3)), dim=2
    )
    assert contrast_scalars(outputs._replace(queries=everywhere), torch.zeros(6))[
        "spread"
    ] == pytest.approx(1.0, abs=0.02)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^queue_length must be >= 1, got 0"):
        moco(queue_length=0)
    with pytest.raises(ValueError, match=r"^model.queue_length must be <= .* 100 .*, got 101"):
        moco(queue_length=101)
    with pytest.raises(
        ValueError, match=r"^bn_splits must be 1 for a model with SyncBatchNorm, got 2"
    ):
        split_batch_norms(nn.SyncBatchNorm(3), 2)
    with pytest.raises(ValueError, match=r"^dim must be >= 1, got 0"):
        LinearHead(dim=0)


@pytest.mark.parametrize(
    ("backbone", "stride"),
    [(PooledTimm(name="resnet18", pretrained=False), 32), (PooledSmallImages(depth=18), 8)],
)
def test_views_smaller_than_the_stride_are_refused(backbone: PooledBackbone, stride: int) -> None:
    moco(backbone=backbone, size_px=stride)
    message = f"^model.backbone must have a stride of at most the {stride - 1} px .*, got {stride}$"
    with pytest.raises(ValueError, match=message):
        moco(backbone=backbone, size_px=stride - 1)


def test_weights_of_another_depth_are_refused_by_what_differs(tmp_path: Path) -> None:
    torch.save(moco().query.state_dict(), tmp_path / "8.pt")
    deeper = moco(backbone=PooledResNetCifar(depth=14))
    settings = BackboneWeights(weights=str(tmp_path / "8.pt"))
    message = (
        r"^model.backbone.weights must .*8.pt, which differs in \d+ of .*layer1.1.conv1.weight"
    )
    with pytest.raises(ValueError, match=message):
        load_backbone(deeper.evaluated, settings)
    load_backbone(moco().evaluated, settings)
