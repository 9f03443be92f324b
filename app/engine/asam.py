"""Adaptive sharpness-aware minimisation: learn from the gradient at the worst weights nearby.

Kwon et al.: "ASAM", ICML 2021. GeoViewMatch and TransGeo train with it (TransGeo: rho 2.5).
Every step takes two passes; around the second:

    loss(batch).backward()
    with ascended(network.parameters(), rho=2.5):
        optimizer.zero_grad()
        loss(batch).backward()
    optimizer.step()
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def ascended(parameters: Iterable[nn.Parameter], *, rho: float, eta: float = 0.0) -> Iterator[None]:
    """Within, weights stand where the loss is about worst in their scaled neighbourhood.

    They move by rho T^2 g / |T g|, where g are the gradients as they stand on entry and T is
    |weight| + ``eta``: in steps relative to their size, so that scaling weights against each other
    changes nothing. ``eta`` 0 on all weights is what TransGeo's code does; the paper's has 0.01
    and leaves biases unscaled. A factor on the loss (as half precision has) does not matter.
    Parameters without a gradient stay. So do all when the gradients are zero or not finite: then
    there is no direction, and the step should be left out anyway. Afterwards every weight is as
    before, to the bit, whatever happened within.
    """
    moved = [p for p in parameters if p.grad is not None]
    before = [p.detach().clone() for p in moved]
    _ascend(moved, rho=rho, eta=eta)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(moved, before, strict=True):
                parameter.copy_(value)


@torch.no_grad()
def _ascend(parameters: list[nn.Parameter], *, rho: float, eta: float) -> None:
    scaled: list[Tensor] = []  # T g
    for p in parameters:
        assert p.grad is not None
        scaled.append((p.abs() + eta) * p.grad)
    if not scaled:
        return
    norm = torch.linalg.vector_norm(torch.stack([x.float().norm() for x in scaled]))
    # On the device, without waiting for it: a factor of zero where there is no direction.
    usable = norm.isfinite() & (norm > 0)
    factor = torch.where(usable, rho / norm, 0.0)
    for p, x in zip(parameters, scaled, strict=True):
        step = factor * (p.abs() + eta) * x
        p.add_(torch.where(usable, step, 0.0).to(p.dtype))
