"""Ten tasks for the contract tests: real ones, one with frozen layers, and throw-away siblings.

`boxes` has a dictionary of losses, a list of boxes for each image and a matrix for each image;
`two_stages` takes whole batches and computes its losses; `two_views` has two inputs, a loss for
each sample in training alone, an encoder that is evaluated against a bank, a key encoder and a
queue. If one of them needed a change in `engine/`, the contract would be wrong.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from visionlab.backbones.features import Backbone
from visionlab.backbones.pooled import PooledResNetCifar
from visionlab.backbones.weights import backbone_of, freeze
from visionlab.core import seeding
from visionlab.core.processes import Shard, num_processes, unsharded
from visionlab.images.batching import plain_batches
from visionlab.images.colours import Colours
from visionlab.images.holdout import Holdout
from visionlab.images.resize import Resize
from visionlab.task import Batch, Data, Task
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.comparison import compare_labels
from visionlab.tasks.classification.fuse import MeanProbability
from visionlab.tasks.classification.loss import CrossEntropy
from visionlab.tasks.classification.metric import Accuracy, probabilities, top1
from visionlab.tasks.classification.model import ResNetCifar
from visionlab.tasks.classification.records import LabelledImages
from visionlab.tasks.classification.splits import ClassificationDataset, in_memory
from visionlab.tasks.detection.augment import BoxAugment
from visionlab.tasks.detection.comparison import DetectionComparison
from visionlab.tasks.detection.crops import Crops
from visionlab.tasks.detection.datasets.digit_scenes import DigitScenes
from visionlab.tasks.detection.datasets.rotated_digit_scenes import RotatedDigitScenes
from visionlab.tasks.detection.fuse.wbf import WeightedBoxFusion
from visionlab.tasks.detection.loss.fasterrcnn import FasterRcnnLoss
from visionlab.tasks.detection.loss.retinanet import RetinaNetLoss, boxes_per_image
from visionlab.tasks.detection.metric import AveragePrecision
from visionlab.tasks.detection.model.anchors import Anchors
from visionlab.tasks.detection.model.decode import Detect, DetectRegions
from visionlab.tasks.detection.model.fasterrcnn import FasterRcnn, RegionPyramid
from visionlab.tasks.detection.model.proposals import RegionProposals
from visionlab.tasks.detection.model.regions import RegionHead
from visionlab.tasks.detection.model.retinanet import Head, Pyramid, RetinaNet
from visionlab.tasks.detection.model.sampling import Sampling
from visionlab.tasks.detection.oriented.fuse import OrientedBoxFusion
from visionlab.tasks.detection.oriented.metric import OrientedAveragePrecision
from visionlab.tasks.keypoints.augment import PointAugment
from visionlab.tasks.keypoints.comparison import compare_points
from visionlab.tasks.keypoints.fuse import MeanPoints
from visionlab.tasks.keypoints.loss import SmoothL1, error_px
from visionlab.tasks.keypoints.metric import PointErrors, original_points
from visionlab.tasks.keypoints.model import KeypointRegressor
from visionlab.tasks.keypoints.records import KeypointSamples
from visionlab.tasks.keypoints.splits import KeypointDataset, Reading, from_points
from visionlab.tasks.pretraining.augment import ViewAugment
from visionlab.tasks.pretraining.loss import InfoNce, contrast_scalars
from visionlab.tasks.pretraining.metric import NearestNeighbours, unit_features
from visionlab.tasks.pretraining.model.encoder import MlpHead
from visionlab.tasks.pretraining.model.moco import Moco
from visionlab.tasks.pretraining.records import StoredImages
from visionlab.tasks.pretraining.splits import PretrainingDataset
from visionlab.tasks.pretraining.splits import in_memory as of_stored_images

SEED = 7
_CPU = torch.device("cpu")


def classification() -> Task:
    """Real parts on 60 bright or dark noise images."""
    images, labels = _noise_images(60)
    data = in_memory(
        LabelledImages(images[:44], labels[:44]),
        LabelledImages(images[44:], labels[44:]),
        class_names=["dark", "bright"],
        dataset=ClassificationDataset(
            val=Holdout(split=0.25, seed=1), mean=[0.5] * 3, std=[0.25] * 3
        ),
        augmentation=Augment(pad_px=2, flip_prob=0.5, cutout_px=3),
        seed=SEED,
        device=torch.device("cpu"),
    )
    seeding.seed_everything(SEED)
    model = ResNetCifar(depth=8)(num_classes=2)
    return Task(
        name="classification",
        splits=data.splits,
        model=model,
        loss=CrossEntropy(label_smoothing=0.0, class_weights=None),
        backbone=backbone_of(model),
        extra_scalars=top1,
        predict=probabilities,
        fuse=MeanProbability(),
        metric=Accuracy(class_names=data.class_names, top_k=[1]),
        monitor="top1",
        mode="max",
        draw=draw_nothing,
        export=None,
        compare=functools.partial(compare_labels, class_names=data.class_names),
    )


@functools.cache  # painting takes longer than training on them
def scenes(device: torch.device = _CPU) -> Data:
    """40 small scenes of digits."""
    return DigitScenes(
        num_train=40,
        num_val=8,
        num_test=1,
        seed=1,
        mean=[0.5] * 3,
        std=[0.25] * 3,
        resize=Resize(short_px=32, long_px=40),
    )(
        augmentation=BoxAugment(
            flip_prob=0.0,
            vertical_flip_prob=0.0,
            scale=[0.8, 1.25],
            rotation_degrees=5.0,
            min_visible=0.3,
            colours=None,
        ),
        seed=SEED,
        device=device,
    )


def detection() -> Task:
    """Real parts on 40 small digit scenes."""
    data = scenes()
    seeding.seed_everything(SEED)
    model = RetinaNet(
        backbone=Backbone(name="test_resnet", pretrained=False, norm="trained"),
        pyramid=Pyramid(channels=32, p6_from="c5"),
        head=Head(channels=64, depth=1, norm="group"),
        anchors=Anchors(sizes_px=[4, 8, 16, 32, 64], ratios=[1.0], scales=[1.0, 1.4]),
        prior=0.01,
        box_std=[1.0, 1.0, 1.0, 1.0],
        inputs_per_pass=None,
    )(**data.sizes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm starts some at 0, without a gradient below
            nn.init.ones_(module.weight)
    return Task(
        name="detection",
        splits=data.splits,
        model=model,
        loss=RetinaNetLoss(
            alpha=0.25,
            gamma=2.0,
            positive_iou=0.5,
            negative_iou=0.4,
            force_best_anchor=True,
            box="smooth_l1",
            beta=0.11,
            box_weight=1.0,
        ),
        backbone=backbone_of(model),
        extra_scalars=boxes_per_image,
        predict=Detect(
            score_threshold=0.01, candidates_per_level=50, nms_iou=0.5, max_detections=20
        ),
        fuse=WeightedBoxFusion(
            iou_threshold=0.55, score_threshold=0.0, confidence="avg", max_detections=100
        ),
        metric=AveragePrecision(class_names=data.class_names, backend="faster_coco_eval"),
        monitor="AP",
        mode="max",
        draw=draw_nothing,
        export=None,
        compare=functools.partial(
            DetectionComparison(
                iou_thresholds=[0.5, 0.75],
                matching="coco",
                area="continuous",
                variable_classes=[],
                ensemble_column="WBF",
            ),
            class_names=data.class_names,
        ),
    )


def fasterrcnn() -> Task:
    """The task of `detection` by a detector of two stages."""
    seeding.seed_everything(SEED)
    task = detection()
    model = FasterRcnn(
        backbone=Backbone(name="test_resnet", pretrained=False, norm="trained"),
        pyramid=RegionPyramid(channels=32),
        anchors=Anchors(sizes_px=[6, 12, 24, 48, 96], ratios=[1.0], scales=[1.0]),
        proposals=RegionProposals(
            sampling=Sampling(
                positive_iou=0.6, negative_iou=0.3, num_samples=32, positive_share=0.5
            ),
            train_candidates_per_level=50,
            train_max_proposals=40,
            candidates_per_level=30,
            max_proposals=20,
            nms_iou=0.7,
        ),
        regions=RegionHead(
            sampling=Sampling(
                positive_iou=0.5, negative_iou=0.5, num_samples=16, positive_share=0.25
            ),
            levels="by_size",
            pooled_cells=3,
            samples_per_cell=1,
            channels=32,
            box_std=[0.1, 0.1, 0.2, 0.2],
        ),
    )(**scenes().sizes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm starts some at 0, without a gradient below
            nn.init.ones_(module.weight)
    return replace(
        task,
        name="fasterrcnn",
        model=model,
        loss=FasterRcnnLoss(
            objectness_weight=1.0,
            proposal_weight=1.0,
            classification_weight=1.0,
            box_weight=1.0,
            beta=0.11,
        ),
        backbone=backbone_of(model),
        predict=DetectRegions(score_threshold=0.01, nms_iou=0.5, max_detections=20),
    )


def oriented() -> Task:
    """Oriented boxes of turned digits, in crops of their scenes."""
    task, data = detection(), _turned_scenes()
    seeding.seed_everything(SEED)
    model = RetinaNet(
        backbone=Backbone(name="test_resnet", pretrained=False, norm="trained"),
        pyramid=Pyramid(channels=32, p6_from="c5"),
        head=Head(channels=64, depth=1, norm="group"),
        anchors=Anchors(sizes_px=[4, 8, 16, 32, 64], ratios=[1.0], scales=[1.0, 1.4]),
        prior=0.01,
        box_std=[1.0, 1.0, 1.0, 1.0, 1.0],
        inputs_per_pass=3,
    )(**data.sizes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm starts some at 0, without a gradient below
            nn.init.ones_(module.weight)
    return replace(
        task,
        name="oriented",
        splits=data.splits,
        model=model,
        loss=RetinaNetLoss(
            alpha=0.25,
            gamma=2.0,
            positive_iou=0.5,
            negative_iou=0.4,
            force_best_anchor=True,
            box="smooth_l1",
            beta=0.11,
            box_weight=1.0,
        ),
        backbone=backbone_of(model),
        predict=Detect(
            score_threshold=0.01, candidates_per_level=50, nms_iou=0.3, max_detections=20
        ),
        fuse=OrientedBoxFusion(
            iou_threshold=0.3, score_threshold=0.0, confidence="avg", max_detections=100
        ),
        metric=OrientedAveragePrecision(
            class_names=data.class_names,
            iou_thresholds=[0.1, 0.5],
            matching="coco",
            area="continuous",
        ),
    )


@functools.cache
def _turned_scenes() -> Data:
    return RotatedDigitScenes(
        num_train=40,
        num_val=8,
        num_test=1,
        rotation_degrees=40.0,
        seed=1,
        mean=[0.5] * 3,
        std=[0.25] * 3,
        resize=Crops(
            size_px=112, input_px=32, overlap_px=40, min_visible=0.6, enough_visible_px=50
        ),
    )(
        augmentation=BoxAugment(
            flip_prob=0.0,
            vertical_flip_prob=0.0,
            scale=[1.0, 1.0],
            rotation_degrees=20.0,
            min_visible=0.3,
            colours=None,
        ),
        seed=SEED,
        device=torch.device("cpu"),
    )


def keypoints() -> Task:
    """Real parts on 40 images of a red and a green spot, which are the two points."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(0, 60, (52, 3, 32, 32), generator=generator, dtype=torch.uint8)
    points = torch.rand(52, 2, 2, generator=generator) * 20 + 6
    for image, spots in zip(images, points.long().tolist(), strict=True):
        for channel, (x, y) in enumerate(spots):
            image[channel, y - 2 : y + 3, x - 2 : x + 3] = 250
    samples = KeypointSamples(
        sources=list(images),
        names=[str(number) for number in range(52)],
        keys=torch.arange(52),
        points=points.numpy(),
        requested=None,
    )
    data = from_points(
        {"train": samples.take(range(40)), "val": samples.take(range(40, 52))},
        point_names=["red", "green"],
        dataset=KeypointDataset(
            size_px=32, mirror=[0, 1], eyes=[[0], [1]], mean=[0.2] * 3, std=[0.1] * 3
        ),
        read_counts={},
        reading=Reading(num_workers=0, in_memory=False, skip_unreadable=False),
        augmentation=PointAugment(
            choose="each",
            affine_prob=0.5,
            rotation_degrees=10.0,
            scale=[0.9, 1.1],
            stretch=[0.95, 1.05],
            shift=0.03,
            crop_prob=0.3,
            crop_min_scale=0.9,
            mirror_prob=0.5,
            bars_prob=0.2,
            bars_max=0.1,
            colour_prob=0.5,
            brightness=0.1,
            contrast=0.1,
            grey_prob=0.1,
            blur_prob=0.2,
            blur_px=[3],
        ),
        seed=SEED,
        device=torch.device("cpu"),
    )
    seeding.seed_everything(SEED)
    model = KeypointRegressor(
        backbone=Backbone(name="test_resnet", pretrained=False, norm="trained"),
        stride=8,
        grid=4,
        dropout=0.2,
    )(**data.sizes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # timm starts some at 0, without a gradient below
            nn.init.ones_(module.weight)
    return Task(
        name="keypoints",
        splits=data.splits,
        model=model,
        loss=SmoothL1(beta=1.0),
        backbone=[model.backbone],
        extra_scalars=error_px,
        predict=original_points,
        fuse=MeanPoints(),
        metric=PointErrors(
            class_names=data.class_names,
            eyes=[[0], [1]],
            pck_thresholds=[0.1, 0.2],
        ),
        monitor="nme",
        mode="min",
        draw=draw_nothing,
        export=None,
        compare=functools.partial(compare_points, class_names=data.class_names),
    )


def boxes() -> Task:
    """One bright square in most images, none in some; found at quarter resolution."""
    seeding.seed_everything(SEED)
    model = SquareFinder()
    return Task(
        name="boxes",
        splits={
            "train": Squares(range(48), shift=True),
            "val": Squares(range(48, 60), shift=False),
        },
        model=model,
        loss=box_losses,
        backbone=[model.body],
        extra_scalars=lambda outputs, targets: {},
        predict=original_boxes,
        fuse=None,
        metric=MeanIou(),
        monitor="iou",
        mode="max",
        draw=draw_nothing,
        export=None,
        compare=None,
    )


def two_stages() -> Task:
    """The squares of `boxes`, by a detector that needs its targets and computes its losses."""
    seeding.seed_everything(SEED)
    model = TwoStages()
    return replace(
        boxes(),
        name="two_stages",
        model=model,
        loss=lambda outputs, targets: outputs.losses,
        backbone=[model.body],
        predict=lambda outputs, batch: original_corners(outputs.corners, batch),
        fuse=None,
    )


def frozen_layers() -> Task:
    """The task of `classification` with a frozen first layer and its norm."""
    task = classification()
    norms = freeze(task.model, ["conv1.*", "bn1.*"])
    return replace(task, name="frozen_layers", frozen_norms=norms)


def two_views() -> Task:
    """Two noisy views of a pattern, a queue of keys as negatives; neighbours tell the class."""
    seeding.seed_everything(SEED)
    bank = Patterns(range(40), bank=None)
    return Task(
        name="two_views",
        splits={"train": Views(range(40)), "val": Patterns(range(40, 60), bank=bank)},
        model=Contrast(),
        loss=contrastive_loss,
        backbone=[],
        extra_scalars=lambda outputs, labels: {
            "positive_first": (outputs.logits.argmax(1) == 0).float().mean()
        },
        predict=lambda embeddings, batch: F.normalize(embeddings.values, dim=1),
        fuse=None,
        metric=NearestNeighbour(),
        monitor="nearest",
        mode="max",
        draw=draw_nothing,
        export=None,
        compare=None,
    )


def pretraining() -> Task:
    """Real parts on 60 images of four patches each, whose class is whether red prevails."""
    patches = seeding.uniform(torch.arange(60), seed=3, num_draws=12).view(60, 3, 2, 2)
    images = (255 * patches).to(torch.uint8).repeat_interleave(6, 2).repeat_interleave(6, 3)
    labels = (patches[:, 0].mean(dim=(1, 2)) > 0.5).long()
    data = of_stored_images(
        StoredImages(images[:44], labels[:44]),
        StoredImages(images[44:], labels[44:]),
        class_names=["other", "red"],
        dataset=PretrainingDataset(val=Holdout(split=0.25, seed=1), mean=[0.5] * 3, std=[0.25] * 3),
        augmentation=ViewAugment(
            crop_area=[0.9, 1.0],
            crop_ratio=[0.8, 1.25],
            flip_prob=0.0,
            colours=Colours(
                jitter_prob=0.2,
                brightness=0.1,
                contrast=0.1,
                saturation=0.1,
                hue=0.05,
                grey_prob=0.0,
                blur_prob=0.3,
                blur_sigma_px=[0.1, 0.5],
            ),
        ),
        seed=SEED,
        device=torch.device("cpu"),
    )
    seeding.seed_everything(SEED)
    model = Moco(
        backbone=PooledResNetCifar(depth=8),
        head=MlpHead(dim=16),
        queue_length=15,
        momentum=0.99,
        symmetric=True,
        bn_splits=2,
    )(**data.sizes)
    return Task(
        name="pretraining",
        splits=data.splits,
        model=model,
        loss=InfoNce(temperature=0.2),
        backbone=backbone_of(model),
        extra_scalars=contrast_scalars,
        predict=functools.partial(unit_features, layer="backbone"),
        fuse=None,
        metric=NearestNeighbours(class_names=data.class_names, k=5, temperature=0.07),
        monitor="knn",
        mode="max",
        draw=draw_nothing,
        export=None,
        compare=None,
    )


def draw_nothing(folder: Path, samples: dict[str, Tensor], split: Any) -> None:
    pass


TASKS: dict[str, Callable[[], Task]] = {
    "classification": classification,
    "detection": detection,
    "fasterrcnn": fasterrcnn,
    "oriented": oriented,
    "keypoints": keypoints,
    "boxes": boxes,
    "two_stages": two_stages,
    "frozen_layers": frozen_layers,
    "two_views": two_views,
    "pretraining": pretraining,
}


def _noise_images(count: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count) % 2
    noise = seeding.uniform(torch.arange(count), seed=3, num_draws=3 * 12 * 12)
    images = 60 + 80 * labels[:, None] + noise * 60
    return images.reshape(count, 3, 12, 12).to(torch.uint8), labels


class BoxTarget(NamedTuple):
    """Boxes (K, 4) as x1, y1, x2, y2 in input pixels, K is 0 or 1, and the matrix of the image."""

    boxes: Tensor


@dataclass(frozen=True)
class Squares:
    """Images 16x16 with a square, shifted in training; shapes and randomness are per sample."""

    ids: range
    shift: bool

    def __len__(self) -> int:
        return len(self.ids)

    def num_batches(self, batch_size: int) -> int:
        return math.ceil(len(self) / batch_size)

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
        seed = SEED if self.shift else None
        order = plain_batches(len(self), seed=seed, batch_size=batch_size, epoch=epoch)
        for rows in shard(order[first_batch:]):
            keys = torch.tensor(self.ids)[rows]
            yield self._batch(keys, epoch)

    def _batch(self, keys: Tensor, epoch: int) -> Batch:
        places = (seeding.uniform(keys, seed=11, num_draws=2) * 8).long()
        shifts = torch.zeros(len(keys), 2)
        if self.shift:
            seed = seeding.derive(SEED, "shift", epoch)
            shifts = (seeding.uniform(keys, seed=seed, num_draws=2) * 5).floor() - 2
        images, targets = torch.zeros(len(keys), 1, 16, 16), []
        for row, key in enumerate(keys.tolist()):
            x, y = (places[row] + shifts[row].long() + 2).tolist()
            found = torch.zeros(0, 4)
            if key % 5:
                images[row, :, y : y + 4, x : x + 4] = 1.0
                found = torch.tensor([[x, y, x + 4.0, y + 4.0]])
            targets.append(BoxTarget(found))
        matrices = torch.eye(3).repeat(len(keys), 1, 1)
        matrices[:, :2, 2] = shifts
        return Batch(images, targets, keys, matrices)


class SquareFinder(nn.Module):
    """Logit of a square and its corner, for each cell of a 4x4 grid; dropout draws each step."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(16, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.score = nn.Conv2d(16, 1, 1)
        self.corner = nn.Conv2d(16, 2, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.body(images)
        return {"scores": self.score(features).flatten(1), "corners": self.corner(features)}


def box_losses(outputs: dict[str, Tensor], targets: list[BoxTarget]) -> dict[str, Tensor]:
    labels = torch.zeros_like(outputs["scores"])
    corner_loss, num_boxes = outputs["corners"].sum() * 0.0, 0
    for row, target in enumerate(targets):
        for box in target.boxes:
            cell = (box[:2] / 4).long().clamp(0, 3)
            labels[row, cell[1] * 4 + cell[0]] = 1.0
            wanted = box[:2] / 4 - cell
            corner_loss = (
                corner_loss + (outputs["corners"][row, :, cell[1], cell[0]] - wanted).abs().sum()
            )
            num_boxes += 1
    return {
        "classification": F.binary_cross_entropy_with_logits(outputs["scores"], labels),
        "box": corner_loss / max(1, num_boxes),
    }


def original_boxes(outputs: dict[str, Tensor], batch: Batch) -> list[Tensor]:
    """Return the best box of each image, (1, 4), in the pixels of the image before its shift."""
    cells = outputs["scores"].argmax(dim=1)
    corners = outputs["corners"].flatten(2)[torch.arange(len(cells)), :, cells]
    return original_corners((corners + places_of(cells)) * 4, batch)


def original_corners(corners: Tensor, batch: Batch) -> list[Tensor]:
    """Return squares with corners (B, 2) as boxes, in the pixels of the image before its shift."""
    assert batch.matrices is not None
    found = corners - batch.matrices[:, :2, 2]
    return list(torch.cat([found, found + 4], dim=1)[:, None])


def places_of(cells: Tensor) -> Tensor:
    """Return column and row, (B, 2), of cells of a 4x4 grid."""
    return torch.stack([cells % 4, cells // 4], dim=1)


class TwoStagesOutput(NamedTuple):
    """Losses of both stages, and the corner of the best square, (B, 2), in input pixels."""

    losses: dict[str, Tensor]
    corners: Tensor


class TwoStages(nn.Module):
    """Scores of the cells of a grid, then a corner from the features of one cell.

    In training that is the cell of the target, otherwise the best one.
    """

    takes_batch = True

    def __init__(self) -> None:
        super().__init__()
        finder = SquareFinder()
        self.body, self.score = finder.body, finder.score
        self.corner = nn.Sequential(
            nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)
        )

    def forward(self, batch: Batch) -> TwoStagesOutput:
        features = self.body(batch.inputs)
        scores = self.score(features).flatten(1)
        labels, wanted = torch.zeros_like(scores), torch.zeros(len(scores), 2)
        for row, target in enumerate(batch.targets):
            for box in target.boxes:
                wanted[row] = box[:2] / 4
                column, line = wanted[row].long().clamp(0, 3).tolist()
                labels[row, line * 4 + column] = 1.0
        cells = (labels if self.training else scores).argmax(dim=1)
        chosen = features.flatten(2)[torch.arange(len(cells)), :, cells]
        corners = self.corner(chosen) + places_of(cells)
        has_box = labels.amax(dim=1)
        losses = {
            "proposal": F.binary_cross_entropy_with_logits(scores, labels),
            "box": ((corners - wanted).abs().sum(dim=1) * has_box).sum() / has_box.sum().clamp(1),
        }
        return TwoStagesOutput(losses, corners * 4)


class MeanIou:
    """Mean overlap of the best box with the one that is there."""

    names = ("iou",)

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._overlaps: list[float] = []

    def update(self, predictions: list[Tensor], targets: list[BoxTarget]) -> None:
        for found, target in zip(predictions, targets, strict=True):
            if len(target.boxes):
                low = torch.maximum(found[0, :2], target.boxes[0, :2])
                high = torch.minimum(found[0, 2:], target.boxes[0, 2:])
                overlap = float((high - low).clamp(min=0).prod())
                self._overlaps.append(overlap / (32 - overlap))

    def compute(self) -> dict[str, float]:
        return {"iou": math.fsum(self._overlaps) / len(self._overlaps)}

    def samples(self) -> dict[str, Tensor]:
        return {"overlap": torch.tensor(self._overlaps)}


@dataclass(frozen=True)
class Views:
    """Pairs of noisy views, (B, 12) each, of a pattern."""

    ids: range

    def __len__(self) -> int:
        return len(self.ids)

    def num_batches(self, batch_size: int) -> int:
        return math.ceil(len(self) / batch_size)

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
        order = plain_batches(len(self), seed=SEED, batch_size=batch_size, epoch=epoch)
        for rows in shard(order[first_batch:]):
            keys = torch.tensor(self.ids)[rows]
            patterns = patterns_of(keys)
            noise = seeding.uniform(keys, seed=seeding.derive(SEED, epoch), num_draws=24) - 0.5
            yield Batch((patterns + noise[:, :12], patterns + noise[:, 12:]), keys, keys)


@dataclass(frozen=True)
class Patterns:
    """Patterns without noise and their classes, for validation against those of a bank."""

    ids: range
    bank: "Patterns | None"

    def __len__(self) -> int:
        return len(self.ids)

    def num_batches(self, batch_size: int) -> int:
        return math.ceil(len(self) / batch_size)

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
        order = plain_batches(len(self), seed=None, batch_size=batch_size, epoch=epoch)
        for rows in shard(order[first_batch:]):
            keys = torch.tensor(self.ids)[rows]
            patterns = patterns_of(keys)
            yield Batch(patterns, (patterns[:, 0] > 2).long(), keys)


def patterns_of(keys: Tensor) -> Tensor:
    return 4 * seeding.uniform(keys, seed=5, num_draws=12)


class Embeddings(NamedTuple):
    """Output of the encoder, (B, 8)."""

    values: Tensor


class ContrastOutput(NamedTuple):
    """Similarity of each query to its key, then to the keys in the queue, (B, 17)."""

    logits: Tensor


class Encoder(nn.Module):
    """Patterns (B, 12) to `Embeddings`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8)
        )

    def forward(self, patterns: Tensor) -> Embeddings:
        return Embeddings(self.layers(patterns))


