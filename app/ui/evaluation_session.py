"""Evaluations as the window knows them: listed, selected, started, asked about. No widgets.

What was measured lies in folders (see app.results) and is read in a thread; what takes work (a
map, a page of errors, a comparison) is asked of the engine once and kept until the folder is new.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PySide6.QtCore import QObject, QThreadPool, Signal, Slot

from app.errors import UserError
from app.messages import (
    BrowseErrors,
    Cancelled,
    Compare,
    Compared,
    ErrorsBrowsed,
    Evaluate,
    Evaluated,
    Event,
    Problem,
    Progress,
    Project,
    Projected,
)
from app.paths import evaluations
from app.results import RESULT_NAME
from app.ui.evaluation_folders import Evaluation, Scan, folders_in, read_all, remember
from app.ui.session import Engine

MOST_SHOWN = 6  # evaluations laid over each other

Question = Project | BrowseErrors | Compare
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a question. All empty: it waits, or the engine is at it (``note``)."""

    answer: Projected | ErrorsBrowsed | Compared | None = None
    problem: Problem | None = None
    cancelled: bool = False
    note: str = ""


class EvaluationSession(QObject):
    listed = Signal()  # ``entries`` are new
    picked = Signal()  # ``selected`` is new
    answered = Signal(object)  # Question of which more is known
    started = Signal(object)  # Evaluate
    evaluated = Signal(object, object)  # Evaluate, Evaluated
    stopped = Signal(object)  # Evaluate that was cancelled
    evaluating_failed = Signal(object, object)  # Evaluate, Problem
    failed = Signal(object)  # Problem
    noted = Signal(str)
    _done = Signal(object, object)  # what to call, with what

    def __init__(self, engine: Engine, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self.entries: tuple[Evaluation, ...] = ()
        self.is_read = False  # the folders were looked through once
        self._selected: tuple[Path, ...] = ()
        self._wanted: tuple[Path, ...] = ()  # to be selected when they are listed
        self._running: dict[int, Evaluate] = {}
        self._asked: dict[Question, Asked] = {}
        self._jobs: dict[int, Question] = {}
        self._told_damaged: set[str] = set()
        self._is_reading = self._is_stale = False
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        self._done.connect(self._on_done)
        engine.told.connect(self._on_told)

    # --- what there is ---

    @property
    def selected(self) -> tuple[Evaluation, ...]:
        """The first is looked at, the others are laid over it or compared with it."""
        by_folder = {entry.folder: entry for entry in self.entries}
        return tuple(by_folder[folder] for folder in self._selected if folder in by_folder)

    @property
    def first(self) -> Evaluation | None:
        return next(iter(self.selected), None)

    @property
    def running(self) -> tuple[Evaluate, ...]:
        return tuple(self._running.values())

    def asked(self, question: Question) -> Asked | None:
        """What is known of a question; None: it was not asked."""
        return self._asked.get(question)

    # --- what the user does ---

    def select(self, folders: tuple[Path, ...]) -> None:
        chosen = folders[:MOST_SHOWN]
        if chosen != self._selected:
            self._selected = chosen
            self.picked.emit()

    def show_folders(self, folders: tuple[Path, ...]) -> None:
        """Select them, at the latest when they have been read."""
        self._wanted = folders
        self.refresh()

    def open_folder(self, folder: Path) -> None:
        """List the evaluations in and below a folder, now and in future."""

        def act() -> tuple[Path, ...]:
            found = folders_in(folder)
            if not found:
                raise UserError(
                    f"There is no evaluation in {folder}",
                    f"One that is finished has a {RESULT_NAME} in its folder.",
                )
            remember(found)
            return found

        self._do(act, self._on_opened)

    @Slot()
    def refresh(self) -> None:
        """Look through the folders again, in the thread; once more if it is asked meanwhile."""
        if self._is_reading:
            self._is_stale = True
            return
        self._is_reading, before = True, {e.folder: e for e in self.entries}
        self._do(lambda: read_all(before), self._on_read)

    def start(self, request: Evaluate) -> None:
        """Starting what is under way already does nothing."""
        if request not in self._running.values():
            self._running[self._engine.send(request)] = request
            self.started.emit(request)

    def cancel(self, request: Evaluate) -> None:
        for job, running in self._running.items():
            if running == request:
                self._engine.cancel(job)

    def ask(self, question: Question, *, again: bool = False) -> None:
        """Once: what is known is kept. A newer question of its kind takes an older one's place."""
        known = self._asked.get(question)
        if known is not None and not (again and (known.problem or known.cancelled)):
            return
        for job, other in tuple(self._jobs.items()):
            if type(other) is type(question):
                del self._jobs[job]
                self._asked.pop(other, None)
                self._engine.cancel(job)
        self._asked[question] = Asked()
        self._jobs[self._engine.send(question)] = question
        self.answered.emit(question)

    def close(self) -> None:
        self._pool.clear()
        self._pool.waitForDone()

    # --- in the thread ---

    def _do(self, act: Callable[[], _T], then: Callable[[_T], object]) -> None:
        def work() -> None:
            try:
                result = act()
            except UserError as error:
                self._done.emit(self.failed.emit, Problem(str(error), error.hint))
            else:
                self._done.emit(then, result)

        self._pool.start(work)

    @Slot(object, object)
    def _on_done(self, tell: Callable[[object], object], result: object) -> None:
        tell(result)

    def _on_opened(self, found: tuple[Path, ...]) -> None:
        self.noted.emit(f"{len(found)} evaluation{'s' * (len(found) > 1)} found.")
        self.show_folders(found[:1])

    def _on_read(self, scan: Scan) -> None:
        self._is_reading = False
        old = {entry.folder: entry.changed_ns for entry in self.entries}
        new = {entry.folder: entry.changed_ns for entry in scan.entries}
        stale = {folder for folder, when in old.items() if new.get(folder) != when}
        self._asked = {q: a for q, a in self._asked.items() if not stale & set(_folders_of(q))}
        first_time, self.is_read = not self.is_read, True
        if scan.entries != self.entries or first_time:
            self.entries = scan.entries
            self.listed.emit()
        wanted = tuple(folder for folder in self._wanted if folder in new)
        kept = wanted or tuple(folder for folder in self._selected if folder in new)
        self._wanted = tuple(folder for folder in self._wanted if folder not in new)
        self._selected = kept or tuple(entry.folder for entry in scan.entries[:1])
        self.picked.emit()
        for problem in scan.damaged:
            if problem.title not in self._told_damaged:
                self._told_damaged.add(problem.title)
                self.failed.emit(problem)
        if self._is_stale:
            self._is_stale = False
            self.refresh()

    # --- hearing ---

    @Slot(object)
    def _on_told(self, event: Event) -> None:
        if event.job in self._running and not isinstance(event.body, Progress):
            self._on_evaluated(self._running.pop(event.job), event.body)
        elif (question := self._jobs.get(event.job)) is not None:
            if not isinstance(event.body, Progress):
                del self._jobs[event.job]
            self._asked[question] = _asked(event.body)
            self.answered.emit(question)

    def _on_evaluated(self, request: Evaluate, body: object) -> None:
        match body:
            case Evaluated() as done:
                outside = tuple(f for f in done.folders if not f.is_relative_to(evaluations()))
                self._do(lambda: remember(outside), lambda _: self.show_folders(done.folders[:1]))
                self.evaluated.emit(request, done)
            case Problem() as problem:
                self.evaluating_failed.emit(request, problem)
            case Cancelled():
                self.stopped.emit(request)
            case _:
                raise AssertionError(f"{type(body).__name__} told under an evaluation's number")


def _asked(body: object) -> Asked:
    match body:
        case Progress(note=note):
            return Asked(note=note)
        case Projected() | ErrorsBrowsed() | Compared():
            return Asked(answer=body)
        case Problem():
            return Asked(problem=body)
        case _:
            return Asked(cancelled=True)


def _folders_of(question: Question) -> tuple[Path, ...]:
    if isinstance(question, Compare):
        return question.first, question.second
    if isinstance(question, BrowseErrors) and question.found_by is not None:
        return question.folder, question.found_by
    return (question.folder,)
