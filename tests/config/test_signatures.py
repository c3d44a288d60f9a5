"""Signatures read from source, compared with Python's own, and those of hand-made modules."""

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from visionlab.config.signatures import UnknownPathError, UnreadableError, read_signature

CONF = Path(__file__).parents[2] / "conf"
TARGETS = sorted(
    {
        target
        for file in CONF.rglob("*.yaml")
        for target in re.findall(
            r"_target_: ((?:visionlab|optuna)\.[\w.]+)$", file.read_text(), re.MULTILINE
        )
    }
)
OUTSIDE = [
    "torch.nn.BatchNorm2d",
    "torch.nn.CrossEntropyLoss",
    "torchvision.models.resnet18",
]
Write = Callable[[Mapping[str, str]], None]


def test_targets_are_found() -> None:
    assert len(TARGETS) > 40


@pytest.mark.parametrize("path", [*TARGETS, *OUTSIDE])
def test_parameters_are_those_that_python_sees(path: str) -> None:
    module, _, name = path.rpartition(".")
    part = inspect.unwrap(getattr(importlib.import_module(module), name))
    seen = {
        each.name: each
        for each in inspect.signature(part).parameters.values()
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    }
    signature = read_signature(path)
    assert signature.parameters.keys() == seen.keys()
    for key, parameter in signature.parameters.items():
        assert (parameter.default is None) == (seen[key].default is inspect.Parameter.empty), key


@pytest.mark.parametrize("path", [each for each in TARGETS if each.startswith("visionlab")])
def test_every_setting_has_a_meaning(path: str) -> None:
    signature = read_signature(path)
    assert signature.summary
    settings = [name for name, each in signature.parameters.items() if each.is_setting]
    without = [name for name in settings if not signature.parameters[name].meaning]
    assert without == []


def test_imports_are_followed_to_the_definition(write: Write) -> None:
    write(
        {
            "chain/__init__.py": "from .rooms import *\nfrom chain import rooms as r\n",
            "chain/rooms/__init__.py": "from ..deep.part import Part as Again\n"
            "import chain.deep.part as p\n",
            "chain/deep/part.py": "class Part:\n    def __init__(self, size: int): ...\n",
        }
    )
    for path in ("Again", "rooms.Again", "deep.part.Part"):
        assert read_signature(f"chain.{path}").path == "chain.deep.part.Part"


def test_a_function_may_have_the_name_of_its_module(write: Write) -> None:
    write(
        {
            "same/__init__.py": "from .loss import loss\n",
            "same/loss.py": "def loss(*, gamma): ...\n",
        }
    )
    assert read_signature("same.loss").parameters.keys() == {"gamma"}


DATACLASSES = '''
from dataclasses import dataclass, field
from typing import ClassVar

@dataclass
class Base:
    """Base.

    Attributes:
        width: of the base,
            on two lines.
        depth: of the base.
    """
    task: ClassVar[str] = "x"
    width: int
    depth: int = 1

@dataclass(kw_only=True)
class Part(Base):
    """Part, after its base.

    Attributes:
        depth: of the part: for example 2.
    """
    names: list[str] = field(default_factory=list)
    depth: int = 2
'''


def test_fields_of_a_dataclass(write: Write) -> None:
    write({"fields.py": DATACLASSES})
    signature = read_signature("fields.Part")
    assert signature.parameters.keys() == {"width", "depth", "names"}
    assert [each.default is None for each in signature.parameters.values()] == [True, False, False]
    assert signature.parameters["width"].meaning == "of the base, on two lines."
    assert signature.parameters["depth"].meaning == "of the part: for example 2."
    assert signature.summary == "Part, after its base."


@pytest.mark.parametrize(
    "path",
    ["visionlab", "visionlab.optim.Nothing", "no_such_package.A", "visionlab..optim.Sgd", "ring.A"],
)
def test_no_such_path(path: str, write: Write) -> None:
    write({"ring.py": "from circle import A\n", "circle.py": "from ring import A\n"})
    with pytest.raises(UnknownPathError):
        read_signature(path)


@pytest.mark.parametrize("path", ["math.sqrt", "opaque.sqrt", "opaque.broken.A", "opaque.made"])
def test_without_source(path: str, write: Write) -> None:
    write(
        {
            "opaque/__init__.py": "from math import sqrt\nmade = sqrt(4)\n",
            "opaque/broken.py": "class A(:\n",
        }
    )
    with pytest.raises(LookupError) as raised:
        read_signature(path)
    assert raised.type in (UnreadableError, UnknownPathError)


def test_similar_paths_are_suggested() -> None:
    with pytest.raises(UnknownPathError) as raised:
        read_signature("visionlab.optim.Sgdd")
    assert "visionlab.optim.Sgd" in raised.value.similar
