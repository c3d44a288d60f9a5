"""Speed of training on a GPU, measured side by side in one process; needs no Hydra.

    python benchmarks/gpu.py [--rounds 5] [--steps 50] [--json FILE] [--smoke]

Bare loops (eager, channels-last, bf16, compiled, as one CUDA graph, K models at once) stand beside
the loop of visionlab, its input, averages, evaluation and RetinaNet. Takes about six minutes on an
H100. `--smoke` shows on any machine that everything runs: few images,
few steps, one round, nothing that only a GPU can do.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from grouped import grouped_step, vmap_step
from results import options, publish
from sides import Comparison, Result, alternate, compare
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_retinanet import RATIOS, SCALES, SIZES_PX, compare_steps

from visionlab.backbones.features import Backbone
from visionlab.core.interrupt import Signals
from visionlab.engine.device import make_autocast, set_determinism
from visionlab.engine.evaluation import evaluate
from visionlab.engine.hparams import Evaluation, Hparams, Stop
from visionlab.engine.loop import fit
from visionlab.engine.state import TrainState
from visionlab.images.holdout import Holdout
from visionlab.optim.averaging import Average, Averages
from visionlab.optim.optimizers import Sgd
from visionlab.task import Batch, Data, Split, Task
from visionlab.tasks.classification.augment import Augment
from visionlab.tasks.classification.loss import CrossEntropy
from visionlab.tasks.classification.metric import Accuracy, probabilities, top1
from visionlab.tasks.classification.model import ResNetCifar, ResNetSmallImages
from visionlab.tasks.classification.records import LabelledImages
from visionlab.tasks.classification.splits import ClassificationDataset, in_memory
from visionlab.tasks.detection.loss.retinanet import RetinaNetLoss
from visionlab.tasks.detection.model.anchors import Anchors
from visionlab.tasks.detection.model.decode import Detect
from visionlab.tasks.detection.model.retinanet import Head, Pyramid, RetinaNet

MODELS = {"ResNet-20": ResNetCifar(depth=20), "ResNet-18": ResNetSmallImages(depth=18)}
DECAYS = [0.9, 0.99, 0.999, 0.9995, 0.9997]
Run = Callable[[], None]
Results = Iterator[Result]


def synchronised(run: Run) -> Run:
    """Return `run`, which then also waits for the GPU."""

    def wait() -> None:
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return wait


def measure(title: str, sides: dict[str, Run], *, rounds: int, num_images: int) -> Comparison:
    """Measure sides, each until the GPU is done."""
    waiting = {name: synchronised(run) for name, run in sides.items()}
    return compare(title, waiting, rounds=rounds, count=num_images)


def make_model(name: str, device: torch.device, *, channels_last: bool = False) -> nn.Module:
    model = MODELS[name](num_classes=10).to(device)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def noise(batch_size: int, device: torch.device, *, channels_last: bool) -> tuple[Tensor, Tensor]:
    images = torch.randn(batch_size, 3, 32, 32, device=device)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return images, torch.randint(0, 10, (batch_size,), device=device)


def prepare_bare(
    name: str,
    device: torch.device,
    *,
    batch_size: int,
    steps: int,
    channels_last: bool = False,
    bf16: bool = False,
    compiled: bool = False,
    graph: bool = False,
    tf32: bool = True,
) -> Run:
    """Return a function that does forward, backward and step on one batch, nothing else."""
    model = make_model(name, device, channels_last=channels_last).train()
    if compiled:
        model.compile()
    images, labels = noise(batch_size, device, channels_last=channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        optimizer.zero_grad(set_to_none=not graph)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16, cache_enabled=False):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    replay = captured(step) if graph else step

    def run() -> None:
        torch.backends.cudnn.allow_tf32 = tf32
        for _ in range(steps):
            replay()
        torch.backends.cudnn.allow_tf32 = True

    return run


def captured(step: Run) -> Run:
    """Return a step as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(5):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return lambda step=step: graph.replay()  # the graph does not keep what it works on


