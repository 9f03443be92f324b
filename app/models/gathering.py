"""Rows of all processes of a training, so that a loss sees the whole batch and not one's share.

Without several processes (``torchrun``) rows are what they are. With them, each process computes
the same loss of the same whole batch. Its gradient comes back to each process for its own rows,
summed over the processes; averaging the weights' gradients then gives that of one process.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gathered(rows: Tensor) -> Tensor:
    """The rows of every process, in the order of their ranks; all must have as many."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return rows
    if rows.is_floating_point():
        whole: Tensor = _Gathered.apply(rows)  # type: ignore[no-untyped-call]  # torch's
        return whole
    return _all(rows)


def _all(rows: Tensor) -> Tensor:
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return _all(rows.contiguous())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]
