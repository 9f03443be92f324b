"""A GPU for machines that have none: the CPU by its other name, and memory that a test counts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from app.engine import devices
from app.engine.devices import MIN_CUDA_BYTES, Device
from app.engine.sharing import Tenant

NAME = "cpu:0"  # a device that torch knows, and that is not called "cpu"


@dataclass
class FakeGpu:
    free: int = 8 << 30
    given_back: int = 0  # how often
    reason: str = field(default="a GPU of arithmetic")

    def choose(self, wanted: str = "auto") -> Device:
        if self.free < MIN_CUDA_BYTES:
            return Device("cpu", f"the GPU has only {self.free >> 20} MiB of free memory")
        return Device(NAME, self.reason)

    def give_back(self) -> None:
        self.given_back += 1

    def install(self, patch: pytest.MonkeyPatch) -> "FakeGpu":
        patch.setattr(devices, "is_there", lambda name: name == NAME)
        patch.setattr(devices, "choose_device", self.choose)
        patch.setattr(devices, "free_bytes", lambda name: self.free)
        patch.setattr(devices, "give_back", self.give_back)
        return self


def too_full(
    tenant: Tenant, act: str, when: Callable[[int, torch.Tensor], bool] = lambda call, images: True
) -> list[str]:
    """Let a network's ``act`` fail on the GPU as CUDA lets it; returns the devices of the calls.

    ``when`` gets the call's number, from 1, and its first tensor.
    """
    real, calls = getattr(tenant.network, act), []

    def refusing(images: torch.Tensor, *more: Any) -> Any:
        calls.append(tenant.device.name)
        if tenant.device.name == NAME and when(len(calls), images):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return real(images, *more)

    setattr(tenant.network, act, refusing)
    return calls