def make_data(device: torch.device, num_images: int) -> Data:
    """Return random images in memory of the device."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num_images, 3, 32, 32), generator=generator).to(torch.uint8)
    labelled = LabelledImages(images, torch.arange(num_images) % 10)
    return in_memory(
        labelled,
        labelled,
        class_names=[str(label) for label in range(10)],
        dataset=ClassificationDataset(
            val=Holdout(split=0.0, seed=0), mean=[0.5] * 3, std=[0.25] * 3
        ),
        augmentation=Augment(pad_px=4, flip_prob=0.5, cutout_px=0),
        seed=0,
        device=device,
    )


def make_task(data: Data, model: nn.Module) -> Task:
    """Return a task that trains on the plain images of `data`."""
    return Task(
        name="classification",
        splits={"train": data.splits["train"]},
        model=model,
        loss=CrossEntropy(label_smoothing=0.0, class_weights=None),
        backbone=[],
        extra_scalars=top1,
        predict=probabilities,
        fuse=None,
        metric=Accuracy(class_names=data.class_names, top_k=[1]),
        monitor="loss",
        mode="min",
        draw=lambda folder, samples, split: None,
        export=None,
        compare=None,
    )


def averages_of(decays: Sequence[float]) -> Averages:
    return Averages(
        decay=decays,
        uniform=False,
        start_step=0,
        interval_steps=1,
        warmup_power=None,
        buffers="averaged",
    )


def prepare_loop(
    name: str,
    device: torch.device,
    data: Data,
    *,
    batch_size: int,
    steps: int,
    decays: Sequence[float] = (),
    channels_last: bool = True,
    precision: str = "fp32",
    deterministic: bool = True,
) -> Run:
    """Return a function that trains some steps through the loop of visionlab, input included."""
    task = make_task(data, make_model(name, device, channels_last=channels_last))
    optimizer = Sgd(
        lr=0.1,
        weight_decay=1e-4,
        momentum=0.9,
        nesterov=False,
        decay_norms_and_biases=True,
        layer_decay=None,
    )(task.model)
    averages = averages_of(decays)(task.model)
    hparams = Hparams(
        epochs=1000,
        batch_size=batch_size,
        accumulate_steps=1,
        grad_clip_max_norm=None,
        hard_examples=None,
        freeze_backbone_epochs=0,
    )
    state = TrainState()

    def run() -> None:
        set_determinism(device, deterministic=deterministic)
        state.stopped = None
        fit(
            task,
            optimizer,
            lambda step: 1.0,
            state=state,
            hparams=hparams,
            stop=Stop(patience_epochs=None, max_steps=state.step + steps, max_minutes=None),
            evaluation=Evaluation(every_epochs=1000, batch_size=500, test=False, train="none"),
            checkpoints=NoCheckpoints(),
            signals=Signals(),
            autocast=make_autocast(precision, device),
            seed=0,
            averages=averages,
        )
        set_determinism(device, deterministic=True)

    return run


class NoCheckpoints:
    """A writer of nothing: a checkpoint every few steps would measure the disk."""

    def due(self) -> bool:
        return False

    def save_last(self, *state: object) -> None:
        pass

    def save_model(self, *model: object, step: int) -> None:
        pass

    def save_epoch(self, *model: object, **when: object) -> None:
        pass


def measure_steps(
    device: torch.device, data: Data, *, batch_size: int, steps: int, rounds: int
) -> Results:
    """Compare bare steps with those of visionlab, which include input and accuracy."""
    for name in MODELS:
        bare = partial(prepare_bare, name, device, batch_size=batch_size, steps=steps)
        loop = partial(prepare_loop, name, device, data, batch_size=batch_size, steps=steps)
        sides = {
            "bare, channels-last": bare(channels_last=True),
            "bare, default layout": bare(),
            "visionlab": loop(),
            "visionlab, five averages": loop(decays=DECAYS),
            "visionlab, deterministic algorithms off": loop(deterministic=False),
        }
        if device.type == "cuda":
            sides |= {
                "bare, channels-last, without TF32": bare(channels_last=True, tf32=False),
                "bare, channels-last, bf16": bare(channels_last=True, bf16=True),
                "visionlab, bf16": loop(precision="bf16"),
            }
        yield measure(
            f"{name}, batch {batch_size}, 32x32, {steps} steps",
            sides,
            rounds=rounds,
            num_images=steps * batch_size,
        )


def measure_graphs(device: torch.device, *, batch_size: int, steps: int, rounds: int) -> Results:
    """Compare a bare step with the same as one CUDA graph, and compiled."""
    for name in MODELS:
        bare = partial(prepare_bare, name, device, batch_size=batch_size, steps=steps)
        sides = {"bare, channels-last": bare(channels_last=True)}
        if device.type == "cuda":
            sides |= {
                "one CUDA graph": bare(channels_last=True, graph=True),
                "one CUDA graph, bf16": bare(channels_last=True, bf16=True, graph=True),
                "compiled, bf16": bare(channels_last=True, bf16=True, compiled=True),
            }
        yield measure(
            f"{name}, batch {batch_size}, 32x32, {steps} steps: graphs",
            sides,
            rounds=rounds,
            num_images=steps * batch_size,
        )


def measure_stacks(
    device: torch.device, sizes: Sequence[int], *, batch_size: int, rounds: int
) -> Results:
    """Measure K models of one training step each, in several ways, one after another."""
    common = {"batch_size": batch_size, "device": device}
    ways: dict[str, Callable[[int], Run]] = {
        "vmap": partial(vmap_step, **common),
        "grouped convolutions": partial(grouped_step, bf16=False, **common),
    }
    if device.type == "cuda":
        ways["grouped convolutions, bf16"] = partial(grouped_step, bf16=True, **common)
        ways |= {
            f"{name}, one CUDA graph": lambda size, make=make: captured(make(size))
            for name, make in ways.items()
        }
    for size in sizes:
        seconds: dict[str, list[float]] = {}
        for name, make in ways.items():  # each alone: together they would not fit
            seconds |= alternate({name: synchronised(make(size))}, rounds=4 * rounds)
        yield Comparison(
            title=f"ResNet-20, {size} models at once, batch {batch_size} each",
            seconds=seconds,
            count=size * batch_size,
        )


def measure_input(data: Data, *, batch_size: int, rounds: int) -> Results:
    """Measure an epoch of augmented batches."""

    def run() -> None:
        for _ in data.splits["train"].batches(batch_size=batch_size, epoch=0, first_batch=0):
            pass

    yield measure(
        f"Input alone: pad-crop, flip, normalise, batches of {batch_size} from memory",
        {"visionlab": run},
        rounds=rounds,
        num_images=len(data.splits["train"]),
    )


def measure_averages(device: torch.device, *, rounds: int) -> Results:
    """Compare an update of five averages with one foreach operation for each."""
    for name in MODELS:
        model = make_model(name, device)
        averages = averages_of(DECAYS)(model)
        source = list(model.state_dict().values())
        floats = [tensor for tensor in source if tensor.is_floating_point()]
        shadows = [[tensor.clone() for tensor in floats] for _ in DECAYS]

        def ours(averages: list[Average] = averages) -> None:
            for average in averages:
                average.update(1)

        def bare(shadows: list[list[Tensor]] = shadows, floats: list[Tensor] = floats) -> None:
            for shadow in shadows:
                torch._foreach_lerp_(shadow, floats, 0.01)

        yield measure(
            f"Update of five averages of a {name}",
            {"one _foreach_lerp_ each": bare, "visionlab": ours},
            rounds=rounds,
            num_images=1,
        )


def measure_evaluation(device: torch.device, data: Data, *, rounds: int) -> Results:
    """Compare evaluation with input and metric against bare forward passes."""
    for name in MODELS:
        task = make_task(data, make_model(name, device, channels_last=True))
        split, model = data.splits["test"], task.model
        batches = list(split.batches(batch_size=500, epoch=0, first_batch=0))

        @torch.no_grad()
        def bare(model: nn.Module = model, batches: Sequence[Batch] = batches) -> None:
            model.eval()
            for batch in batches:
                model(batch.inputs)

        def ours(task: Task = task, split: Split = split) -> None:
            autocast = make_autocast("fp32", device)
            evaluate(task, task.model, split, batch_size=500, autocast=autocast, check=lambda: None)

        yield measure(
            f"Evaluation of a {name}, batches of 500",
            {"bare forward": bare, "visionlab": ours},
            rounds=rounds,
            num_images=len(split),
        )


def measure_retinanet(
    device: torch.device, *, batch_size: int, size: tuple[int, int], rounds: int
) -> Results:
    """Compare training steps and inference with torchvision's."""
    model = RetinaNet(
        backbone=Backbone(name="resnet18", pretrained=False, norm="trained"),
        pyramid=Pyramid(channels=256, p6_from="p5"),
        head=Head(channels=256, depth=4, norm="none"),
        anchors=Anchors(sizes_px=SIZES_PX, ratios=RATIOS, scales=SCALES),
        prior=0.01,
        box_std=[1.0, 1.0, 1.0, 1.0],
        inputs_per_pass=None,
    )
    loss = RetinaNetLoss(
        alpha=0.25,
        gamma=2.0,
        positive_iou=0.5,
        negative_iou=0.4,
        force_best_anchor=False,
        box="l1",
        beta=0.1111,
        box_weight=1.0,
    )
    predict = Detect(
        score_threshold=0.05, candidates_per_level=1000, nms_iou=0.5, max_detections=100
    )
    comparisons = compare_steps(
        partial(model, num_classes=3),
        loss,
        predict,
        batch_size=batch_size,
        size=size,
        device=device,
    )
    for title, sides in comparisons:
        yield measure(title, sides, rounds=rounds, num_images=batch_size)


