"""The folder of a training run, which is the truth about it: its plain files, without torch.

::

    config.json        the request (``Train``); it alone repeats the run
    metrics.jsonl      one ``EpochDone`` a line
    steps.jsonl        one ``StepsDone`` a line: the live curves, thinned so that it stays small
    log.txt            what happened, with the time in UTC
    output.txt         what a run in the background printed, its last words among them
    status.json        ``RunStatus``: where it stands, written anew every few seconds
    control            a word from outside: pause, resume, stop or save (``run_control``)
    notes.json         the user's tags and notes (``run_store``)
    last.pt            all that it needs to go on (``run_state``)
    best.safetensors   the best checkpoint so far; epoch-*.safetensors, the last ones if asked for
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from app.engine.writing import write_whole
from app.errors import UserError
from app.train_request import PATHS, EpochDone, StepsDone, Train

LAST, BEST = "last.pt", "best.safetensors"
METRICS, STEPS, CONFIG, LOG = "metrics.jsonl", "steps.jsonl", "config.json", "log.txt"
OUTPUT = "output.txt"
# Fields of Train that say where a run is and how it is watched, not what comes out of it.
PLACES = frozenset(
    [
        "run_dir",
        "data",
        "init",
        "device",
        "workers",
        "title",
        "licence",
        "imagery",
        "surface",
        "recipe",
        "save_every_min",
        "log_every",
        "keep_last",
        "patience",
    ]
)
MOST_STEPS = 2000  # points of the live curves; beyond it every other one goes

Line = TypeVar("Line", EpochDone, StepsDone)


def write_config(run: Train) -> None:
    text = json.dumps(asdict(run), default=str, indent=1) + "\n"
    write_whole(run.run_dir / CONFIG, text.encode())


def read_config(run_dir: Path) -> Train:
    """The request of a run. One written by an older Skyfix has the new fields' defaults."""
    path = run_dir / CONFIG
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        for key in PATHS:
            needed = key in ("run_dir", "data")
            value = raw[key] if needed else raw.get(key)
            raw[key] = None if value is None and not needed else Path(value)
        raw["milestones"] = tuple(raw.get("milestones", ()))
        if "negatives" not in raw and raw.get("neighbour_share"):
            raw["negatives"] = "neighbours"  # once there was no other kind
        return Train(**raw)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Choose a run.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error})", "Start a new run.") from error


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of two requests, or recipes, that would give another result, sorted."""
    names = (before.keys() | now.keys()) - PLACES
    return tuple(sorted(name for name in names if before.get(name) != now.get(name)))


def refuse_other_settings(run_dir: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if changed := changed_settings(before, now):
        told = ", ".join(f"{k} {before.get(k)} -> {now.get(k)}" for k in changed[:4])
        raise UserError(
            f"{run_dir} holds a run with other settings ({told})",
            f"Choose another folder, the same settings, or delete its {LAST}.",
        )


def write_metrics(run_dir: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Written anew each time: a run that goes on must not tell an epoch twice."""
    _write_lines(run_dir / METRICS, history)


def read_metrics(run_dir: Path) -> tuple[EpochDone, ...]:
    return _read_lines(run_dir / METRICS, EpochDone)


def read_steps(run_dir: Path) -> tuple[StepsDone, ...]:
    """The live curves. A last line that is still being written is left out."""
    return _read_lines(run_dir / STEPS, StepsDone)


class StepLines:
    """Appends to ``steps.jsonl``, and thins it out: every other line goes when they are many."""

    def __init__(self, run_dir: Path, *, upto: int) -> None:
        """What a run tells again after step ``upto`` is cut off."""
        self._path = run_dir / STEPS
        self._lines = [asdict(line) for line in read_steps(run_dir) if line.step <= upto]
        self._spacing = 1
        self._skipped = 0
        _write_lines(self._path, self._lines)

    def add(self, line: StepsDone) -> None:
        self._skipped += 1
        if self._skipped < self._spacing:
            return
        self._skipped = 0
        self._lines.append(asdict(line))
        if len(self._lines) > MOST_STEPS:
            self._lines = self._lines[1::2]
            self._spacing *= 2
            _write_lines(self._path, self._lines)
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._lines[-1]) + "\n")


def log(run_dir: Path, text: str) -> None:
    stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    with (run_dir / LOG).open("a", encoding="utf-8") as file:
        file.write(f"{stamp} {text}\n")


def tail(run_dir: Path, name: str = LOG, *, lines: int = 20) -> tuple[str, ...]:
    """The last lines of the log or of ``OUTPUT``; empty if there is none."""
    try:
        with (run_dir / name).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 200 * lines))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(text.splitlines()[-lines:])


def _write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    write_whole(path, "".join(json.dumps(dict(line)) + "\n" for line in lines).encode())


def _read_lines(path: Path, kind: type[Line]) -> tuple[Line, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
    try:
        whole = text[: text.rfind("\n") + 1]
        return tuple(kind(**json.loads(line)) for line in whole.splitlines())
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error})", "Resume the run to write it anew.") from (
            error
        )
