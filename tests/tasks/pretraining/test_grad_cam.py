"""Boxes by Grad-CAM, with an encoder whose features are the mean colour."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_view_augment import MOCO_V2
from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.backbones.pooled import PooledResNetCifar
from visionlab.images.holdout import Holdout
from visionlab.tasks.pretraining.datasets.images import Images
from visionlab.tasks.pretraining.grad_cam import GradCamBoxes, boxes_of, contrast_maps
from visionlab.tasks.pretraining.model.encoder import Encoder, MlpHead

SETTINGS = GradCamBoxes(num_others=8, temperature=0.2, threshold=0.5, min_area=0.01)


class MeanColour(nn.Module):
    """Colours of cells of 4 pixels, and their mean."""

    num_features = 3

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, 4) + 1.0  # positive, as after a ReLU

    def forward_head(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))


def encoder(backbone: nn.Module | None = None) -> Encoder:
    return Encoder(backbone or MeanColour(), nn.Linear(3, 3))


def dataset(root: Path, **settings: Any) -> Images:
    defaults: dict[str, Any] = {"folder": None, "listed_in": None, "boxes": None}
    defaults |= {"size_px": 32, "num_workers": 0}
    defaults |= {"skip_unreadable": False, "mean": [0.5] * 3, "std": [0.25] * 3}
    return Images(root=str(root), val=Holdout(split=0.0, seed=0), **{**defaults, **settings})


def colour_only() -> Encoder:
    found = encoder()
    with torch.no_grad():
        found.head.weight.copy_(torch.eye(3))  # type: ignore[union-attr, operator, arg-type]
        found.head.bias.zero_()  # type: ignore[union-attr, operator]
    return found


def write(path: Path, *, size: tuple[int, int], box: tuple[int, int, int, int] | None) -> None:
    image = Image.new("RGB", size, (0, 255, 0))
    if box:
        image.paste((255, 0, 0), box)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Green images, two of which have a red square."""
    for number in range(10):
        write(tmp_path / "all" / f"plain {number}.png", size=(40, 40), box=None)
    write(tmp_path / "all" / "right.png", size=(160, 40), box=(120, 20, 160, 40))
    write(tmp_path / "all" / "left.png", size=(32, 64), box=(0, 0, 16, 32))
    return tmp_path / "all"


def find(folder: Path, model: nn.Module, *, batch_size: int = 3, **settings: Any) -> list[str]:
    path = folder.parent / "found" / "boxes.txt"
    SETTINGS(model, dataset(folder, **settings), path, batch_size=batch_size, check=lambda: None)
    return path.read_text().splitlines()


def test_boxes_enclose_what_other_images_lack(folder: Path) -> None:
    lines = find(folder, colour_only())
    assert len(lines) == 12
    found = {line.split(".png")[0]: line.split(" ")[-1] for line in lines if "," in line}
    assert sorted(found) == ["left", "right"]
    for name, expected in (("left", [0, 0, 0.5, 0.5]), ("right", [0.75, 0.5, 1, 1])):
        box = [float(value) for value in found[name].split(",")]
        assert box == pytest.approx(expected, abs=0.04)
    assert (folder.parent / "found" / "boxes.png").stat().st_size > 1000


def test_boxes_do_not_depend_on_the_batch_size_and_can_be_read(folder: Path) -> None:
    assert find(folder, colour_only(), batch_size=12) == find(folder, colour_only())
    boxes = str(folder.parent / "found" / "boxes.txt")
    data = dataset(folder, boxes=boxes)(augmentation=MOCO_V2, seed=0, device=torch.device("cpu"))
    assert data.read_counts[boxes]["images with boxes"] == 2


def test_unreadable_images_have_no_line_where_they_are_skipped(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken.png must be an image, .*skip_unreadable=true"):
        find(folder, colour_only())
    assert len(find(folder, colour_only(), skip_unreadable=True)) == 12


def test_a_map_is_the_naive_one() -> None:
    torch.manual_seed(0)
    model = Encoder(PooledResNetCifar(depth=8)(), MlpHead(dim=5)(64)).eval()
    images, others = torch.rand(2, 3, 16, 16), F.normalize(torch.randn(7, 5), dim=1)
    maps = model.backbone.forward_features(images).detach().requires_grad_()  # type: ignore[operator]
    for row in range(2):
        projection = model.head(maps[row].mean(dim=(1, 2)))
        cosines = [projection @ other / projection.norm() for other in others]
        score = -torch.stack([(cosine / 0.2).exp() for cosine in cosines]).sum().log()
        (slopes,) = torch.autograd.grad(score, maps)
        heat = sum(slopes[row, c].mean() * maps[row, c] for c in range(64))
        expected = F.interpolate(
            heat.detach().relu()[None, None], size=(16, 16), mode="bicubic"
        ).relu()
        found = contrast_maps(model, images, others, temperature=0.2)[row]
        torch.testing.assert_close(found, expected[0, 0], atol=1e-6, rtol=1e-3)
    assert not found.requires_grad
    assert all(each.grad is None for each in model.parameters())


def test_boxes_of_connected_parts() -> None:
    heat = np.zeros((10, 20), dtype=np.float32)
    heat[1:3, 2:4] = 1.0
    heat[3, 4] = 0.6  # touches at a corner
    heat[7:9, 10:20] = 0.7
    heat[5, 10] = 0.9  # a pixel is 0.5 % of the map
    heat[5, 15:19] = 0.5
    found = boxes_of(heat, threshold=0.5, min_area=0.01)
    assert found == [(0.1, 0.1, 0.25, 0.4), (0.5, 0.7, 1.0, 0.9)]
    assert boxes_of(np.zeros((4, 4), dtype=np.float32), threshold=0.5, min_area=0.01) == []


def test_what_has_no_files_or_no_maps_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^boxes must be null .* dataset=images .*, got str"):
        SETTINGS(encoder(), "no data set", folder, batch_size=2, check=lambda: None)
    tokens = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(2))
    tokens.num_features = 3  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"^boxes must be null .* maps of 3 channels, got Seq"):
        contrast_maps(encoder(tokens), torch.rand(1, 3, 32, 32), torch.rand(2, 3), temperature=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_others": 0}, "num_others must be >= 1, got 0"),
        ({"threshold": 1.0}, r"threshold must be in \[0, 1\), got 1.0"),
        ({"temperature": 0.0}, r"temperature must be in .*, got 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    settings = {"num_others": 8, "temperature": 0.2, "threshold": 0.5, "min_area": 0.01}
    with pytest.raises(ValueError, match=f"^{message}"):
        GradCamBoxes(**{**settings, **change})  # type: ignore[arg-type]
