"""Runs as the window knows them: listed, watched, started, controlled. Signals, no widgets.

A run lives in its folder and in a process of its own; nothing here is lost when the window
closes. Folders are read in a thread, so that a slow disk never holds the window up.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QObject, QThreadPool, QTimer, Signal, Slot

from app.engine.device_names import accelerator_of
from app.engine.run_control import LIVE, Word, ask
from app.engine.run_keeper import start
from app.engine.run_store import RunRow, RunStore
from app.engine.runs import BEST, LOG, OUTPUT, read_metrics, read_steps, tail
from app.errors import UserError
from app.messages import (
    ClaimDevices,
    EpochDone,
    EstimateTraining,
    Event,
    PreviewTraining,
    Problem,
    Progress,
    TrainingEstimate,
    TrainingPreview,
)
from app.paths import cache_dir, data_dir
from app.train_request import StepsDone, Train
from app.ui.session import Engine

_T = TypeVar("_T")

POLL_MS = 1000
GUARD_MS = 5000  # while nobody looks at the runs, but the engine must know where they compute
MOST_SHOWN = 6  # runs laid over each other
LOG_LINES = 400


@dataclass(frozen=True, slots=True)
class RunDetail:
    """A selected run with its curves and its log."""

    row: RunRow
    epochs: tuple[EpochDone, ...] = ()
    steps: tuple[StepsDone, ...] = ()
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Poll:
    rows: tuple[RunRow, ...]
    details: tuple[RunDetail, ...]
    notice: str


class TrainingSession(QObject):
    listed = Signal()  # ``rows`` are new
    detailed = Signal()  # ``details`` are new
    started = Signal(object)  # Path of a run
    promoted = Signal(object, object)  # Path of a checkpoint; its run as Train, None if lost
    failed = Signal(object)  # Problem
    noted = Signal(str)
    estimated = Signal(object)  # TrainingEstimate | Problem | None: None is "under way"
    previewed = Signal(object)  # Path | Problem | None
    _polled = Signal(object)
    _done = Signal(object, object)  # what to emit, with what

    def __init__(
        self, engine: Engine, *, store: RunStore | None = None, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._engine = engine
        self._store = store or RunStore()
        self.rows: tuple[RunRow, ...] = ()
        self.details: tuple[RunDetail, ...] = ()
        self._selected: tuple[Path, ...] = ()
        self._is_polling = False
        self._estimate_job: int | None = None
        self._preview_job: int | None = None
        self._guards = False
        self._starting: dict[Path, str] = {}  # runs not listed yet, and their accelerators
        self._claimed: frozenset[str] = frozenset()
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self.refresh)
        self._polled.connect(self._on_polled)
        self._done.connect(lambda tell, with_what: tell(with_what))
        engine.told.connect(self._on_told)

    # --- watching ---

    def watch(self, wanted: bool) -> None:
        """Whether somebody looks: nothing is read while nobody does and nothing is guarded."""
        if wanted:
            self.refresh()
            self._timer.start(POLL_MS)
        elif self._guards:
            self._timer.start(GUARD_MS)
        else:
            self._timer.stop()

    def guard(self) -> None:
        """From now on the engine is told which accelerators runs use, so that it leaves them."""
        self._guards = True
        if not self._timer.isActive():
            self.refresh()
            self._timer.start(GUARD_MS)

    @property
    def live(self) -> tuple[RunRow, ...]:
        return tuple(row for row in self.rows if row.status.state in LIVE)

    @property
    def selected(self) -> tuple[Path, ...]:
        return self._selected

    def select(self, folders: tuple[Path, ...]) -> None:
        """The first is looked at, the others are laid over it."""
        self._selected = folders[:MOST_SHOWN]
        self.details = tuple(d for d in self.details if d.row.path in self._selected)
        self.detailed.emit()
        self.refresh()

    @Slot()
    def refresh(self) -> None:
        if self._is_polling:
            return
        self._is_polling = True
        selected, store = self._selected, self._store
        self._pool.start(lambda: self._polled.emit(_read(store, selected)))

    @Slot(object)
    def _on_polled(self, poll: _Poll | Problem) -> None:
        self._is_polling = False
        if isinstance(poll, Problem):
            self._timer.stop()  # else the same words every second
            self.failed.emit(poll)
            return
        if poll.notice:
            self._store.notice = ""
            self.noted.emit(poll.notice)
        if poll.rows != self.rows:
            self.rows = poll.rows
            self.listed.emit()
        self._claim()
        details = tuple(d for d in poll.details if d.row.path in self._selected)
        if details != self.details:
            self.details = details
            self.detailed.emit()

    # --- acts, each in the thread ---

    def start(self, run: Train) -> None:
        """Train in the background; a run that was stopped goes on. The engine makes room first."""
        self._starting[run.run_dir] = accelerator_of(run.device)
        self._claim()

        def act() -> Path:
            start(run, self._store)
            return run.run_dir

        self._do(act, self._on_started, at_last=lambda: self._on_start_tried(run.run_dir))

    def go_on(self, row: RunRow) -> None:
        if row.run is not None:
            self.start(row.run)

    def tell_run(self, row: RunRow, word: Word) -> None:
        self._do(lambda: ask(row.path, word), lambda _: self.refresh())

    def delete(self, rows: tuple[RunRow, ...]) -> None:
        def act() -> None:
            for row in rows:
                self._store.delete(row)

        self._do(act, lambda _: self.refresh())

    def annotate(self, row: RunRow, *, tags: tuple[str, ...], notes: str) -> None:
        def act() -> None:
            self._store.tag(row, tags)
            self._store.note(next(r for r in self._store.list() if r.path == row.path), notes)

        self._do(act, lambda _: self.refresh())

    def look_for_runs(self, folder: Path) -> None:
        """Put the runs in and below a folder into the table."""
        self._do(
            lambda: self._store.rebuild((folder,)),
            lambda count: self.noted.emit(f"{count} runs found in {folder} and the usual folder."),
        )

    def promote(self, row: RunRow) -> None:
        """Copy a run's best checkpoint to where the pickers look."""

        def act() -> Path:
            target = free_name(data_dir() / "checkpoints", row.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".partial")
            try:
                shutil.copyfile(row.path / BEST, partial)
                partial.replace(target)
            except OSError as error:
                partial.unlink(missing_ok=True)
                raise UserError(
                    f"{target} cannot be written: {error.strerror}", "Is the disk full?"
                ) from error
            return target

        self._do(act, lambda target: self.promoted.emit(target, row.run))

    def _on_started(self, folder: Path) -> None:
        self.started.emit(folder)
        self.select((folder,))

    def _on_start_tried(self, folder: Path) -> None:
        """It is listed from the next look on, or it never began."""
        del self._starting[folder]
        self.refresh()

    def _claim(self) -> None:
        """Tell the engine which accelerators belong to runs, where that is new."""
        claimed = {accelerator for row in self.rows if (accelerator := _accelerator(row))}
        claimed |= {accelerator for accelerator in self._starting.values() if accelerator}
        if claimed != self._claimed:
            self._claimed = frozenset(claimed)
            self._engine.send(ClaimDevices(tuple(sorted(claimed))))

    def _do(
        self,
        act: Callable[[], _T],
        then: Callable[[_T], object],
        at_last: Callable[[], object] = lambda: None,
    ) -> None:
        def work() -> None:
            try:
                result = act()
            except UserError as error:
                self._done.emit(self.failed.emit, Problem(str(error), error.hint))
            else:
                self._done.emit(then, result)
            self._done.emit(lambda _: at_last(), None)

        self._pool.start(work)

    # --- asking the engine ---

    def estimate(self, run: Train) -> None:
        if self._estimate_job is not None:
            self._engine.cancel(self._estimate_job)
        self._estimate_job = self._engine.send(EstimateTraining(run))
        self.estimated.emit(None)

    def preview(self, run: Train) -> None:
        if self._preview_job is not None:
            self._engine.cancel(self._preview_job)
        picture = cache_dir() / "training-preview.png"
        self._preview_job = self._engine.send(PreviewTraining(run, picture))
        self.previewed.emit(None)

    def drop_trials(self) -> None:
        """What is being estimated or drawn is no longer wanted, and not told."""
        for job in (self._estimate_job, self._preview_job):
            if job is not None:
                self._engine.cancel(job)
        self._estimate_job = self._preview_job = None

    @Slot(object)
    def _on_told(self, event: Event) -> None:
        if event.job not in (self._estimate_job, self._preview_job) or isinstance(
            event.body, Progress
        ):
            return
        if event.job == self._estimate_job:
            self._estimate_job, asked = None, self.estimated
        else:
            self._preview_job, asked = None, self.previewed
        match event.body:
            case TrainingPreview(picture=picture):
                asked.emit(picture)
            case TrainingEstimate() | Problem() as told:
                asked.emit(told)
            case _:
                pass  # cancelled for a newer one

    def close(self) -> None:
        self._timer.stop()
        self._pool.clear()
        self._pool.waitForDone()


def _accelerator(row: RunRow) -> str:
    """What a run computes on, or is about to; empty for the CPU and for runs that have ended."""
    if row.status.state in LIVE:
        return accelerator_of(row.status.device or "cpu")
    if row.status.state == "queued" and row.run is not None:
        return accelerator_of(row.run.device)
    return ""


def free_name(folder: Path, stem: str) -> Path:
    """A checkpoint's path that nothing has yet."""
    number, path = 2, folder / f"{stem}.safetensors"
    while path.exists():
        number, path = number + 1, folder / f"{stem}-{number}.safetensors"
    return path


def _read(store: RunStore, selected: tuple[Path, ...]) -> _Poll | Problem:
    try:
        rows = store.list()
        by_path = {row.path: row for row in rows}
        details = tuple(_detail(by_path[path]) for path in selected if path in by_path)
    except UserError as error:
        return Problem(str(error), error.hint)
    return _Poll(rows, details, store.notice)


def _detail(row: RunRow) -> RunDetail:
    said = tail(row.path, LOG, lines=LOG_LINES)
    if row.status.state in ("failed", "dead", "diverged"):
        said = (*said, *tail(row.path, OUTPUT, lines=40))
    return RunDetail(row, read_metrics(row.path), read_steps(row.path), said)
