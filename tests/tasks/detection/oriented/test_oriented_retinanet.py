from typing import Any

import pytest
import torch

from visionlab.backbones.features import Backbone
from visionlab.tasks.detection.model.anchors import Anchors
from visionlab.tasks.detection.model.retinanet import Head, Pyramid, RetinaNet

SETTINGS: dict[str, Any] = {
    "backbone": Backbone(name="test_resnet", pretrained=False, norm="trained"),
    "pyramid": Pyramid(channels=16, p6_from="c5"),
    "head": Head(channels=16, depth=1, norm="none"),
    "anchors": Anchors(sizes_px=[8, 16, 32, 64, 128], ratios=[1.0, 2.0], scales=[1.0]),
    "prior": 0.01,
    "box_std": [0.1, 0.1, 0.2, 0.2, 0.3],
    "inputs_per_pass": 2,
}


def settings(**changes: Any) -> RetinaNet:
    return RetinaNet(**{**SETTINGS, **changes})


def test_there_are_five_offsets_at_every_anchor() -> None:
    model = settings()(num_classes=3)
    outputs = model(torch.randn(2, 3, 64, 96))
    count = 2 * (8 * 12 + 4 * 6 + 2 * 3 + 1 * 2 + 1)
    assert outputs.logits.shape == (2, count, 3)
    assert outputs.deltas.shape == (2, count, 5)
    assert outputs.anchors.shape == (count, 4)
    assert outputs.box_std.tolist() == pytest.approx(SETTINGS["box_std"])


def test_the_rest_is_that_of_a_retinanet() -> None:
    peer = settings(box_std=[0.1, 0.1, 0.2, 0.2])(num_classes=3).state_dict()
    ours = settings()(num_classes=3).state_dict()
    assert ours.keys() == peer.keys()
    others = {name for name in ours if ours[name].shape != peer[name].shape}
    assert others == {"regression.2.weight", "regression.2.bias", "box_std"}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_groups_of_inputs_give_what_all_of_them_give(count: int) -> None:
    model, whole = (settings(inputs_per_pass=each)(num_classes=2) for each in (2, None))
    whole.load_state_dict(model.state_dict())
    images = torch.randn(count, 3, 32, 64)
    seen: list[int] = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    with torch.no_grad():
        found, wanted = model.eval()(images), whole.eval()(images)
        assert seen == [2] * (count // 2) + [1] * (count % 2)
        model.train()(images)
    assert seen[-1] == count  # in training, all go through together
    torch.testing.assert_close(found.logits, wanted.logits)
    torch.testing.assert_close(found.deltas, wanted.deltas)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"box_std": [1.0, 1.0, 1.0, 1.0, 0.0]},
            r"^box_std must be 5 numbers > 0, got \[1\.0, 1\.0, 1\.0, 1\.0, 0\.0\]$",
        ),
        ({"inputs_per_pass": 0}, "^inputs_per_pass must be >= 1, got 0$"),
        ({"prior": 0.0}, r"^prior must be in \(0, 1\), got 0\.0$"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)
