"""Feature maps of timm backbones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from visionlab.backbones.timm_models import check_name, create
from visionlab.backbones.weights import batch_norms
from visionlab.core.checks import check_choice

Norm = Literal["trained", "frozen_statistics", "frozen", "group"]
_GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """Settings of a backbone.

    Attributes:
        name: a timm model with features at strides up to 32.
        pretrained: whether to load timm's weights, from the network or timm's cache.
        norm: treatment of batch norm: `trained`; `frozen_statistics` (only weights and biases are
            trained); `frozen` (neither is trained); or `group` norm instead (arXiv 1803.08494), for
            batches of one or two images without pretrained weights.
    """

    name: str
    pretrained: bool
    norm: Norm

    def __post_init__(self) -> None:
        check_name(self.name)
        check_choice(self, get_args(Norm), "norm")

    def __call__(self, *, strides: Sequence[int]) -> "Features":
        """Return the network.

        Args:
            strides: of the feature maps, for example 8, 16 and 32 for C3, C4 and C5.

        Raises:
            ValueError: the model lacks such features, or its weights cannot be loaded.
        """
        body = create(
            self.name,
            pretrained=self.pretrained,
            key="model.backbone",
            features_only=True,
            out_indices=_indices(self.name, strides),
        )
        if self.norm == "group":
            _replace_batch_norms(body)
        if self.norm == "frozen":
            for norm in batch_norms(body):
                norm.requires_grad_(False)
        return Features(body, are_norms_fixed=self.norm in ("frozen", "frozen_statistics"))


class Features(nn.Module):
    """Feature maps of an image.

    Args:
        body: a timm model made with `features_only`.
        are_norms_fixed: whether batch norms stay in eval mode during training.
    """

    def __init__(self, body: nn.Module, *, are_norms_fixed: bool) -> None:
        super().__init__()
        self.body = body
        self.channels: list[int] = body.feature_info.channels()  # type: ignore[operator, union-attr]
        self._are_norms_fixed = are_norms_fixed

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return a feature map (B, channels[i], H / s, W / s) for each of the strides s."""
        features: list[Tensor] = self.body(images)
        return features

    def train(self, mode: bool = True) -> "Features":
        """Set the mode; the fixed norms stay in eval mode."""
        super().train(mode)
        if self._are_norms_fixed:
            for norm in batch_norms(self.body):
                norm.eval()
        return self


def _indices(name: str, strides: Sequence[int]) -> list[int]:
    """Return the indices of the features of a timm model that have some strides."""
    import timm

    try:
        model = timm.create_model(name, features_only=True)
    except (RuntimeError, AttributeError) as error:
        raise ValueError(f"model.backbone.name must give feature maps, got {name!r}") from error
    info = model.feature_info
    reductions = info.reduction()
    if not set(strides) <= set(reductions):
        raise ValueError(
            "model.backbone.name must give feature maps at strides "
            f"{', '.join(map(str, strides))}, got {name!r} with {', '.join(map(str, reductions))}"
        )
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        raise ValueError(f"model.backbone.name must take images of any size, got {name!r}")
    return [info.out_indices[reductions.index(stride)] for stride in strides]


def _replace_batch_norms(body: nn.Module) -> None:
    for name, module in list(body.named_modules()):
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        if type(module) is not nn.BatchNorm2d or module.num_features % _GROUPS:
            raise ValueError(
                f"model.backbone.norm=group must find plain batch norms of a multiple of {_GROUPS} "
                f"channels, got {name} ({type(module).__name__}, {module.num_features} channels)"
            )
        parent, _, child = name.rpartition(".")
        setattr(body.get_submodule(parent), child, nn.GroupNorm(_GROUPS, module.num_features))
