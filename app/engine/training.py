"""Learning: one run from its request to its best checkpoint.

The run's folder (``runs``) is the truth. A run that is stopped at any update, or killed at any
moment, and started again ends with the weights of an unbroken one: all chance comes from the seed,
the epoch and the update.
"""

import hashlib
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader

from app.engine import machine_memory
from app.engine.checkpoints import Device, save_checkpoint, to_device
from app.engine.distributed import Team, joined, require_even, synchronised
from app.engine.learner import Learner, make_learner
from app.engine.network_start import Start, make_network, read_start
from app.engine.run_control import held
from app.engine.run_state import Progressed, RunState, load_state, save_state
from app.engine.run_store import RunStore
from app.engine.run_watch import Watch
from app.engine.runs import (
    BEST,
    log,
    refuse_other_settings,
    write_config,
    write_metrics,
)
from app.engine.schedules import learning_rate
from app.engine.training_record import card_of, log_start, recipe_of, told_epoch
from app.engine.training_tasks import Figures, TrainingTask, open_task
from app.errors import JobCancelled, UserError
from app.messages import Progress, Report, ignore
from app.train_request import EpochDone, Train, Trained

FINITE_EVERY = 50  # updates between two looks at the loss, each of which waits for the GPU
LOWER_IS_BETTER = ("median_m", "loss")


class Diverged(UserError):
    """The loss or the weights are no numbers any more."""


