"""The only place that calls timm."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from app.errors import UserError

# A CPU torch beside PyPI's torchvision (built for CUDA) cannot load torchvision's C library,
# and importing timm then dies with "operator torchvision::nms does not exist". Nothing here
# uses those operators; declaring their schemas is enough. Where the library loads this is not
# reached.
try:
    import timm
except RuntimeError:
    _ops = torch.library.Library("torchvision", "FRAGMENT")
    for _op in ("nms", "qnms"):
        _ops.define(f"{_op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm


def pooled_backbone(name: str, **options: Any) -> nn.Module:
    """A timm network with fresh weights that ends in one pooled vector. Downloads nothing."""
    if not timm.is_model(name):
        raise UserError(f"timm has no network {name}", "Install a newer timm, or choose another.")
    net: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **options)
    return net


def first_stages(net: nn.Module, count: int) -> nn.ModuleList:
    """The stem and the first ``count`` stages of an EfficientNet or a ConvNeXt."""
    parts = dict(net.named_children())
    stem = [parts[name] for name in ("conv_stem", "bn1", "stem") if name in parts]
    stages = parts.get("blocks", parts.get("stages"))
    if not stem or not isinstance(stages, nn.Sequential) or count > len(stages):
        raise ValueError(f"{type(net).__name__} has no stem and {count} stages to tell apart")
    return nn.ModuleList([*stem, *list(stages)[:count]])


def scale_backbone(name: str, **options: Any) -> tuple[nn.Module, tuple[int, ...]]:
    """A timm network for ``last_maps``, and the channels of its last three maps.

    What follows the last stage is cut off; ConvNeXt's last norm stays where published weights
    have it, but learns nothing.
    """
    net: Any = pooled_backbone(name, **options)
    last = net.feature_info[-3:]
    if [stage["reduction"] for stage in last] != [8, 16, 32]:
        raise UserError(
            f"{name} has no maps of strides 8, 16 and 32", "Choose a ConvNeXt or a ResNet."
        )
    net.prune_intermediate_layers(len(last), prune_norm=True, prune_head=False)
    for parameter, value in net.named_parameters():
        value.requires_grad_(not parameter.startswith("head."))
    return net, tuple(stage["num_chs"] for stage in last)


def last_maps(net: nn.Module, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
    """The maps of the last three stages, [b, c, h, w], fine to coarse."""
    maps = net.forward_intermediates(images, indices=3, intermediates_only=True)  # type: ignore[operator]  # timm's
    return tuple(maps)


class MapTrunk(nn.Module):
    """A timm network that ends in a map of chosen strides; nothing is pooled.

    What follows the stage of ``deepest`` stride is cut off. ConvNeXt's last norm stays where
    published weights have it, but learns nothing. ``freeze_bn`` and ``frozen_stages`` are those of
    Sample4Geo's config.
    """

    def __init__(
        self, name: str, *, deepest: int, freeze_bn: bool, frozen_stages: int, **options: Any
    ) -> None:
        super().__init__()
        net: Any = pooled_backbone(name, **options)
        # Where two maps have one stride the later one counts.
        self.stages = {f["reduction"]: (i, f["num_chs"]) for i, f in enumerate(net.feature_info)}
        self.net: nn.Module = net
        self.require((deepest,))
        net.prune_intermediate_layers([self.stages[deepest][0]], prune_norm=True, prune_head=False)
        for parameter, value in self.net.named_parameters():
            value.requires_grad_(not parameter.startswith("head."))
        if frozen_stages:
            first_stages(self.net, frozen_stages).requires_grad_(False)
        self.freeze_bn = freeze_bn

    def require(self, strides: tuple[int, ...]) -> None:
        """Raises UserError for strides that it has no maps of."""
        if missing := [stride for stride in strides if stride not in self.stages]:
            raise UserError(
                f"{type(self.net).__name__} has no map of stride {missing[0]}",
                f"Choose among {', '.join(map(str, self.stages))}.",
            )

    def channels(self, strides: tuple[int, ...]) -> int:
        """Of the map that ``forward`` makes of these strides."""
        self.require(strides)
        return sum(self.stages[stride][1] for stride in strides)

    def train(self, mode: bool = True) -> "MapTrunk":
        super().train(mode)
        if self.freeze_bn:
            for module in self.net.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm):
                    module.eval()
        return self

    def forward(
        self, images: Float[Tensor, "b 3 h w"], strides: tuple[int, ...]
    ) -> Float[Tensor, "b c h2 w2"]:
        """The map of the first, finest stride, with coarser ones enlarged and laid beside it."""
        maps = self.net.forward_intermediates(  # type: ignore[operator]  # timm's
            images,
            indices=[self.stages[stride][0] for stride in strides],
            intermediates_only=True,
            stop_early=True,
        )
        size = maps[0].shape[2:]
        return torch.cat([maps[0], *(F.interpolate(x, size) for x in maps[1:])], dim=1)


def synchronise_norms(net: nn.Module) -> None:
    """Batch norms see the batches of all processes; timm's own norms keep their activations."""
    timm.layers.convert_sync_batchnorm(net)  # type: ignore[attr-defined, no-untyped-call]  # timm's
