"""Who computes a network: PyTorch as it is, torch.compile, OpenVINO, or half precision on a GPU.

Nothing is taken on trust. A backend must give what the network itself gives on a few pictures, or
it is not taken, and the reason is said. Networks that cut regions by rank (MIFT, FSRA) may jump
where others only round: they then stay with PyTorch.

"auto" takes the fastest that is safe for somebody who waits: OpenVINO on a CPU, where it is
installed and was faster in the trial; else PyTorch with channels last. torch.compile is never
taken unasked, since it compiles for tens of seconds at each start of the engine.
"""

import contextlib
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from app.card import View
from app.errors import UserError
from app.models.base import Network, RetrievalNetwork

log = logging.getLogger(__name__)

Choice = Literal["auto", "eager", "compile", "openvino", "half"]
CHOICES: tuple[Choice, ...] = get_args(Choice)

MIN_COSINE = 0.9999  # between a row of the network itself and the backend's
MAX_DIFFERENCE = 2e-3  # of one number, as a share of the row's length
MIN_SPEEDUP = 1.05  # below this nothing is gained by a second copy of the weights
TRIAL_PICTURES, TRIAL_ROUNDS = 4, 3

Run = Callable[[Tensor], Tensor]  # [b 3 h w] preprocessed pictures in, [b ...] out


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What of a network is computed: one function of a batch of pictures of one size."""

    name: str  # tells the parts of one checkpoint apart: its view
    network: Network  # holds the weights of ``run``
    run: Run
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    name: str  # "eager", "compile", "openvino", "half"
    reason: str  # "eager, channels last: OpenVINO is not installed"
    run: Run


@dataclass(frozen=True, slots=True)
class Trial:
    """How a backend compared with the network itself."""

    cosine: float  # the least of all rows
    difference: float  # the largest of all numbers, as a share of their row's length
    speedup: float
    failure: str = ""  # why there was nothing to compare

    @property
    def disagreement(self) -> str:
        """Why it is not to be taken; empty if it agrees."""
        if self.failure:
            return self.failure
        if self.cosine >= MIN_COSINE and self.difference <= MAX_DIFFERENCE:
            return ""
        return (
            f"gives other descriptors (cosine {self.cosine:.6f}, difference {self.difference:.1e})"
        )


def describing(network: RetrievalNetwork, view: View) -> Part:
    """The part of a retrieval network that describes a view's pictures."""
    return Part(view, network, lambda images: network.describe(images, view),
                network.input_size(view))  # fmt: skip


