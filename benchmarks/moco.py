"""Speed of a MoCo step and of its views, measured in alternation in one process.

    python benchmarks/moco.py [--threads 2] [--rounds 3] [--smoke]

A step is one optimizer step of ResNet-18 in float32. The bare one has two forward passes, one
backward pass and the update of the key encoder, and tells keys of its batch apart without a queue.
The other peer does what facebookresearch/moco's builder is described to do besides: it copies the
queue at each step, moves the key encoder parameter by parameter, and counts the five nearest keys.
Views are those of MoCo v2; the peer is torchvision's transforms v2, image by image. Run it on a
quiet machine. `--smoke` only shows that everything runs.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from composing import make_experiment
from results import options, publish
from sides import Result, compare, speedup
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2

from visionlab.core import geometry
from visionlab.images.splits import Training
from visionlab.runs.experiment import Experiment
from visionlab.tasks.pretraining.augment import ViewAugment
from visionlab.tasks.pretraining.loss import InfoNce
from visionlab.tasks.pretraining.model.moco import Moco
from visionlab.tasks.pretraining.splits import views

TEMPERATURE, MOMENTUM, LR = 0.2, 0.999, 0.01
NORMALISATION = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])


class Peer:
    """Query encoder, key encoder and optimizer of a plain implementation."""

    def __init__(self, query: nn.Module) -> None:
        self.query = query
        self.key = copy.deepcopy(query).requires_grad_(False)
        self.optimizer = torch.optim.SGD(query.parameters(), lr=LR, momentum=0.9)

    def embed(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        first, second = pairs.unbind(1)
        queries = F.normalize(self.query(first).projections, dim=1)
        with torch.no_grad():
            return queries, F.normalize(self.key(second).projections, dim=1)

    def descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def bare_step(peer: Peer, pairs: Tensor) -> None:
    queries, keys = peer.embed(pairs)
    labels = torch.arange(len(queries))
    peer.descend(F.cross_entropy(queries @ keys.T / TEMPERATURE, labels))
    with torch.no_grad():
        own, others = list(peer.key.parameters()), list(peer.query.parameters())
        torch._foreach_lerp_(own, others, 1.0 - MOMENTUM)


def builder_step(peer: Peer, pairs: Tensor, queue: Tensor, place: list[int]) -> None:
    """Take a step with a queue, (dim, queue length)."""
    with torch.no_grad():
        for own, other in zip(peer.key.parameters(), peer.query.parameters(), strict=True):
            own.data = own.data * MOMENTUM + other.data * (1.0 - MOMENTUM)
    queries, keys = peer.embed(pairs)
    positives = torch.einsum("nc,nc->n", queries, keys)[:, None]
    negatives = torch.einsum("nc,ck->nk", queries, queue.clone().detach())
    logits = torch.cat([positives, negatives], dim=1) / TEMPERATURE
    labels = torch.zeros(len(logits), dtype=torch.int64)
    queue[:, place[0] : place[0] + len(keys)] = keys.T
    place[0] = (place[0] + len(keys)) % queue.shape[1]
    loss = F.cross_entropy(logits, labels)
    nearest = logits.topk(5, dim=1).indices.T
    for k in (1, 5):
        nearest[:k].eq(labels).reshape(-1).float().sum().item()
    peer.descend(loss)


def step_sides(
    settings: Moco, *, batch_size: int, size_px: int, queue_length: int
) -> dict[str, Callable[[], None]]:
    own = settings(num_images=queue_length, size_px=size_px)
    pairs = torch.randn(batch_size, 2, 3, size_px, size_px)
    optimizer = torch.optim.SGD(own.query.parameters(), lr=LR, momentum=0.9)
    loss = InfoNce(temperature=TEMPERATURE)

    def step() -> None:
        optimizer.zero_grad()
        loss(own(pairs), torch.empty(0))["contrastive"].mean().backward()
        optimizer.step()
        own.after_step()

    queue = F.normalize(torch.randn(settings.head.dim, queue_length), dim=0)
    peers = [Peer(copy.deepcopy(own.query)) for _ in range(2)]
    return {
        "bare": partial(bare_step, peers[0], pairs),
        "as facebookresearch/moco": partial(builder_step, peers[1], pairs, queue, [0]),
        "visionlab": step,
    }


def torchvision_views(size_px: int, augmentation: ViewAugment) -> v2.Compose:
    colours, (mean, std) = augmentation.colours, NORMALISATION.tolist()
    strengths = (colours.brightness, colours.contrast, colours.saturation, colours.hue)
    jitter = v2.ColorJitter(*strengths)
    kernel_px = 2 * round(0.05 * size_px) + 1  # a tenth of the image, as SimCLR
    blur = v2.GaussianBlur(kernel_px, sigma=tuple(colours.blur_sigma_px))
    return v2.Compose(
        [
            v2.RandomResizedCrop(size_px, scale=tuple(augmentation.crop_area), antialias=True),
            v2.RandomApply([jitter], p=colours.jitter_prob),
            v2.RandomGrayscale(p=colours.grey_prob),
            v2.RandomApply([blur], p=colours.blur_prob),
            v2.RandomHorizontalFlip(p=augmentation.flip_prob),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )


def view_sides(
    augmentation: ViewAugment, *, batch_size: int, size_px: int
) -> dict[str, Callable[[], None]]:
    images = torch.randint(0, 256, (batch_size, 3, size_px, size_px), dtype=torch.uint8)
    keys, regions = torch.arange(batch_size), torch.tensor([[0, 0, size_px, size_px]])
    training = Training(augmentation=augmentation, seed=0)
    transform = torchvision_views(size_px, augmentation)

    def theirs() -> None:
        torch.stack([torch.stack([transform(image), transform(image)]) for image in images])

    def ours() -> None:
        pixels = images.float()
        views(
            lambda matrices: geometry.resample(pixels, matrices, size=(size_px, size_px)),
            keys,
            regions.expand(batch_size, 4),
            training=training,
            epoch=0,
            size_px=size_px,
            normalisation=NORMALISATION,
        )

    return {"torchvision v2": theirs, "visionlab": ours}


def measure(
    experiment: Experiment, *, batch_size: int, size_px: int, queue_length: int, rounds: int
) -> Iterator[Result]:
    settings = experiment.model
    sides = step_sides(settings, batch_size=batch_size, size_px=size_px, queue_length=queue_length)
    steps = compare(
        f"MoCo v2, {settings.backbone.name}, {size_px} px, queue of {queue_length:,}, "
        f"{batch_size} pairs: step",
        sides,
        rounds=rounds,
        count=batch_size,
    )
    bare, peer, ours = sides
    yield steps
    yield speedup(steps, ours, bare, "step against a bare one", at_least=0.9)
    text = "step against what facebookresearch/moco's builder is described to do"
    yield speedup(steps, ours, peer, text, at_least=1.1)
    num_images = 4 * batch_size
    sides = view_sides(experiment.augment, batch_size=num_images, size_px=size_px)
    title = f"Two views of {num_images} images of {size_px} px"
    views_found = compare(title, sides, rounds=rounds, count=num_images)
    peer, ours = sides
    yield views_found
    yield speedup(
        views_found, ours, peer, "two views against transforms v2, image by image", at_least=5
    )


def main() -> None:
    arguments = options(__doc__, rounds=3).parse_args()
    torch.set_num_threads(arguments.threads)
    batch_size, size_px, queue_length, rounds = 32, 64, 65536, arguments.rounds
    name = "resnet18"
    if arguments.smoke:
        batch_size, size_px, queue_length, rounds, name = 2, 32, 16, 1, "test_resnet"
    experiment = make_experiment(
        *("task=pretraining", "model=moco", f"model.backbone.name={name}"),
        *(f"model.queue_length={queue_length}", f"loss.temperature={TEMPERATURE}"),
        *("augment.flip_prob=0.5", "augment.crop_area=[0.2,1.0]", "augment.colours.blur_prob=0.5"),
    )
    results = measure(
        experiment,
        batch_size=batch_size,
        size_px=size_px,
        queue_length=queue_length,
        rounds=rounds,
    )
    publish(results, threads=arguments.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
