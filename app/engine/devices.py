"""Where networks compute: which device is taken, and what memory an accelerator has."""

from dataclasses import dataclass

import torch

from app.engine.device_names import accelerator_of as accelerator_of
from app.errors import UserError

MIN_CUDA_BYTES = 1 << 30  # below this much free memory "auto" takes the CPU
_FULL = ("out of memory", "ALLOC_FAILED")  # how CUDA's libraries say it, each in its own error


@dataclass(frozen=True, slots=True)
class Device:
    name: str  # "cpu", "cuda:0"
    reason: str  # why this one, for the status bar and the log


CPU = Device("cpu", "chosen")


def choose_device(wanted: str = "auto") -> Device:
    """``wanted`` is "auto", "cpu", "cuda" or "cuda:1"."""
    if wanted == "cpu":
        return CPU
    if wanted != "auto" and wanted.partition(":")[0] != "cuda":
        raise UserError(f"There is no device {wanted}", "Choose auto, cpu, cuda or cuda:1.")
    name = accelerator_of(wanted)
    trouble = _cuda_trouble(name)
    if not trouble:
        return Device(name, torch.cuda.get_device_name(name))
    if wanted == "auto":
        return Device("cpu", trouble)
    raise UserError(f"{wanted} cannot be used: {trouble}", "Choose the device auto or cpu.")


def is_there(name: str) -> bool:
    """Whether this machine has this accelerator, asked without waking it up."""
    kind, _, number = name.partition(":")
    return kind == "cuda" and torch.cuda.is_available() and int(number) < torch.cuda.device_count()


def _cuda_trouble(name: str) -> str:
    """Why this GPU cannot be used; empty if it can. Tried out, since drivers promise much."""
    if not torch.cuda.is_available():
        return "no CUDA GPU found" if torch.version.cuda else "this PyTorch is built for the CPU"
    try:
        free = free_bytes(name)
        if free < MIN_CUDA_BYTES:
            return f"the GPU has only {free >> 20} MiB of free memory"
        one = torch.ones(8, 8, device=name)
        if float((one @ one)[0, 0]) != 8:
            return "the GPU computes wrong results"
    except (RuntimeError, ValueError) as error:
        return f"the GPU failed a trial: {str(error).splitlines()[0]}"
    return ""


def free_bytes(name: str) -> int:
    """Of a GPU, not used by any program; 0 where it cannot be asked."""
    if not torch.cuda.is_available():
        return 0
    free, _ = torch.cuda.mem_get_info(name)
    return free


def give_back() -> None:
    """Return the memory that this process only keeps for later to the GPU's other users."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device's memory did not suffice, which not every library says in one way."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _FULL)
