"""A run and the world outside it: where it stands, whether it lives, what it is asked to do.

All by files in its folder, so that a window which was closed finds its runs again, on every
system. Whether a run lives is told by a lock that the system takes away with the process, however
it ends.
"""

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, Literal, cast, get_args

from app.engine.runs import BEST, LAST, LOG, OUTPUT, tail
from app.engine.writing import write_whole
from app.errors import UserError

STATUS, CONTROL, LOCK, EXIT = "status.json", "control", "lock", "exit.json"
BEAT_S = 5.0  # seconds between two heartbeats
DEAD_S = 60.0  # without one for so long, a run on another machine counts as dead

State = Literal["queued", "running", "paused", "stopped", "done", "failed", "diverged", "dead"]
Word = Literal["pause", "resume", "stop", "save"]
LIVE: tuple[State, ...] = ("running", "paused")


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where a run stands, as it wrote itself; ``dead`` is found out by who reads it."""

    state: State
    pid: int = 0
    host: str = ""
    started: float = 0.0  # seconds since 1970, of this start
    beat: float = 0.0  # when this was written
    epoch: int = 0  # the one under way, from 0
    epochs: int = 0
    step: int = 0  # updates done since the run began
    steps: int = 0  # of the whole run; 0: not known yet
    note: str = ""  # what it does: "epoch 3", "validating"
    loss: float | None = None
    best: float | None = None
    best_by: str = ""
    seconds_left: float | None = None
    device: str = ""
    problem: str = ""  # why it failed, diverged or died
    hint: str = ""
    resumable: bool = False  # there is a state to go on from
    checkpoint: bool = False  # there is a best checkpoint


def read_status(run_dir: Path) -> RunStatus:
    """Where the run stands now. One that was killed is ``dead``, and its last words are told."""
    try:
        raw = json.loads((run_dir / STATUS).read_text(encoding="utf-8"))
        known = {f.name for f in fields(RunStatus)}
        status = RunStatus(**{key: value for key, value in raw.items() if key in known})
        if status.state not in get_args(State):
            raise ValueError(status.state)
    except FileNotFoundError:
        status = RunStatus("stopped" if (run_dir / LAST).is_file() else "queued")
    except (OSError, ValueError, TypeError, AttributeError):
        status = RunStatus("stopped", problem=f"{STATUS} is damaged")
    gone = status.state in LIVE and not _lives(run_dir, status)
    if gone or (status.state == "queued" and (run_dir / EXIT).is_file()):
        status = replace(status, state="dead", problem=_last_words(run_dir), seconds_left=None)
    return replace(
        status,
        resumable=(run_dir / LAST).is_file(),
        checkpoint=(run_dir / BEST).is_file(),
    )


def write_status(run_dir: Path, status: RunStatus) -> None:
    status = replace(status, beat=time.time(), pid=os.getpid(), host=platform.node())
    # A lost heartbeat is no harm, and waiting for the disk every few seconds would be.
    write_whole(run_dir / STATUS, json.dumps(asdict(status)).encode(), lasting=False)


def queue(run_dir: Path) -> None:
    """A process for this run is about to start. A live run is refused."""
    if is_held(run_dir):
        raise UserError(f"{run_dir.name} is being trained already", "Stop it first.")
    (run_dir / EXIT).unlink(missing_ok=True)
    before = read_status(run_dir)
    kept = replace(before, state="queued", problem="", hint="", note="", seconds_left=None)
    write_status(run_dir, kept)


def ask(run_dir: Path, word: Word) -> None:
    """Ask a live run to pause, resume, stop or save; it answers within an update or two."""
    status = read_status(run_dir)
    if status.state not in LIVE:
        raise UserError(f"{run_dir.name} is not running: it is {status.state}", "Start it again.")
    write_whole(run_dir / CONTROL, word.encode(), lasting=False)


def take_word(run_dir: Path) -> Word | None:
    """What somebody asks of this run, once. Cheap where nobody does."""
    path = run_dir / CONTROL
    if not path.exists():
        return None
    try:
        word = path.read_text(encoding="utf-8").strip()
        path.unlink()
    except OSError:  # on Windows while it is being written: the next look finds it
        return None
    return cast(Word, word) if word in get_args(Word) else None


@contextmanager
def held(run_dir: Path) -> Iterator[None]:
    """The folder is this process's own until the end of the block, or of the process."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / LOCK).open("a+b") as file:
        if not _lock_soon(file):
            raise UserError(
                f"{run_dir} is being trained by another process",
                "Stop that one first, or choose another folder.",
            )
        for name in (CONTROL, EXIT):
            with contextlib.suppress(FileNotFoundError):
                (run_dir / name).unlink()
        try:
            yield
        finally:
            _unlock(file)


def is_held(run_dir: Path) -> bool:
    """Whether a process, this one or another of this machine, holds the folder."""
    try:
        file = (run_dir / LOCK).open("r+b")
    except OSError:
        return False
    with file:
        free = _lock(file)
        if free:
            _unlock(file)
        return not free


def _lock_soon(file: IO[bytes]) -> bool:
    """Tried for a while: who only looks (``is_held``) has the lock for a moment."""
    for _ in range(20):
        if _lock(file):
            return True
        time.sleep(0.02)
    return False


def write_exit(run_dir: Path, code: int) -> None:
    """What the keeper of a run in the background saw at its end."""
    write_whole(run_dir / EXIT, json.dumps({"code": code}).encode(), lasting=False)


def _lives(run_dir: Path, status: RunStatus) -> bool:
    if status.host == platform.node():
        return is_held(run_dir)
    return time.time() - status.beat < DEAD_S


def _last_words(run_dir: Path) -> str:
    """Why a run that is gone may have ended: its exit code, and the end of what it printed."""
    code: int | None = None
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        code = int(json.loads((run_dir / EXIT).read_text(encoding="utf-8"))["code"])
    words = "its process ended without a word" if code is None else _meaning(code)
    printed = tail(run_dir, OUTPUT, lines=12) or tail(run_dir, LOG, lines=3)
    return "\n".join((words, *printed))


def _meaning(code: int) -> str:
    if code in (-9, 137):
        return "it was killed (signal 9), most often because the memory was full"
    if code < 0:
        return f"it was ended by signal {-code}"
    return f"it ended with exit code {code}"


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> bool:
        # flock, not lockf: the latter lets go when this process closes any other handle of it.
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