class Contrast(nn.Module):
    """MoCo in small: query and key encoder, and the last 16 keys; all state is in the module."""

    queue: Tensor
    pointer: Tensor
    synchronised: Sequence[nn.Module] = ()

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = Encoder(), Encoder()
        self.key.load_state_dict(self.query.state_dict())
        self.key.requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(16, 8), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @property
    def evaluated(self) -> nn.Module:
        return self.query

    def forward(self, views: tuple[Tensor, Tensor]) -> ContrastOutput:
        queries = F.normalize(self.query(views[0]).values, dim=1)
        with torch.no_grad():
            keys = F.normalize(self.key(views[1]).values, dim=1)
        own = (queries * keys).sum(1, keepdim=True)
        logits = torch.cat([own, queries @ self.queue.clone().T], 1)
        self._enqueue(gathered(keys))
        return ContrastOutput(logits / 0.2)

    @torch.no_grad()
    def after_step(self) -> None:
        for ours, theirs in zip(self.key.parameters(), self.query.parameters(), strict=True):
            ours.lerp_(theirs, 0.1)
        for buffer in self.key.buffers() if num_processes() > 1 else ():
            dist.broadcast(buffer, 0)  # the loop shares those of `evaluated`

    def _enqueue(self, keys: Tensor) -> None:
        places = (self.pointer + torch.arange(len(keys))) % 16
        self.queue[places] = keys
        self.pointer.copy_((self.pointer + len(keys)) % 16)


