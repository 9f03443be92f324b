"""The state that a run goes on from, ``last.pt``: written whole, read without running code."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError  # what torch.load(weights_only=True) raises
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from app.engine.runs import BEST, LAST
from app.engine.writing import write_whole
from app.errors import UserError

STATE_FORMAT = 2


@dataclass(slots=True)
class Progressed:
    """How far a run is. What is said of the epoch is of the part that is done."""

    epoch: int = 0  # the one under way
    step: int = 0  # its updates that are done
    steps: int = 0  # updates since the run began
    loss: Float[Tensor, ""] | None = None  # sum over the epoch's updates
    pictures: int = 0  # of the epoch
    seconds: float = 0.0  # spent on the epoch
    memory_mb: float = 0.0
    best: tuple[float, float] | None = None  # of the best checkpoint: its figure, and a second one
    waited: int = 0  # measurements since the best one
    history: tuple[Mapping[str, Any], ...] = ()  # one EpochDone an epoch
    neighbours: Int64[Tensor, "n k"] | None = None  # mined hard negatives in use


@dataclass(frozen=True, slots=True)
class RunState:
    """All that a run needs to go on as if never stopped."""

    recipe: Mapping[str, Any]  # what decides the result, to refuse a resume with other settings
    learner: Mapping[str, Any]  # weights, their average, optimizer and scaler
    progressed: Progressed


def save_state(run_dir: Path, state: RunState) -> None:
    content = BytesIO()
    done = {name: getattr(state.progressed, name) for name in Progressed.__slots__}
    done["history"] = [dict(line) for line in state.progressed.history]
    raw = {"recipe": dict(state.recipe), "learner": dict(state.learner), "progressed": done}
    torch.save({"format": STATE_FORMAT, **raw}, content)
    write_whole(run_dir / LAST, content.getvalue())


def load_state(run_dir: Path) -> RunState | None:
    """None if there is nothing to go on from. Only tensors and plain values are read."""
    path = run_dir / LAST
    if not path.is_file():
        return None
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(raw, dict) or not isinstance(raw.get("format"), int):
            raise ValueError("not a run of Skyfix")
        if raw["format"] != STATE_FORMAT:
            raise UserError(
                f"The run in {run_dir} was made by another Skyfix "
                f"(format {raw['format']}, this one goes on with format {STATE_FORMAT})",
                f"Start anew from its {BEST} in another folder, or go on with the older Skyfix.",
            )
        history = tuple(raw["progressed"]["history"])
        done = Progressed(**{**raw["progressed"], "history": history})
        return RunState(raw["recipe"], raw["learner"], done)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, EOFError, UnpicklingError) as e:
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise UserError(
            f"The run in {run_dir} cannot go on: {path.name} is damaged ({reason[:120]})",
            f"Its best checkpoint, {BEST}, may still be good. Start a new run in another folder.",
        ) from e
