"""LPN: the feature map cut into square rings round its centre, each with a head of its own.

Wang et al.: "Each Part Matters: Local Patterns Facilitate Cross-View Geo-Localization", TCSVT
2021. Parameters are named as in the authors' code, where ``model_1`` sees satellite pictures,
``model_2`` street ones and ``model_3`` drone ones; what a published state dict has beyond ours
matches ``UNUSED_PUBLISHED_KEYS``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from app.card import View
from app.errors import UserError
from app.models import presets
from app.models.backbone import pooled_backbone
from app.models.base import AttentionMap, config_from_mapping
from app.models.parts import PartConfig, PartNetwork, part_alignment

# Patterns for a network of drone and satellite pictures with shared weights: ImageNet's head, the
# street's trunk, and ``model_3``, which is ``model_1`` once more.
UNUSED_PUBLISHED_KEYS = (r"model_1\.model\.fc\.(weight|bias)", r"model_2\..+", r"model_3\..+")


@dataclass(frozen=True, slots=True, kw_only=True)
class LPNConfig(PartConfig):
    """Defaults are the best of the paper's on University-1652."""

    backbone: str = "resnet50"  # a timm ResNet; its names are torchvision's
    layers: tuple[int, ...] | None = None  # blocks of each stage, where not the backbone's own
    channels: tuple[int, ...] | None = None  # width of each stage, likewise
    last_stride: Literal[1, 2] = 1  # of the last stage: 1 keeps 16 x 16 locations of 256 pixels
    shared: bool = True  # one trunk for both views
    rings: int = 4
    # The published mean over a ring divides by the area of the whole square within its outer edge;
    # "ring" divides by the ring's own.
    ring_mean: Literal["square", "ring"] = "square"
    # A panorama is cut into rows instead, top to bottom, against rings from the outermost inwards.
    query_rows: bool = False
    dropout: float = 0.75
    part_sum: bool = True
    margin: float = 0.0  # LPN has no triplet


def square_rings(size: tuple[int, int], rings: int) -> Int[Tensor, "h w"]:
    """The ring of each location, 0 innermost; what is left at the edges goes to the last."""
    rows, columns = (_steps_from_centre(length, rings) for length in size)
    return torch.maximum(rows[:, None], columns[None]).clamp(max=rings) - 1


def _steps_from_centre(length: int, rings: int) -> Int[Tensor, " n"]:
    """The smallest i with -i s <= offset < i s, for whole steps s."""
    step = length // (2 * rings)
    offset = torch.arange(length) - length // 2
    return torch.where(offset < 0, (step - 1 - offset) // step, offset // step + 1)


class Trunk(nn.Module):
    """A ResNet without its head."""

    def __init__(self, config: LPNConfig) -> None:
        super().__init__()
        no_resnet = UserError(f"{config.backbone} is no ResNet", "LPN needs one: try resnet50.")
        if not config.backbone.startswith("resnet"):
            raise no_resnet
        shape = {"layers": config.layers, "channels": config.channels}
        options = {name: value for name, value in shape.items() if value is not None}
        self.model = pooled_backbone(config.backbone, zero_init_last=False, **options)
        if not isinstance(last := getattr(self.model, "layer4", None), nn.Sequential):
            raise no_resnet
        if config.last_stride == 1:
            for module in last[0].modules():
                if isinstance(module, nn.Conv2d):
                    module.stride = (1, 1)

    @property
    def width(self) -> int:
        return int(self.model.num_features)  # type: ignore[arg-type]  # timm's

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        features: Tensor = self.model.forward_features(images)  # type: ignore[operator]  # timm's
        return features


class LPN(PartNetwork):
    config: LPNConfig

    def __init__(self, config: LPNConfig) -> None:
        super().__init__(config)
        self._check_size(config.satellite_size)
        if not config.query_rows:
            self._check_size(config.query_size)
        self.model_1 = Trunk(config)
        self.query_trunk = "model_1"
        if not config.shared:
            self.query_trunk = "model_2" if config.query_view == "street" else "model_3"
            self.add_module(self.query_trunk, Trunk(config))
        for i in range(config.rings):
            self.add_head(f"classifier{i}", self.model_1.width)
        for head in self.heads:
            norm = cast(nn.BatchNorm1d, head.add_block[1])
            nn.init.normal_(norm.weight, mean=1.0, std=0.02)

    def pool(self, images: Float[Tensor, "b 3 h w"], view: View) -> list[Tensor]:
        """The mean of each ring, or row."""
        return self._cut(self._features(images, view), view)

    def explain(self, images: Float[Tensor, "b 3 h w"], view: View) -> tuple[AttentionMap, ...]:
        features = self._features(images, view)
        size = (features.shape[2], features.shape[3])
        part = self._part_of(size, view).to(features.device)
        align = part_alignment(
            self.heads,
            features.flatten(2).transpose(1, 2),
            part.flatten()[None],
            self._cut(features, view),
        )
        shown = part.float().expand(len(images), -1, -1)
        kind = "rows, 0 the top" if self._in_rows(view) else "square rings, in the heads' order"
        return (
            AttentionMap("activation energy of the last stage", features.float().norm(dim=1)),
            AttentionMap("alignment with the part's descriptor", align.unflatten(1, size)),
            AttentionMap(kind, shown),
        )

    def _features(self, images: Tensor, view: View) -> Tensor:
        name = "model_1" if view == "satellite" else self.query_trunk
        features: Tensor = self.get_submodule(name)(images)
        return features

    def _in_rows(self, view: View) -> bool:
        return self.config.query_rows and view != "satellite"

    def _part_of(self, size: tuple[int, int], view: View) -> Int[Tensor, "h w"]:
        """Which head each location belongs to."""
        rings = self.config.rings
        if self._in_rows(view):
            return (torch.arange(size[0]) * rings // size[0])[:, None].expand(size)
        inner_first = square_rings(size, rings)
        return rings - 1 - inner_first if self.config.query_rows else inner_first

    def _cut(self, features: Tensor, view: View) -> list[Tensor]:
        rings = self.config.rings
        if self._in_rows(view):
            return list(F.adaptive_avg_pool2d(features, (rings, 1))[..., 0].unbind(dim=2))
        h, w = features.shape[2:]
        member = F.one_hot(self._part_of((h, w), view).flatten(), rings).T.float()
        area = member.sum(dim=1)
        if self.config.ring_mean == "square":
            area = area.flip(0).cumsum(0).flip(0) if self.config.query_rows else area.cumsum(0)
        weights = (member / area[:, None]).to(features)
        return list((features.flatten(2) @ weights.T).unbind(dim=2))

    def _check_size(self, size: tuple[int, int]) -> None:
        step = 16 * self.config.last_stride
        if min(size) < 2 * self.config.rings * step:
            raise UserError(
                f"Pictures of {size[0]} x {size[1]} pixels are too small for {self.config.rings} "
                "square rings",
                f"Use at least {2 * self.config.rings * step} pixels, or fewer rings.",
            )


PRESETS = presets.LPN


def build(config: Mapping[str, Any]) -> LPN:
    return LPN(config_from_mapping(LPNConfig, config))
