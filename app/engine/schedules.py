"""How the learning rate changes over a run: pure arithmetic, per step."""

import math
from bisect import bisect_right

from app.train_request import Train

ONECYCLE_RISE = 0.3  # share of the run in which it rises, from a 25th; torch's own figures
ONECYCLE_START, ONECYCLE_END = 1 / 25, 1e-4 / 25


def learning_rate(run: Train, epoch: float) -> float:
    """After a linear warm-up. ``epoch`` has a fraction: it moves per step."""
    if run.schedule == "onecycle":
        return run.lr * _onecycle(min(1.0, epoch / run.epochs))
    if epoch < run.warmup_epochs:
        # One step in, not zero: the first step would otherwise teach nothing.
        return run.lr * max(epoch / run.warmup_epochs, 0.01)
    rest = max(run.epochs - run.warmup_epochs, 1e-9)
    done = min(1.0, (epoch - run.warmup_epochs) / rest)
    match run.schedule:
        case "cosine":
            return run.lr * _cosine(done)
        case "polynomial":
            return float(run.lr * (1 - done) ** run.power)
        case "step":
            return float(run.lr * run.gamma ** bisect_right(sorted(run.milestones), epoch))
        case "constant":
            return run.lr


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


def _onecycle(done: float) -> float:
    if done < ONECYCLE_RISE:
        return 1 - (1 - ONECYCLE_START) * _cosine(done / ONECYCLE_RISE)
    falling = _cosine((done - ONECYCLE_RISE) / (1 - ONECYCLE_RISE))
    return ONECYCLE_END + (1 - ONECYCLE_END) * falling
