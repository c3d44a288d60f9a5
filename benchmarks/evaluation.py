"""Evaluation of a model and five averages in one pass, beside bare forward passes of all six.

    python benchmarks/evaluation.py [--threads 2] [--rounds 5] [--images 500] [--smoke]

The bare side gets the batches, ready-made, and computes nothing but outputs. Run it on a quiet
machine. `--smoke` only shows that everything runs: few images, one round.
"""

from collections.abc import Iterator, Sequence

import torch
from composing import make_experiment
from results import options, publish
from sides import Result, compare, slowdown
from speed import CPU, FIVE_AVERAGES, compose, noise_data
from torch import nn

from visionlab.engine.device import make_autocast
from visionlab.engine.evaluation import evaluate_models
from visionlab.engine.validation import named_models
from visionlab.runs.build import build_data
from visionlab.runs.experiment import Experiment
from visionlab.runs.training import build_components
from visionlab.task import Batch, Data


def measure(
    title: str, experiment: Experiment, data: Data, *, split: str, rounds: int
) -> Iterator[Result]:
    parts = build_components([experiment], data, CPU)
    task, samples = parts.task, parts.task.splits[split]
    models = named_models(task.evaluated, parts.averages[0])
    batch_size, autocast = experiment.evaluation.batch_size, make_autocast("fp32", CPU)
    batches = list(samples.batches(batch_size=batch_size, epoch=0, first_batch=0))

    def evaluated() -> None:
        evaluate_models(
            task,
            models,
            samples,
            batch_size=batch_size,
            autocast=autocast,
            check=lambda: None,
        )

    bare, ours = f"bare forward passes of {len(models)} models", "visionlab, one pass over the data"
    sides = {bare: lambda: forward_all(list(models.values()), batches), ours: evaluated}
    found = compare(
        f"Evaluation: {title}, {len(samples)} images, batches of {batch_size}",
        sides,
        rounds=rounds,
        count=len(samples) * len(models),
    )
    yield found
    text = f"evaluation of {title} against bare forward passes"
    yield slowdown(found, ours, bare, text, at_most=1.15)


@torch.no_grad()
def forward_all(models: Sequence[nn.Module], batches: Sequence[Batch]) -> None:
    for model in models:
        model.eval()
        for batch in batches:
            model(batch.inputs)


def measure_both(num_images: int, rounds: int) -> Iterator[Result]:
    cifar = noise_data(num_images)
    title = "ResNet-20 and five averages on 32x32"
    yield from measure(title, compose(*FIVE_AVERAGES.split()), cifar, split="test", rounds=rounds)
    digits = make_experiment(*FIVE_AVERAGES.split())
    data = build_data(digits, CPU)
    title = "the default model and five averages on digits"
    yield from measure(title, digits, data, split="val", rounds=rounds)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--images", type=int, default=500)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    num_images, rounds = (10, 1) if arguments.smoke else (arguments.images, arguments.rounds)
    results = measure_both(num_images, rounds)
    publish(results, threads=arguments.threads, json_file=arguments.json)


if __name__ == "__main__":
    main()
