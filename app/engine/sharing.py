"""An accelerator is shared with trainings and other programs: the engine gives way and says so.

A network whose accelerator a training claims, or whose memory does not suffice, moves to the CPU
as it stands, so that whoever is in the middle of a long job goes on with it. It is loaded onto
the accelerator again when it is next asked for after the training ended, or after others gave
memory back.

What a process keeps of CUDA itself, some hundred megabytes, goes back only when it ends.
"""

import gc
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

import torch

from app.card import Card
from app.engine import devices
from app.engine.devices import Device
from app.errors import UserError
from app.messages import DeviceChanged, Report, ignore
from app.models.base import Network

log = logging.getLogger(__name__)

RETURN_BYTES = 1 << 30  # more free than when a network left: somebody has given memory back

_Result = TypeVar("_Result")
_Tenant = TypeVar("_Tenant", bound="Tenant")


@dataclass(slots=True, eq=False, weakref_slot=True)
class Tenant:
    """A loaded network and where it computes. Not frozen: it may have to leave its device."""

    path: Path
    sha256: str  # of what decides its answers, see card.identity_of
    card: Card
    network: Network  # in eval mode, on ``device``, channels last
    device: Device
    sharing: "Sharing" = field(default_factory=lambda: Sharing(), kw_only=True)

    def compute(self, attempt: Callable[[], _Result]) -> _Result:
        """What ``attempt()`` gives; again with all freed, then on the CPU, if memory is short.

        It is called anew each time, so it must ask ``device`` and bring its tensors there.
        Raises UserError where the CPU's memory does not suffice either.
        """
        eased = False
        while True:
            try:
                return attempt()
            except RuntimeError as error:
                if not devices.is_out_of_memory(error):
                    raise
            # Not in the handler: the error's frames hold what the attempt had computed.
            self.ease(last=eased)
            eased = True

    def ease(self, *, last: bool) -> None:
        """Its device's memory did not suffice: free what others hold, at ``last`` leave it."""
        if self.device.name == "cpu":
            raise UserError(
                f"The memory of {self.device.name} does not suffice for one picture",
                "Close other programs, or choose a smaller checkpoint.",
            )
        if last:
            self.sharing.crowd_out(self)
        else:
            self.sharing.make_room(self)

    def move(self, device: Device) -> None:
        with torch.inference_mode(False):  # else its weights would be inference tensors for good
            to_device(self.network, device)
        self.device = device


class Sharing:
    """Who is on the accelerator, who had to leave it, and whether it may come back."""

    def __init__(self, wanted: str = "auto") -> None:
        """``wanted`` as in ``devices.choose_device``."""
        self.tell: Report = ignore  # hears each DeviceChanged
        self.drop_idle: Callable[[Tenant | None], None] = lambda keep: None  # of who keeps them
        self._wanted = wanted
        self._claimed: frozenset[str] = frozenset()
        self._away: dict[Path, int | None] = {}  # bytes free then; None: it left for a training
        self._tenants: WeakSet[Tenant] = WeakSet()

    @property
    def places(self) -> tuple[tuple[str, Device], ...]:
        """Where each loaded network is, by its card's title."""
        return tuple(sorted(((t.card.title, t.device) for t in self._tenants), key=lambda p: p[0]))

    @property
    def claimed(self) -> str:
        """The accelerator that the engine would take, if a training has it; else empty."""
        name = devices.accelerator_of(self._wanted)
        return name if name in self._claimed and devices.is_there(name) else ""

    def load(self, path: Path, make: Callable[[Device], _Tenant]) -> _Tenant:
        """Where ``make`` gets told to; on the CPU if the accelerator is taken or too full."""
        was_away = path in self._away
        tenant = self._made(path, self._device_for(path), make)
        self._tenants.add(tenant)
        if was_away != (path in self._away):
            self._told(tenant.device, (path,), tenant.device.reason)
        return tenant

    def may_return(self, path: Path) -> bool:
        """Whether a network that had to leave would now find room."""
        if path not in self._away or self.claimed:
            return False
        free_then = self._away[path]
        name = devices.accelerator_of(self._wanted)
        return free_then is None or devices.free_bytes(name) >= free_then + RETURN_BYTES

    def claim(self, names: Iterable[str]) -> None:
        """These accelerators are the trainings' now, and no others: who is on one leaves it."""
        fresh, self._claimed = frozenset(names) - self._claimed, frozenset(names)
        leaving = [tenant for tenant in self._tenants if tenant.device.name in fresh]
        if not fresh:
            return
        self._away = dict.fromkeys(self._away)  # after this training all of them try again
        for tenant in leaving:
            self._away[tenant.path] = None
            tenant.move(Device("cpu", f"a training uses {tenant.device.name}"))
        self.drop_idle(None)
        release()
        if leaving:
            paths = tuple(sorted(tenant.path for tenant in leaving))
            self._told(leaving[0].device, paths, leaving[0].device.reason)

    def make_room(self, tenant: Tenant) -> None:
        """Free what is on the accelerator for others than this one."""
        log.info("%s is short of memory on %s", tenant.card.title, tenant.device.name)
        self.drop_idle(tenant)
        release()

    def crowd_out(self, tenant: Tenant) -> None:
        """It leaves its accelerator, whose memory does not suffice."""
        name = tenant.device.name
        tenant.move(Device("cpu", f"the memory of {name} is full"))
        release()
        self._away[tenant.path] = None if name in self._claimed else devices.free_bytes(name)
        self._told(tenant.device, (tenant.path,), tenant.device.reason)

    def _device_for(self, path: Path) -> Device:
        if name := self.claimed:
            self._away[path] = None
            return Device("cpu", f"a training uses {name}")
        chosen = devices.choose_device(self._wanted)
        name = devices.accelerator_of(self._wanted)
        if chosen.name == "cpu" and devices.is_there(name):
            self._away[path] = devices.free_bytes(name)
        else:
            self._away.pop(path, None)
        return chosen

    def _made(self, path: Path, device: Device, make: Callable[[Device], _Tenant]) -> _Tenant:
        try:
            return make(device)
        except RuntimeError as error:
            if device.name == "cpu" or not devices.is_out_of_memory(error):
                raise
        self.drop_idle(None)
        release()
        self._away[path] = devices.free_bytes(device.name)
        return make(Device("cpu", f"the memory of {device.name} is full"))

    def _told(self, device: Device, paths: tuple[Path, ...], reason: str) -> None:
        log.info("%s: %s (%s)", device.name, reason, ", ".join(path.name for path in paths))
        self.tell(DeviceChanged(device.name, reason, paths))


def to_device(network: Network, device: Device) -> None:
    """Weights lie channels last, as the pictures do: convolutions are faster so."""
    network.to(device.name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


def release() -> None:
    """Whatever nobody holds any more goes back to the accelerator's other users."""
    gc.collect()
    devices.give_back()
