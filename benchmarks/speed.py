"""Speed of input and loop of classification on a CPU, measured side by side in one process.

    python benchmarks/speed.py [--root DIR] [--threads 2] [--rounds 5] [--steps 8] [--smoke]

Each comparison alternates its sides round by round and reports the median of the rounds' ratios.
Run it on a quiet machine. DIR holds `cifar-10-batches-py`; without it the images are noise.
`--smoke` only shows that everything runs: few images, few steps, one round.
"""

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from cifar_subset import write_noise
from composing import make_experiment
from PIL import Image
from results import options, publish
from sides import Result, compare, slowdown, speedup
from timm.utils import ModelEmaV2
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from visionlab.config.overrides import quoted
from visionlab.core.interrupt import Signals
from visionlab.core.processes import Shard, unsharded
from visionlab.engine.checkpoints import Checkpoints
from visionlab.engine.device import make_autocast
from visionlab.engine.loop import fit
from visionlab.engine.observers import MetricsFile
from visionlab.engine.state import TrainState
from visionlab.runs.build import build_data
from visionlab.runs.experiment import Experiment
from visionlab.runs.training import build_components
from visionlab.task import Batch, Data, Split
from visionlab.testing.training import NO_EPOCH_FILES

BATCH_SIZE = 128
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CPU = torch.device("cpu")
FIVE_AVERAGES = "averaged=ema averaged.decay=[0.9,0.99,0.999,0.9995,0.9997]"
SETTINGS = ("dataset=cifar10", "dataset.verify=false", "model=resnet20", "scheduler=constant")


@dataclass(frozen=True)
class Repeated:
    """The same batches in every epoch."""

    parts: Sequence[Batch]

    def __len__(self) -> int:
        return sum(len(part.keys) for part in self.parts)

    def num_batches(self, batch_size: int) -> int:
        return len(self.parts)

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
        return iter(self.parts[first_batch:])


@dataclass(frozen=True)
class First:
    """The first batches of another split."""

    split: Split
    count: int

    def __len__(self) -> int:
        return self.count * BATCH_SIZE

    def num_batches(self, batch_size: int) -> int:
        return self.count

    def batches(
        self, *, batch_size: int, epoch: int, first_batch: int, shard: Shard = unsharded
    ) -> Iterator[Batch]:
        batches = self.split.batches(
            batch_size=batch_size, epoch=epoch, first_batch=first_batch, shard=shard
        )
        return itertools.islice(batches, self.count)


def compose(*overrides: str) -> Experiment:
    return make_experiment(*SETTINGS, f"hparams.batch_size={BATCH_SIZE}", *overrides)


def prepare_fit(
    train: Split, data: Data, *, averaged: str, channels_last: bool, precision: str = "fp32"
) -> Callable[[], None]:
    """Return a function that trains one epoch of `train` through the loop of visionlab."""
    experiment = compose(*averaged.split(), f"channels_last={str(channels_last).lower()}")
    data = dataclasses.replace(data, splits={"train": train})
    task, optimizer, _, _, (averages,) = build_components([experiment], data, CPU)
    folder, state = Path(tempfile.mkdtemp()), TrainState()

    def run() -> None:
        fit(
            task,
            optimizer,
            lambda step: 1.0,
            state=state,
            hparams=dataclasses.replace(experiment.hparams, epochs=state.epoch + 1),
            stop=experiment.stop,
            evaluation=experiment.evaluation,
            checkpoints=Checkpoints(
                folder,
                metadata={},
                settings=NO_EPOCH_FILES,
                snapshot_epochs=[],
            ),
            signals=Signals(),
            autocast=make_autocast(precision, CPU),
            seed=0,
            averages=averages,
            observers=[MetricsFile(folder / "metrics.jsonl", epoch=state.epoch)],
        )

    return run


