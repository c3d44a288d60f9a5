"""What visionlab claims about speed on a CPU, measured side by side in one process.

    python benchmarks/speed.py [--root DIR] [--threads 2] [--rounds 5] [--steps 30]

Each comparison alternates its sides round by round and reports the median of the rounds' ratios.
Run it on a quiet machine. DIR holds `cifar-10-batches-py`; without it the last comparison is left
out.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from sides import alternate, describe, report
from timm.utils import ModelEmaV2
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from visionlab.core.interrupt import Signals
from visionlab.engine.checkpoints import Checkpoints
from visionlab.engine.hparams import Evaluation, Hparams, Stop
from visionlab.engine.loop import fit
from visionlab.engine.observers import MetricsFile
from visionlab.engine.state import TrainState
from visionlab.images.holdout import Holdout
from visionlab.optim.averaging import Averages
from visionlab.optim.optimizers import Sgd
from visionlab.task import Batch, Data, Split, Task
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.datasets.cifar import Cifar
from visionlab.tasks.classification.loss import CrossEntropy
from visionlab.tasks.classification.metric import Accuracy, probabilities, top1
from visionlab.tasks.classification.model import ResNetCifar
from visionlab.tasks.classification.records import LabelledImages
from visionlab.tasks.classification.splits import ClassificationDataset, in_memory

BATCH_SIZE = 128
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
AUGMENT = Augment(pad_px=4, flip_prob=0.5, cutout_px=0)


@dataclass(frozen=True)
class Fixed:
    """The same batches in every epoch."""

    parts: Sequence[Batch]

    def __len__(self) -> int:
        return sum(len(part.keys) for part in self.parts)

    def num_batches(self, batch_size: int) -> int:
        return len(self.parts)

    def batches(self, *, batch_size: int, epoch: int, first_batch: int) -> Iterator[Batch]:
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

    def batches(self, *, batch_size: int, epoch: int, first_batch: int) -> Iterator[Batch]:
        whole = self.split.batches(batch_size=batch_size, epoch=epoch, first_batch=first_batch)
        return (batch for batch, _ in zip(whole, range(self.count), strict=False))


def make_model(*, channels_last: bool) -> nn.Module:
    torch.manual_seed(0)
    model = ResNetCifar(depth=20)(num_classes=10)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def prepare_fit(
    train: Split, *, channels_last: bool, decays: Sequence[float], bf16: bool
) -> Callable[[], None]:
    """Return a function that trains one epoch of `train` through the loop of visionlab."""
    task = Task(
        name="classification",
        splits={"train": train},
        model=make_model(channels_last=channels_last),
        loss=CrossEntropy(label_smoothing=0.0, class_weights=None),
        backbone=[],
        extra_scalars=top1,
        predict=probabilities,
        metric=Accuracy(class_names=[], top_k=[1]),
        monitor="top1",
        mode="max",
        draw=lambda folder, samples, split: None,
        export=None,
    )
    optimizer = Sgd(
        lr=0.1,
        weight_decay=1e-4,
        momentum=0.9,
        nesterov=False,
        decay_norms_and_biases=True,
        layer_decay=None,
    )(task.model)
    averages = Averages(
        decay=decays,
        uniform=False,
        start_step=0,
        interval_steps=1,
        warmup_power=None,
        buffers="averaged",
    )(task.model)
    folder = Path(tempfile.mkdtemp())
    state = TrainState()

    def run() -> None:
        fit(
            task,
            optimizer,
            lambda step: 1.0,
            state=state,
            hparams=Hparams(
                epochs=state.epoch + 1,
                batch_size=BATCH_SIZE,
                accumulate_steps=1,
                grad_clip_max_norm=None,
                hard_examples=None,
                freeze_backbone_epochs=0,
            ),
            stop=Stop(patience_epochs=None, max_steps=None, max_minutes=None),
            evaluation=Evaluation(every_epochs=1, batch_size=500, train="none"),
            checkpoints=Checkpoints(folder, metadata={}, every_minutes=None),
            signals=Signals(),
            autocast=partial(torch.autocast, "cpu", dtype=torch.bfloat16, enabled=bf16),
            seed=0,
            averages=averages,
            observers=[MetricsFile(folder / "metrics.jsonl", epoch=state.epoch)],
        )

    return run


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
    (plain,) = data.splits["train_plain"].batches(batch_size=50_000, epoch=0, first_batch=0)
    images = (data.to_pixels(plain.inputs) * 255).round().to(torch.uint8)
    dataset = Plain(images, plain.targets)
    loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=num_workers)
    model = make_model(channels_last=False).train()
    average = ModelEmaV2(model, decay=0.99)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def run() -> None:
        total, correct = 0.0, 0
        for (images, labels), _ in zip(loader, range(steps), strict=False):
            optimizer.zero_grad()
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            average.update(model)
            total += loss.item() * len(labels)
            correct += int((logits.argmax(1) == labels).sum())

    return run


def fixed_batches(steps: int, *, channels_last: bool) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    parts = []
    for step in range(steps):
        images = torch.randn(BATCH_SIZE, 3, 32, 32, generator=generator)
        labels = torch.randint(0, 10, (BATCH_SIZE,), generator=generator)
        keys = torch.arange(BATCH_SIZE) + step * BATCH_SIZE
        parts.append(Batch(images.contiguous(memory_format=layout), labels, keys))
    return parts


def measure_loop(steps: int, rounds: int) -> None:
    for channels_last in (False, True):
        parts = fixed_batches(steps, channels_last=channels_last)
        prepare = partial(prepare_fit, Fixed(parts), channels_last=channels_last, bf16=False)
        sides = {
            "bare forward, backward, step": prepare_bare(parts, channels_last=channels_last),
            "visionlab's loop, no average": prepare(decays=[]),
            "visionlab's loop, five averages": prepare(decays=[0.9, 0.99, 0.999, 0.9995, 0.9997]),
        }
        layout = "channels-last" if channels_last else "default"
        report(
            f"ResNet-20, batch 128, float32, {layout} layout, {steps} steps on the same batches",
            alternate(sides, rounds=rounds),
            num_images=steps * BATCH_SIZE,
        )


def measure_input(rounds: int) -> None:
    images = torch.randint(0, 256, (50_000, 3, 32, 32), dtype=torch.uint8)
    data = make_data(LabelledImages(images, torch.arange(50_000) % 10))
    train = data.splits["train"]

    def run() -> None:
        for _ in train.batches(batch_size=BATCH_SIZE, epoch=0, first_batch=0):
            pass

    report(
        "Input alone: pad-crop, flip, normalise, batches of 128 from memory",
        alternate({"visionlab": run}, rounds=rounds),
        num_images=len(train),
    )


def make_data(train: LabelledImages) -> Data:
    return in_memory(
        train,
        LabelledImages(train.images[:10], train.labels[:10]),
        class_names=[str(label) for label in range(10)],
        dataset=ClassificationDataset(val=Holdout(split=0.1, seed=1234), mean=MEAN, std=STD),
        augmentation=AUGMENT,
        seed=0,
        device=torch.device("cpu"),
    )


def measure_epoch(root: str, steps: int, rounds: int) -> None:
    dataset = Cifar(
        num_classes=10,
        root=root,
        download=False,
        verify=False,
        val=Holdout(split=0.1, seed=1234),
        mean=MEAN,
        std=STD,
    )
    data = dataset(augmentation=AUGMENT, seed=0, device=torch.device("cpu"))
    prepare = partial(prepare_fit, First(data.splits["train"], steps), decays=[0.99])
    sides = {
        "plain loop, 0 workers": prepare_plain(data, steps=steps, num_workers=0),
        "plain loop, 2 workers": prepare_plain(data, steps=steps, num_workers=2),
        "visionlab float32, channels_last=false": prepare(channels_last=False, bf16=False),
        "visionlab float32": prepare(channels_last=True, bf16=False),
        "visionlab precision=bf16": prepare(channels_last=True, bf16=True),
    }
    report(
        f"CIFAR-10 training with one EMA and accuracy, {steps} steps of 128",
        alternate(sides, rounds=rounds),
        num_images=steps * BATCH_SIZE,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(describe(arguments.threads))
    measure_input(arguments.rounds)
    measure_loop(arguments.steps, arguments.rounds)
    if arguments.root:
        measure_epoch(arguments.root, arguments.steps, arguments.rounds)


if __name__ == "__main__":
    main()
