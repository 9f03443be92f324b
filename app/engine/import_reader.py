"""Reading a published checkpoint in a throw-away process; what comes back are tensors only.

The process is this program started again. It scans the file, loads it with ``weights_only=True``
under limits of memory, time and file size, and leaves a safetensors file in a private folder. The
program itself never unpickles anything that somebody else wrote.
"""

import contextlib
import json
import logging
import math
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import app
from app import READER
from app.card import CARD_KEY
from app.engine.import_pickle import HARMFUL
from app.engine.import_scan import Scanned, require_file, scan
from app.errors import UserError
from app.messages import Progress, Report, ignore

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

POLL_S = 0.2
_ANSWER, _WEIGHTS, _LOG = "answer.json", "weights.safetensors", "log.txt"


@dataclass(frozen=True, slots=True)
class Limits:
    """What reading may take; memory is that beyond what PyTorch itself takes."""

    seconds: float
    memory_bytes: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Published:
    """A foreign file's tensors, and how they lay in it."""

    tensors: "Mapping[str, Tensor]"
    container: str  # "PyTorch zip", "PyTorch legacy", "safetensors"
    inside: str  # the key under which they were, empty if they are all there is
    ignored: tuple[str, ...]  # what else was there: "optimizer", "epoch"
    is_ours: bool = False  # a checkpoint with a card: nothing to import


def limits_for(size: int) -> Limits:
    """Generous for what is honest: a mapped file, its tensors, their copy on the way out."""
    return Limits(
        seconds=60 + size / 10e6, memory_bytes=3 * size + (512 << 20), file_bytes=size + (16 << 20)
    )


def read_published(
    path: Path, *, limits: Limits | None = None, report: Report = ignore
) -> Published:
    """Raises UserError for a file that is not what it claims to be, or exceeds the limits."""
    size = require_file(path)
    if path.suffix.lower() == ".safetensors":
        return Published(_read_safetensors(path, path.name), "safetensors", "", (), _is_ours(path))
    with tempfile.TemporaryDirectory(prefix="skyfix-import-") as name:
        folder = Path(name)
        _run(path.absolute(), folder, limits or limits_for(size), report)
        answer = json.loads((folder / _ANSWER).read_text(encoding="utf-8"))
        if "problem" in answer:
            raise UserError(*answer["problem"])
        tensors = _read_safetensors(folder / _WEIGHTS, path.name)
    return Published(
        tensors, f"PyTorch {answer['container']}", answer["inside"], tuple(answer["ignored"])
    )


def _read_safetensors(path: Path, name: str) -> "Mapping[str, Tensor]":
    """Its reader holds every length against the file's; there is nothing in it that could run."""
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        return safetensors.torch.load(path.read_bytes())
    except (SafetensorError, KeyError) as error:  # KeyError: a type of number it does not know
        raise UserError(
            f"{name} is not a safetensors file, or is damaged ({error})", "Download it again."
        ) from error
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}", "Check its rights.") from error


def _is_ours(path: Path) -> bool:
    """Whether there is a card; only called for what is a safetensors file."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return CARD_KEY in json.loads(file.read(size)).get("__metadata__", {})


# --- here: starting the reader and waiting for it


def _run(path: Path, folder: Path, limits: Limits, report: Report) -> None:
    """Returns when there is an answer. The process is gone then, whatever happened."""
    frozen = bool(getattr(sys, "frozen", False))
    root = Path(app.__file__).resolve().parent.parent
    command = [sys.executable] if frozen else [sys.executable, "-m", "app"]
    with (folder / _LOG).open("wb") as written:
        process = subprocess.Popen(
            [*command, READER, str(path), str(folder), json.dumps(asdict(limits))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=written,
            cwd=folder if frozen else root,  # where "-m app" looks
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        try:
            _wait(process, path.name, limits, report)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if not (folder / _ANSWER).is_file():
        words = (folder / _LOG).read_text(encoding="utf-8", errors="replace")
        log.error("the reader of %s ended with %s: %s", path, process.returncode, words)
        last = words.strip().rpartition("\n")[2][:200]
        raise UserError(
            f"Reading {path.name} failed ({last or f'exit code {process.returncode}'})",
            f"It is damaged, or asks for more memory or time than its size accounts for. {HARMFUL}",
        )


def _wait(process: "subprocess.Popen[bytes]", name: str, limits: Limits, report: Report) -> None:
    until = time.monotonic() + limits.seconds
    while True:
        report(Progress(0, 0, f"reading {name}"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(POLL_S, max(0.0, until - time.monotonic())))
            return
        if time.monotonic() >= until:
            raise UserError(
                f"Reading {name} took longer than {limits.seconds:.0f} s and was stopped",
                "Copy it to this computer's own disk and try again.",
            )


# --- there: what the reader does


def main(arguments: Sequence[str]) -> int:
    """The throw-away process: file, folder for the answer, limits. The exit code."""
    path, folder, limits = (
        Path(arguments[0]),
        Path(arguments[1]),
        Limits(**json.loads(arguments[2])),
    )
    answer: dict[str, object]
    _limit_process(limits)
    try:
        scanned = scan(path)
        _convert(path, scanned, folder / _WEIGHTS, limits)
        answer = {
            "container": scanned.container,
            "inside": scanned.inside,
            "ignored": scanned.ignored,
        }
    except UserError as error:
        answer = {"problem": (str(error), error.hint)}
    (folder / _ANSWER).write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _convert(path: Path, scanned: Scanned, output: Path, limits: Limits) -> None:
    import numpy as np
    import safetensors.torch
    import torch

    torch.set_num_threads(1)
    _limit_memory(limits.memory_bytes)
    scalar = np.float64(0).__reduce__()[0]
    numbers: list[Any] = [
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    ]
    with torch.serialization.safe_globals(numbers):
        mapped = scanned.container == "zip"
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    weights = loaded[scanned.inside] if scanned.inside else loaded
    if {key: tuple(tensor.shape) for key, tensor in weights.items()} != scanned.shapes:
        raise UserError(f"{path.name} has two meanings", HARMFUL)
    tensors = {
        k: t.detach().clone(memory_format=torch.contiguous_format) for k, t in weights.items()
    }
    safetensors.torch.save_file(tensors, output)


def _limit_process(limits: Limits) -> None:
    """Where there are such limits: on Linux and macOS. Time is also kept by who waits."""
    if sys.platform != "win32":
        import resource

        _lower(resource.RLIMIT_CPU, math.ceil(limits.seconds))
        _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
        _lower(resource.RLIMIT_CORE, 0)


def _limit_memory(more: int) -> None:
    """To ``more`` bytes beyond those that are taken now. macOS keeps no such limit."""
    statm = Path("/proc/self/statm")
    if sys.platform != "win32" and statm.is_file():
        import resource

        taken = int(statm.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _lower(resource.RLIMIT_AS, taken + more)


def _lower(kind: int, value: int) -> None:
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(kind)
        least = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (least, least))
