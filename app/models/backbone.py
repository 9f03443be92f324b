"""The only place that calls timm."""

from typing import Any

import torch
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
