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
