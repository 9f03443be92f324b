"""The folder of a training run: what lies in it and how it is written, whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError  # what torch.load(weights_only=True) raises
from typing import Any

import torch

from app.engine.checkpoints import write_whole
from app.errors import UserError
from app.messages import EpochDone, Train

LAST, BEST = "last.pt", "best.safetensors"
METRICS, CONFIG, LOG = "metrics.jsonl", "config.json", "log.txt"
STATE_FORMAT = 1
STATE_KEYS = frozenset(
    ["format", "recipe", "network", "optimizer", "scaler", "epoch", "best", "history"]
)


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands after an epoch: all that it needs to go on as if never stopped."""

    recipe: Mapping[str, Any]  # what decides the result, to refuse a resume with other settings
    network: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    scaler: Mapping[str, Any]
    epoch: int  # the last one done
    best: tuple[float, float]  # R@1 and AP of best.safetensors
    history: tuple[Mapping[str, Any], ...]  # one EpochDone an epoch


def write_config(run: Train) -> None:
    text = json.dumps(asdict(run), default=str, indent=1) + "\n"
    write_whole(run.run_dir / CONFIG, text.encode())


def read_config(run_dir: Path) -> Train:
    path = run_dir / CONFIG
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        for key in ("run_dir", "data", "init"):
            raw[key] = None if raw[key] is None else Path(raw[key])
        return Train(**raw)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Choose a run.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error})", "Start a new run.") from error


def write_metrics(run_dir: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Written anew each time: a run that goes on must not tell an epoch twice."""
    lines = "".join(json.dumps(dict(line)) + "\n" for line in history)
    write_whole(run_dir / METRICS, lines.encode())


def read_metrics(run_dir: Path) -> tuple[EpochDone, ...]:
    path = run_dir / METRICS
    if not path.is_file():
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(EpochDone(**json.loads(line)) for line in lines)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error})", "Resume the run to write it anew.") from (
            error
        )


def log(run_dir: Path, text: str) -> None:
    stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    with (run_dir / LOG).open("a", encoding="utf-8") as file:
        file.write(f"{stamp} {text}\n")


def save_state(run_dir: Path, state: RunState) -> None:
    content = BytesIO()
    raw = {name: getattr(state, name) for name in state.__slots__}
    raw["history"] = list(state.history)
    torch.save({"format": STATE_FORMAT, **raw}, content)
    write_whole(run_dir / LAST, content.getvalue())


def load_state(run_dir: Path) -> RunState | None:
    """None if there is nothing to go on from. Only tensors and plain values are read."""
    path = run_dir / LAST
    if not path.is_file():
        return None
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(raw, dict) or raw.get("format") != STATE_FORMAT or set(raw) != STATE_KEYS:
            raise ValueError("not a run of this Skyfix")
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"The run in {run_dir} cannot go on: {path.name} is damaged ({reason[:120]})",
            f"Its best checkpoint, {BEST}, may still be good. Start a new run in another folder.",
        ) from error
    del raw["format"]
    raw["history"] = tuple(raw["history"])
    return RunState(**raw)
