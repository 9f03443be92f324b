"""Training in several processes at once, as ``torchrun`` starts them: who am I, and what all know.

Each process takes its share of every batch. Gradients are averaged, and losses that compare
pictures compare those of all processes (``app.models.gathering``). The first process alone
measures, writes, and listens to the world outside.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Int64
from torch import Tensor, nn
from torch.utils.data import Sampler

from app.engine.checkpoints import Device, choose_device
from app.errors import UserError
from app.models.backbone import synchronise_norms

LONGEST_WAIT = timedelta(hours=6)  # for the first process, which measures while the others wait


@dataclass(frozen=True, slots=True)
class Team:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    talk: Any = None  # the group for words between CPUs

    @property
    def first(self) -> bool:
        return self.rank == 0

    def told(self, value: int) -> int:
        """What the first process says; its own value for it."""
        if self.size == 1:
            return value
        word = torch.tensor([value])
        dist.broadcast(word, 0, group=self.talk)
        return int(word)

    def told_table(self, table: Int64[Tensor, "n k"] | None) -> Int64[Tensor, "n k"] | None:
        """The first process's table; the others give None."""
        rows = self.told(0 if table is None else len(table))
        columns = self.told(0 if table is None else table.shape[1])
        if self.size == 1 or not rows:
            return table
        if table is None:
            table = torch.empty(rows, columns, dtype=torch.int64)
        dist.broadcast(table, 0, group=self.talk)
        return table

    def average_gradients(self, network: nn.Module) -> None:
        """Parameters that got none in any process keep none."""
        if self.size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        _average(gradients)

    def average_buffers(self, network: nn.Module) -> None:
        """Running statistics of batch norms, which each process has of its own share."""
        if self.size > 1:
            _average([b for b in network.buffers() if b.is_floating_point()])

    def mean(self, value: Tensor) -> Tensor:
        if self.size == 1:
            return value
        value = value.clone()
        dist.all_reduce(value)
        return value / self.size


class Share(Sampler[list[tuple[int, int]]]):
    """This process's part of every batch."""

    def __init__(self, batches: Iterable[list[tuple[int, int]]], team: Team) -> None:
        self._batches, self._team = batches, team

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]  # a Sampler with a length

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self._batches:
            part = len(batch) // self._team.size
            yield batch[self._team.rank * part : (self._team.rank + 1) * part]


@contextmanager
def joined(wanted: str) -> Iterator[tuple[Team, Device]]:
    """The team that ``torchrun`` made, or this process alone, and the device to train on."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(), choose_device(wanted)
        return
    device = _own_device(wanted, int(os.environ.get("LOCAL_RANK", "0")))
    backend = "gloo" if device.name == "cpu" else "nccl"
    dist.init_process_group(backend, timeout=LONGEST_WAIT)
    try:
        talk = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
        yield Team(dist.get_rank(), size, talk), device
    finally:
        dist.destroy_process_group()


def synchronised(network: nn.Module, team: Team, device: Device) -> None:
    """Batch norms see the whole batch, where this is possible: on CUDA."""
    if team.size > 1 and device.name != "cpu":
        synchronise_norms(network)


def require_even(batch_size: int, team: Team) -> None:
    if batch_size % team.size:
        raise UserError(
            f"A batch of {batch_size} cannot be shared by {team.size} processes",
            f"Choose a multiple of {team.size}.",
        )


def _own_device(wanted: str, local_rank: int) -> Device:
    if wanted in ("auto", "cuda") and torch.cuda.is_available():
        name = f"cuda:{local_rank % torch.cuda.device_count()}"
        torch.cuda.set_device(name)
        return choose_device(name)
    return choose_device(wanted)


def _average(tensors: Sequence[Tensor]) -> None:
    """In place, over all processes, in one message for each type of number."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        same = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in same])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        start = 0
        for tensor in same:
            part = flat[start : start + tensor.numel()]
            tensor.copy_(part.reshape(tensor.shape))
            start += tensor.numel()
