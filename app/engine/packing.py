"""Checkpoints at half their size: 8-bit weights with one scale for each output channel.

Weights alone are kept so; they are numbers of float32 again before anything is computed. A channel
has at most half of 1/127 of its largest weight as an error. Norms, biases and small tensors stay
as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from app.errors import UserError

SCALE = "|scale"  # ends the name of the scales that belong to the tensor before it
LEAST = 4096  # numbers; smaller tensors are not worth an error
_LEVELS = 127


@dataclass(frozen=True, slots=True)
class Packed:
    """What packing a file did."""

    path: Path
    bytes_before: int
    bytes_after: int


def pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large floating tensors as int8 [c, ...] beside their scales, float32 [c]."""
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or tensor.numel() < LEAST or not tensor.is_floating_point():
            result[name] = tensor
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(dim=1) / _LEVELS
        levels = (rows / scale.where(scale > 0, 1.0)[:, None]).round()
        result[name] = levels.to(torch.int8).view(tensor.shape)
        result[name + SCALE] = scale
    return result


def unpack(tensors: Mapping[str, Tensor], *, name: str) -> dict[str, Tensor]:
    """The opposite; tensors that are not packed stay as they are. ``name`` is the file's.

    Raises UserError for scales that fit no tensor.
    """
    result = {key: tensor for key, tensor in tensors.items() if not key.endswith(SCALE)}
    for key, scale in tensors.items():
        if not key.endswith(SCALE):
            continue
        of = key.removesuffix(SCALE)
        levels = result.get(of)
        if levels is None or levels.dtype != torch.int8 or scale.shape != levels.shape[:1]:
            raise UserError(
                f"{name} is damaged: the scales of {of} fit no weights",
                "Copy or download the checkpoint again.",
            )
        result[of] = (levels.flatten(1).float() * scale.float()[:, None]).view(levels.shape)
    return result


def pack_checkpoint(path: Path, output: Path) -> Packed:
    """A packed copy with the same card. Galleries that the original described do not fit it."""
    from app.card import read_card
    from app.engine.checkpoints import read_tensors, write_tensors

    if output.exists():
        raise UserError(f"{output} is there already", "Name a file that is not.")
    card = read_card(path)
    tensors = read_tensors(path)
    if any(key.endswith(SCALE) for key in tensors):
        raise UserError(f"{path.name} is packed already", "Use it as it is.")
    write_tensors(output, pack(tensors), card)
    return Packed(output, path.stat().st_size, output.stat().st_size)
