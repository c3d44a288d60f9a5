import logging
from typing import Any, NoReturn

import pytest
import timm
import torch
from torch import nn

from visionlab.tasks.classification.model import TimmModel


@pytest.mark.parametrize("name", ["test_resnet", "test_vit.r160_in1k"])
def test_a_model_is_built_by_name_with_or_without_a_tag(name: str) -> None:
    model = TimmModel(name=name, pretrained=False)(num_classes=7).eval()
    size = 160 if "vit" in name else 64
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 7)


def test_settings_are_handed_to_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def create_model(*values: Any, **named: Any) -> nn.Module:
        calls.append((values, named))
        return nn.Identity()

    monkeypatch.setattr(timm, "create_model", create_model)
    TimmModel(name="resnet18", pretrained=True)(num_classes=3)
    assert calls == [(("resnet18",), {"pretrained": True, "num_classes": 3})]


def test_an_unknown_name_is_refused_with_names_like_it() -> None:
    message = "name must be a model of timm, got 'resnet81'; did you mean .*resnet18"
    with pytest.raises(ValueError, match=message):
        TimmModel(name="resnet81", pretrained=False)


def test_a_name_like_no_other_is_refused_without_a_hint() -> None:
    with pytest.raises(ValueError, match=r"name must be a model of timm, got '~~~'$"):
        TimmModel(name="~~~", pretrained=False)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("no network\nwith a second line"), "no network"),
        (RuntimeError("no weights"), "no weights"),
        (OSError(), "OSError"),
    ],
)
def test_weights_that_cannot_be_had_are_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*values: Any, **named: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ValueError, match=r"model\.pretrained=true") as caught:
        TimmModel(name="resnet18", pretrained=True)(num_classes=3)
    assert str(caught.value) == (
        "model.pretrained=true needs weights of 'resnet18' from the network or a cache; "
        "model.pretrained=false trains without, model.backbone.weights=FILE with those of a file "
        f"({reason})"
    )


def test_an_unknown_tag_is_not_blamed_on_pretrained_weights_that_nobody_asked_for() -> None:
    with pytest.raises(ValueError, match="nonsense") as caught:
        TimmModel(name="test_resnet.nonsense", pretrained=False)(num_classes=3)
    assert "pretrained=true" not in str(caught.value)


def test_weights_that_cannot_be_had_are_done_without_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create_model = timm.create_model
    can_load = False

    def create(*values: Any, pretrained: bool, **named: Any) -> Any:
        if pretrained and not can_load:
            raise OSError("no network")
        return create_model(*values, pretrained=False, **named)

    monkeypatch.setattr(timm, "create_model", create)
    model = TimmModel(name="test_resnet", pretrained="if_available")
    with caplog.at_level(logging.INFO):
        assert model(num_classes=3)(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    assert "training from scratch" in caplog.text
    assert "no network" in caplog.text
    caplog.clear()
    can_load = True
    with caplog.at_level(logging.INFO):
        model(num_classes=3)
    assert "model starts from the pretrained weights of test_resnet" in caplog.text
    assert "scratch" not in caplog.text


def test_a_word_that_is_no_choice_of_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="pretrained must be true, false or if_available, got 'x'"):
        TimmModel(name="resnet18", pretrained="x")  # type: ignore[arg-type]