def gathered(rows: Tensor) -> Tensor:
    """Return the rows of all processes, which have as many each."""
    if num_processes() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(num_processes())]
    dist.all_gather(parts, rows)
    return torch.cat(parts)


def contrastive_loss(outputs: ContrastOutput | Embeddings, labels: Tensor) -> dict[str, Tensor]:
    """Return a loss for each sample; none of an encoder alone, which has no negatives."""
    if isinstance(outputs, Embeddings):
        return {}
    first = torch.zeros(len(outputs.logits), dtype=torch.int64)
    return {"contrastive": F.cross_entropy(outputs.logits, first, reduction="none")}


class NearestNeighbour:
    """Share of samples whose nearest neighbour in the bank is of their class."""

    names = ("nearest",)

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._bank: list[tuple[Tensor, Tensor]] = []
        self._right: list[Tensor] = []

    def remember(self, predictions: Tensor, targets: Tensor) -> None:
        self._bank.append((predictions, targets))

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        keys, labels = (torch.cat(column) for column in zip(*self._bank, strict=True))
        self._right.append(labels[(predictions @ keys.T).argmax(1)] == targets)

    def compute(self) -> dict[str, float]:
        return {"nearest": torch.cat(self._right).double().mean().item()}

    def samples(self) -> dict[str, Tensor]:
        return {"right": torch.cat(self._right)}