def main() -> None:
    parser = options(__doc__, threads=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="steps, input, ...")
    arguments = parser.parse_args()
    rounds, steps, batch_size, device = arguments.rounds, arguments.steps, 128, torch.device("cuda")
    num_images, stacks, num_scenes, size = 50_000, (1, 4, 15, 75), 8, (512, 640)
    if arguments.smoke:
        rounds, steps, batch_size, device = 1, 1, 2, torch.device("cpu")
        num_images, stacks, num_scenes, size = 20, (1, 2), 1, (64, 64)
    torch.set_num_threads(arguments.threads)
    set_determinism(device, deterministic=True)
    data = make_data(device, num_images)
    sections = {
        "input": measure_input(data, batch_size=batch_size, rounds=rounds),
        "averages": measure_averages(device, rounds=rounds),
        "evaluation": measure_evaluation(device, data, rounds=rounds),
        "retinanet": measure_retinanet(device, batch_size=num_scenes, size=size, rounds=rounds),
        "steps": measure_steps(device, data, batch_size=batch_size, steps=steps, rounds=rounds),
        "stacks": measure_stacks(device, stacks, batch_size=batch_size, rounds=rounds),
        "graphs": measure_graphs(device, batch_size=batch_size, steps=steps, rounds=rounds),
    }
    results = itertools.chain(*(sections[name] for name in arguments.only or sections))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    publish(results, threads=arguments.threads, json_file=arguments.json, gpu=name)


if __name__ == "__main__":
    main()