class Backends:
    """The backends of one checkpoint, each chosen when its part is first needed."""

    def __init__(
        self, device: str, choice: str = "auto", *, identity: str = "", cache: Path | None = None
    ) -> None:
        """``identity`` is the checkpoint's; without ``cache`` nothing is kept for the next start.

        Raises UserError for a choice that does not exist.
        """
        self._device = device
        self._choice = checked_choice(choice)
        self._identity, self._cache = identity, cache
        self._chosen: dict[str, Backend] = {}

    def is_ready(self, part: Part) -> bool:
        """Else the next ``of`` or ``run`` chooses first, which may take a minute."""
        return part.name in self._chosen or self._choice == "eager"

    def of(self, part: Part) -> Backend:
        """The backend of this part, chosen now if it was not yet."""
        if part.name not in self._chosen:
            self._chosen[part.name] = choose_backend(
                part, self._device, self._choice, identity=self._identity, cache=self._cache
            )
        return self._chosen[part.name]

    @torch.inference_mode()
    def run(self, part: Part, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b ..."]:
        """What the network would give, by the backend chosen."""
        backend = self.of(part)
        if backend.name == "eager":
            return part.run(images)
        try:
            return backend.run(images)
        except torch.OutOfMemoryError:
            raise  # a smaller batch is the answer to that
        except Exception as error:  # noqa: BLE001 - whatever a compiler's product fails with
            why = f"eager, channels last: {backend.name} failed later ({first_line(error)})"
            log.warning("%s", why)
            self._chosen[part.name] = Backend("eager", why, part.run)
            return part.run(images)


def checked_choice(choice: str) -> Choice:
    for known in CHOICES:
        if choice == known:
            return known
    raise UserError(f"There is no backend {choice}", f"Choose one of {', '.join(CHOICES)}.")


@torch.inference_mode()
def choose_backend(
    part: Part, device: str, choice: Choice, *, identity: str = "", cache: Path | None = None
) -> Backend:
    """The backend for this part, tried out. Never fails: PyTorch as it is remains."""
    if choice == "eager":
        return Backend("eager", "eager, channels last: chosen", part.run)
    name = "openvino" if choice == "auto" else choice
    why = unavailable(name, device)
    if not why:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of one library about another
                run, trial = _MAKERS[name](part, device, identity, cache)
            why = trial.disagreement
            if not why and choice == "auto" and trial.speedup < MIN_SPEEDUP:
                why = f"was not faster ({trial.speedup:.2f} times)"
            if not why:
                return Backend(name, f"{_TITLES[name]}, {trial.speedup:.1f} times eager", run)
            why = f"{_TITLES[name]} {why}"
        except Exception as error:  # compilers fail in ways without number
            log.info("%s of %s failed", name, part.name, exc_info=True)
            why = f"{_TITLES[name]} failed ({first_line(error)})"
    log.info("%s stays eager: %s", part.name, why)
    return Backend("eager", f"eager, channels last: {why}", part.run)


def unavailable(name: str, device: str) -> str:
    """Why a backend cannot be tried on this device; empty if it can."""
    match name:
        case "openvino" if device != "cpu":
            return "OpenVINO computes on the CPU"
        case "openvino" if find_spec("openvino") is None:
            return "OpenVINO is not installed"
        case "half" if device == "cpu":
            return "half precision pays on a GPU alone"
        case "compile" if getattr(sys, "frozen", False):
            return "torch.compile needs a C++ compiler and Python's sources beside the program"
        case "compile" if device == "cpu" and not _compilers():
            return "torch.compile needs a C++ compiler"
        case "compile" if device != "cpu" and find_spec("triton") is None:
            return "torch.compile needs Triton on a GPU"
        case _:
            return ""


def _compilers() -> list[str]:
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++", "cl")
    return [name for name in names if name and shutil.which(name)]


def first_line(error: Exception) -> str:
    """Its kind and the start of what it says: compilers say pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}{': ' + lines[0][:120] if lines else ''}"


# --- the trial


def trial_pictures(part: Part, device: str) -> Float[Tensor, "n 3 h w"]:
    """Preprocessed pictures with detail at several scales: pure noise looks like no photo."""
    dice = torch.Generator().manual_seed(0)
    height, width = part.size
    pictures = torch.zeros(TRIAL_PICTURES, 3, height, width)
    for cells in (3, 9, 40):
        noise = torch.rand(TRIAL_PICTURES, 3, cells, cells, generator=dice)
        pictures += F.interpolate(noise, (height, width), mode="bilinear") / 3
    pictures = (pictures - part.network.mean.cpu()) / part.network.std.cpu()
    return pictures.to(device).contiguous(memory_format=torch.channels_last)


def try_out(part: Part, run: Run, device: str, *, timed: bool = True) -> Trial:
    """Compare a backend with the network, for a batch and for one picture alone."""
    pictures = trial_pictures(part, device)
    expected = part.run(pictures)
    cosine, difference = compare(run(pictures), expected)
    alone = compare(run(pictures[:1]), expected[:1])
    speedup = _speedup(part.run, run, pictures) if timed else 1.0
    return Trial(min(cosine, alone[0]), max(difference, alone[1]), speedup)


def compare(found: Tensor, expected: Tensor) -> tuple[float, float]:
    """The least cosine of two rows, and the largest difference as a share of its row's length."""
    if found.shape != expected.shape or not found.isfinite().all():
        return 0.0, float("inf")
    a, b = (t.flatten(1).double() for t in (found, expected))
    off = (a - b).abs().amax(1) / b.norm(dim=1)
    return float(F.cosine_similarity(a, b).min()), float(off.max())


def _speedup(eager: Run, other: Run, pictures: Tensor) -> float:
    """In turn, the best of each: whatever else the machine does disturbs both alike."""
    best = [float("inf")] * 2
    for _ in range(TRIAL_ROUNDS):
        for i, run in enumerate((eager, other)):
            begun = time.perf_counter()
            run(pictures).cpu()  # waits for a GPU
            best[i] = min(best[i], time.perf_counter() - begun)
    return best[0] / best[1]


# --- the backends


def _make_compiled(part: Part, device: str, _: str, cache: Path | None) -> tuple[Run, Trial]:
    if cache is not None:  # its own cache, keyed by code and versions, beside OpenVINO's
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "inductor"))
    # One thread: a pool of compiler processes would outlive the trial.
    run = torch.compile(part.run, dynamic=True, options={"compile_threads": 1})
    return run, try_out(part, run, device)


def _make_half(part: Part, device: str, _: str, __: Path | None) -> tuple[Run, Trial]:
    def run(images: Tensor) -> Tensor:
        with torch.autocast(device.partition(":")[0], dtype=torch.float16):
            return part.run(images).float()

    return run, try_out(part, run, device)


def _make_openvino(part: Part, device: str, identity: str, cache: Path | None) -> tuple[Run, Trial]:
    from app.engine.backend_openvino import convert, kept

    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # what is exported is no inference tensor
        stack.enter_context(torch.no_grad())
        found = kept(part, identity, cache, partial(try_out, part, device=device))
        return found or convert(part, identity, cache, partial(try_out, part, device=device))


_MAKERS: Mapping[str, Callable[[Part, str, str, Path | None], tuple[Run, Trial]]] = {
    "compile": _make_compiled,
    "half": _make_half,
    "openvino": _make_openvino,
}
_TITLES = {"compile": "torch.compile", "half": "half precision", "openvino": "OpenVINO"}
