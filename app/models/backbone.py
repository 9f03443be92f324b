"""The only place that calls timm."""

from typing import Any

import torch
from torch import nn

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