def make_model(*, channels_last: bool) -> nn.Module:
    model = compose().model(num_classes=10)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def prepare_bare(parts: Sequence[Batch], *, channels_last: bool) -> Callable[[], None]:
    """Return a function that does forward, backward and step on the same batches, nothing else."""
    model = make_model(channels_last=channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def run() -> None:
        for part in parts:
            optimizer.zero_grad()
            F.cross_entropy(model(part.inputs), part.targets).backward()
            optimizer.step()

    return run


class Plain(Dataset[tuple[Tensor, int]]):
    """CIFAR-10 one PIL image at a time, as torchvision reads it."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = labels.tolist()
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[row])), self.labels[row]


def prepare_plain(data: Data, *, steps: int, num_workers: int) -> Callable[[], None]:
    """Return a function that trains some steps in the plain way: same model, EMA and accuracy."""
    train = data.splits["train_plain"]
    (whole,) = train.batches(batch_size=len(train), epoch=0, first_batch=0)
    pixels = (data.to_pixels(whole.inputs) * 255).round().to(torch.uint8)
    loader = DataLoader(
        Plain(pixels, whole.targets), batch_size=BATCH_SIZE, shuffle=True, num_workers=num_workers
    )
    model = make_model(channels_last=False).train()
    average = ModelEmaV2(model, decay=0.99)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def run() -> None:
        total, correct = 0.0, 0
        for images, labels in itertools.islice(loader, steps):
            optimizer.zero_grad()
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            average.update(model)
            total += loss.item() * len(labels)
            correct += int((logits.argmax(1) == labels).sum())

    return run


def make_batches(steps: int, *, channels_last: bool) -> list[Batch]:
    """Return batches of noise."""
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    parts = []
    for step in range(steps):
        images = torch.randn(BATCH_SIZE, 3, 32, 32, generator=generator)
        labels = torch.randint(0, 10, (BATCH_SIZE,), generator=generator)
        keys = torch.arange(BATCH_SIZE) + step * BATCH_SIZE
        parts.append(Batch(images.contiguous(memory_format=layout), labels, keys))
    return parts


def measure_input(data: Data, rounds: int) -> Iterator[Result]:
    train = data.splits["train"]

    def run() -> None:
        for _ in train.batches(batch_size=BATCH_SIZE, epoch=0, first_batch=0):
            pass

    yield compare(
        f"Input alone: pad-crop, flip, normalise, batches of {BATCH_SIZE} from memory",
        {"visionlab": run},
        rounds=rounds,
        count=len(train),
    )


def measure_loop(data: Data, steps: int, rounds: int) -> Iterator[Result]:
    for channels_last in (False, True):
        parts = make_batches(steps, channels_last=channels_last)
        prepare = partial(prepare_fit, Repeated(parts), data, channels_last=channels_last)
        sides = {
            "bare forward, backward, step": prepare_bare(parts, channels_last=channels_last),
            "visionlab's loop, no average": prepare(averaged="averaged=none"),
            "visionlab's loop, five averages": prepare(averaged=FIVE_AVERAGES),
        }
        layout = "channels-last" if channels_last else "default"
        found = compare(
            f"ResNet-20, batch {BATCH_SIZE}, float32, {layout} layout, {steps} steps on the same "
            "batches",
            sides,
            rounds=rounds,
            count=steps * BATCH_SIZE,
        )
        bare, loop, averages = sides
        yield found
        yield slowdown(found, loop, bare, f"loop against bare steps, {layout} layout", at_most=1.05)
        yield slowdown(
            found, averages, loop, f"five averages against none, {layout} layout", at_most=1.05
        )


def measure_epoch(data: Data, steps: int, rounds: int) -> Iterator[Result]:
    train = First(data.splits["train"], steps)
    prepare = partial(prepare_fit, train, data, averaged="averaged=ema averaged.decay=0.99")
    sides = {
        "plain loop, 0 workers": prepare_plain(data, steps=steps, num_workers=0),
        "plain loop, 2 workers": prepare_plain(data, steps=steps, num_workers=2),
        "visionlab float32, channels_last=false": prepare(channels_last=False),
        "visionlab float32": prepare(channels_last=True),
        "visionlab precision=bf16": prepare(channels_last=True, precision="bf16"),
    }
    found = compare(
        f"CIFAR-10 training with one EMA and accuracy, {steps} steps of {BATCH_SIZE}",
        sides,
        rounds=rounds,
        count=steps * BATCH_SIZE,
    )
    plain, *_, default, bf16 = sides
    yield found
    yield speedup(found, default, plain, "default training against a plain loop", at_least=1.25)
    yield speedup(found, bf16, plain, "the same with precision=bf16", at_least=1.9)


def noise_data(num_images: int, *overrides: str) -> Data:
    """Return data in the form of CIFAR-10 with random images."""
    with tempfile.TemporaryDirectory() as folder:
        write_noise(Path(folder), num_images)
        return build_data(compose(f"dataset.root={quoted(folder)}", *overrides), CPU)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    steps, rounds, num_images = arguments.steps, arguments.rounds, 10_000
    if arguments.smoke:
        steps, rounds, num_images = 1, 1, 60
    torch.set_num_threads(arguments.threads)
    if arguments.root:
        data = build_data(compose(f"dataset.root={quoted(str(arguments.root))}"), CPU)
    else:
        data = noise_data(num_images)
    results = itertools.chain(
        measure_input(data, rounds),
        measure_loop(data, steps, rounds),
        measure_epoch(data, steps, rounds),
    )
    publish(results, threads=arguments.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