@dataclass(slots=True)
class _Loop:
    """A run under way."""

    run: Train
    task: TrainingTask
    learner: Learner
    watch: Watch
    recipe: Mapping[str, Any]
    done: Progressed
    best_by: str
    saved: float = 0.0  # when ``last.pt`` was written

    @property
    def updates(self) -> int:
        """Of an epoch; near places can make it fewer."""
        return -(-len(self.task.batches) // self.run.accumulate)


def train(run: Train, report: Report = ignore) -> Trained:
    """Train, or go on where the run in this folder stopped."""
    with (
        joined(run.device) as (team, device),
        held(run.run_dir) if team.first else nullcontext(),
        _own_chance(device),
    ):
        watch = Watch(run, team, device, report)
        with watch.listening(), _failures_told(watch):
            return _train(run, team, device, watch)


def _train(run: Train, team: Team, device: Device, watch: Watch) -> Trained:
    require_even(run.batch_size, team)
    start = read_start(run)
    if run.imagery is not None:
        _render_own_area(run, start, team, watch.report)
    task, network = open_task(run, partial(make_network, run, start), team, watch.report)
    recipe = recipe_of(run, data=task.hash, parent=start.parent)
    state = load_state(run.run_dir)
    if state is not None:
        refuse_other_settings(run.run_dir, state.recipe, recipe)
    if team.first:
        write_config(run)
        log_start(run, task, network, device)
        _register(run)
    to_device(network, device)
    synchronised(network, team, device)
    loop = _Loop(
        run,
        task,
        make_learner(run, network, device, team),
        watch,
        recipe,
        Progressed(),
        task.best_by if run.best_by == "auto" else run.best_by,
    )
    if state is not None:
        _go_on(loop, state)
    with (
        task.loader(workers=run.workers, pinned=device.name != "cpu") as loader,
        task.held_loader(workers=run.workers) as held_loader,
    ):
        return _epochs(loop, loader, held_loader)


def _register(run: Train) -> None:
    """Into the table of runs; the run itself can do without."""
    try:
        RunStore().add(run.run_dir)
    except UserError as problem:
        log(run.run_dir, str(problem))


def _render_own_area(run: Train, start: Start, team: Team, report: Report) -> None:
    from app.engine.adapting import adapted  # loads rasterio, which other runs can do without

    if team.first:
        adapted(run, start, report)
    team.told(0)  # the others wait for it


def _go_on(loop: _Loop, state: RunState) -> None:
    loop.learner.load(state.learner)
    loop.done = state.progressed
    if loop.learner.team.first:
        write_metrics(loop.run.run_dir, loop.done.history)
        at = f"epoch {loop.done.epoch + 1}, after {loop.done.step} of its updates"
        log(loop.run.run_dir, f"goes on in {at}")


def _epochs(loop: _Loop, loader: "DataLoader[Any]", held_loader: "DataLoader[Any]") -> Trained:
    run, done, team = loop.run, loop.done, loop.learner.team
    loop.saved = time.perf_counter()
    if done.best is not None:
        loop.watch.say(best=_best_shown(loop), best_by=loop.best_by)
    loop.watch.begin(steps=done.steps, steps_total=run.epochs * loop.updates)
    while done.epoch < run.epochs and not team.told(int(_tired(loop))):
        try:
            _one_epoch(loop, loader)
            told = _close_epoch(loop, held_loader)
        except JobCancelled:
            if team.size == 1 or loop.watch.agreed:  # saving takes all processes
                _save(loop)
            raise
        loop.watch.report(told)  # may raise JobCancelled: the epoch just told is safe on disk
    loop.watch.say(state="done", seconds_left=None, note="")
    return Trained(run.run_dir, run.run_dir / BEST, _best_shown(loop), loop.best_by)


def _tired(loop: _Loop) -> bool:
    """Whether patience is at its end."""
    tired = 0 < loop.run.patience <= loop.done.waited
    if tired and loop.learner.team.first:
        log(loop.run.run_dir, f"stops early: {loop.done.waited} measurements without a better one")
    return tired


def _one_epoch(loop: _Loop, loader: "DataLoader[Any]") -> None:
    """What is left of the epoch under way."""
    run, done, learner = loop.run, loop.done, loop.learner
    loop.task.batches.epoch, loop.task.batches.start = done.epoch, done.step * run.accumulate
    _find_negatives(loop)
    learner.network.train()
    machine_memory.forget(learner.device)
    if done.loss is None:
        done.loss = torch.zeros((), device=learner.device.name)
    done.loss = done.loss.to(learner.device.name)
    loop.watch.say(note=f"epoch {done.epoch + 1}", epoch=done.epoch)
    batches = iter(loader)
    began = time.perf_counter()
    while group := list(islice(batches, run.accumulate)):
        _one_update(loop, group)
        done.seconds += (now := time.perf_counter()) - began
        began = now
        if done.steps % FINITE_EVERY == 0:
            _refuse_not_finite(loop)
        began += _listen(loop)
        _tell_progress(loop)
    if done.step == 0:
        raise UserError(
            f"{run.data} has too few places that lie apart for a batch of {run.batch_size}",
            "Choose a smaller batch or a bigger data set.",
        )
    _refuse_not_finite(loop)
    used = machine_memory.most_used(learner.device) / 1e6
    done.memory_mb = max(done.memory_mb, used)


def _one_update(loop: _Loop, group: list[Any]) -> None:
    run, done, learner = loop.run, loop.done, loop.learner
    for pictures in group:
        if isinstance(pictures, UserError):
            raise pictures
    lr = learning_rate(run, done.epoch + done.step / loop.updates)
    seeds = [
        _seed_of(run.seed, done.epoch, done.step, part, learner.team.rank)
        for part in range(len(group))
    ]
    torch.manual_seed(seeds[0])  # of dropout and the like, so that no state of chance need be kept
    losses = [
        partial(loop.task.loss, pictures, learner.device, seed)
        for pictures, seed in zip(group, seeds, strict=True)
    ]
    loss = learner.update(losses, lr)
    assert done.loss is not None
    done.loss += loss
    done.step += 1
    done.steps += 1
    count = sum(2 * len(pictures.query) for pictures in group)
    done.pictures += count
    epoch = done.epoch + done.step / loop.updates
    loop.watch.step(loss, pictures=count, lr=lr, epoch=epoch, step=done.steps)


def _listen(loop: _Loop) -> float:
    """Do what is asked from outside, and save now and then. Returns the seconds of a pause."""
    word = loop.watch.word()
    due = time.perf_counter() - loop.saved > 60 * loop.run.save_every_min
    if word in ("save", "pause") or loop.learner.team.told(int(due)):
        _save(loop)
    if word == "stop":
        raise JobCancelled
    return loop.watch.wait() if word == "pause" else 0.0


def _tell_progress(loop: _Loop) -> None:
    if loop.learner.team.first:
        run, done = loop.run, loop.done
        steps = done.epoch * loop.updates + done.step
        total = run.epochs * loop.updates
        loop.watch.report(Progress(steps, total, f"epoch {done.epoch + 1}"))


def _find_negatives(loop: _Loop) -> None:
    """Before an epoch's first update, where the run asks for hard ones."""
    run, done, task, learner = loop.run, loop.done, loop.task, loop.learner
    if run.negatives in ("gps", "similarity"):
        mined = run.negatives == "similarity" and done.epoch % run.refresh_negatives == 0
        if done.step == 0 and done.epoch and mined:
            table = None
            if learner.team.first:
                with learner.autocast():
                    table = task.alike(
                        learner.device,
                        count=run.neighbour_range,
                        workers=run.workers,
                        report=loop.watch.report,
                    )
            done.neighbours = learner.team.told_table(table)
        if done.neighbours is None:
            done.neighbours = task.near(run.neighbour_range)
        rows = done.neighbours
        task.batches.neighbours = None if rows is None else rows.numpy()


def _close_epoch(loop: _Loop, held_loader: "DataLoader[Any]") -> EpochDone:
    """Measure, keep, save: all that follows an epoch's last update."""
    run, done, learner = loop.run, loop.done, loop.learner
    learner.team.average_buffers(learner.network)
    assert done.loss is not None
    loss = float(learner.team.mean(done.loss)) / done.step
    figures: dict[str, float] = {}
    if (done.epoch + 1) % run.validate_every == 0 or done.epoch + 1 == run.epochs:
        figures = _measure(loop, held_loader, loss)
    told = EpochDone(
        epoch=done.epoch,
        loss=loss,
        lr=learning_rate(run, done.epoch + (done.step - 1) / loop.updates),
        recall_at_1=figures.get("R@1"),
        median_m=figures.get("median_m"),
        images_per_s=done.pictures * learner.team.size / max(done.seconds, 1e-9),
        seconds=done.seconds,
        memory_mb=done.memory_mb,
        step=done.steps,
        metrics={name: value for name, value in figures.items() if name != "loss"},
    )
    done.history += (asdict(told),)
    done.epoch, done.step, done.loss = done.epoch + 1, 0, None
    done.pictures, done.seconds, done.memory_mb = 0, 0.0, 0.0
    _save(loop)
    if learner.team.first:
        write_metrics(run.run_dir, done.history)
        log(run.run_dir, told_epoch(told))
    return told


def _measure(loop: _Loop, held_loader: "DataLoader[Any]", loss: float) -> dict[str, float]:
    """The first process's figures; the best checkpoint is written. The others get none."""
    if not loop.learner.team.first:
        return {}
    learner, done, run = loop.learner, loop.done, loop.run
    with learner.averaged(), learner.autocast():
        figures = dict(loop.task.score(learner.device, held_loader, loop.watch.report))
        figures["loss"] = loss
        reached = _rank(loop, figures)
        if better := done.best is None or reached > done.best:
            done.best = reached
            _keep(loop, figures, BEST)
        done.waited = 0 if better else done.waited + 1
        if run.keep_last:
            _keep(loop, figures, f"epoch-{done.epoch:04d}.safetensors")
            for old in sorted(run.run_dir.glob("epoch-*.safetensors"))[: -run.keep_last]:
                old.unlink()
    loop.watch.say(best=_best_shown(loop), best_by=loop.best_by)
    return figures


def _best_shown(loop: _Loop) -> float:
    """The best figure as it was measured; -1 where none was."""
    best = loop.done.best[0] if loop.done.best else -1.0
    return -best if loop.best_by in LOWER_IS_BETTER else best


def _keep(loop: _Loop, figures: Figures, name: str) -> None:
    run, network = loop.run, loop.learner.network
    card = card_of(
        run,
        network,
        loop.task,
        figures,
        recipe=loop.recipe,
        epoch=loop.done.epoch,
        device=loop.learner.device,
    )
    save_checkpoint(run.run_dir / name, network, card)


def _rank(loop: _Loop, figures: Figures) -> tuple[float, float]:
    if loop.best_by not in figures:
        raise UserError(
            f"These held-out data have no {loop.best_by} to choose the best checkpoint by",
            f"Choose one of {', '.join(figures)}.",
        )
    value = figures[loop.best_by]
    first = -value if loop.best_by in LOWER_IS_BETTER else value
    return first, figures[loop.task.tie_breaker]


def _save(loop: _Loop) -> None:
    """Where the run stands; never what has diverged."""
    loop.learner.team.average_buffers(loop.learner.network)
    _refuse_not_finite(loop)
    if loop.learner.team.first:
        state = loop.learner.state()
        wrong = [k for k, v in state["network"].items() if not v.isfinite().all()]
        if wrong:
            raise _diverged(loop, f"The weights {wrong[0]} are not finite")
        save_state(loop.run.run_dir, RunState(loop.recipe, state, loop.done))
    loop.saved = time.perf_counter()


def _refuse_not_finite(loop: _Loop) -> None:
    loss = loop.done.loss
    if loss is None or torch.isfinite(loss):
        return
    raise _diverged(loop, f"The loss became {loss.item()}")


def _diverged(loop: _Loop, told: str) -> Diverged:
    run = loop.run
    kept = run.run_dir / BEST
    told = f"{told} in epoch {loop.done.epoch + 1}; the run has stopped"
    return Diverged(
        told,
        (f"The best checkpoint so far is kept: {kept}. " if kept.is_file() else "")
        + "Start again in another folder with a smaller learning rate"
        + (" or without half precision." if run.amp else "."),
    )


@contextmanager
def _failures_told(watch: Watch) -> Iterator[None]:
    """Whatever ends the run early is in its status, for who looks at it later."""
    run_dir = watch.run_dir
    try:
        yield
    except JobCancelled:
        watch.say(state="stopped", seconds_left=None, note="")
        raise
    except torch.OutOfMemoryError as error:
        problem = UserError(
            f"The memory of {watch.device.name} does not suffice for batches of {watch.batch_size}",
            "Choose a smaller batch, half precision, gradient checkpointing, or close other "
            "programs that use the GPU.",
        )
        watch.fail("failed", problem)
        raise problem from error
    except UserError as problem:
        watch.fail("diverged" if isinstance(problem, Diverged) else "failed", problem)
        raise
    except Exception as error:
        if (run_dir / "log.txt").is_file():
            log(run_dir, traceback.format_exc())
        watch.fail(
            "failed", UserError(f"Unexpected {type(error).__name__}: {error}", "See its log.")
        )
        raise


@contextmanager
def _own_chance(device: Device) -> Iterator[None]:
    """torch's global generators and cuDNN's search are as before when the run ends."""
    cuda = device.name != "cpu"
    before = torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=[device.name] if cuda else []):
        try:
            torch.backends.cudnn.benchmark = cuda  # all batches but the held-out rest are alike
            yield
        finally:
            torch.backends.cudnn.benchmark = before


def _seed_of(*numbers: int) -> int:
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:7], "big")
