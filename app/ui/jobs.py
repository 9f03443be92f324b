"""What the engine is doing, and its place in the status bar: progress and cancel for each job."""

import time
from dataclasses import dataclass, field, replace
from typing import Protocol, assert_never

from PySide6.QtCore import QObject, Qt, QTimer, Signal, SignalInstance, Slot
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QProgressBar,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.messages import (
    AddCorrection,
    BrowseErrors,
    BuildGallery,
    ClaimDevices,
    Compare,
    Doctor,
    EpochDone,
    EstimateTraining,
    Evaluate,
    Event,
    Explain,
    ExplainObject,
    Export,
    FindObjects,
    ImportCheckpoint,
    Locate,
    OpenGallery,
    PreviewTraining,
    Progress,
    Project,
    QueryRead,
    Request,
    Score,
    Shrink,
    Train,
    Warm,
)
from app.ui.elided import ElidedLabel
from app.ui.theme import GAP, icon

SHOWN_AFTER_S = 0.3  # what is over sooner would only flicker
REFRESH_MS = 150


class AskingEngine(Protocol):
    """What the list of jobs needs of an EngineLink."""

    @property
    def told(self) -> SignalInstance: ...
    @property
    def asked(self) -> SignalInstance: ...
    def cancel(self, job: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    number: int
    title: str
    rank: int  # the lowest is shown when there is room for one
    started: float
    progress: Progress = field(default_factory=lambda: Progress(0, 0))

    @property
    def seconds_left(self) -> float | None:
        """None where it would be a guess: before a twentieth is done, or the first two seconds."""
        done, total = self.progress.done, self.progress.total
        spent = time.monotonic() - self.started
        if total <= 0 or done < total / 20 or spent < 2:
            return None
        return spent * (total - done) / done


class Jobs(QObject):
    """Listens to what is asked and told, and so needs no one's help."""

    changed = Signal()

    def __init__(self, engine: AskingEngine, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._jobs: dict[int, Job] = {}
        engine.asked.connect(self._on_asked)
        engine.told.connect(self._on_told)

    @property
    def running(self) -> tuple[Job, ...]:
        """The most important first."""
        return tuple(sorted(self._jobs.values(), key=lambda job: (job.rank, job.number)))

    def cancel(self, number: int) -> None:
        self._engine.cancel(number)

    @Slot(int, object)
    def _on_asked(self, number: int, request: Request) -> None:
        rank, title = _describe(request)
        self._jobs[number] = Job(number, title, rank, time.monotonic())
        self.changed.emit()

    @Slot(object)
    def _on_told(self, event: Event) -> None:
        job = self._jobs.get(event.job)
        if job is None:
            return
        match event.body:
            case Progress() as progress:
                self._jobs[event.job] = replace(job, progress=progress)
            case EpochDone(epoch=epoch):
                note = replace(job.progress, note=f"epoch {epoch + 1}")
                self._jobs[event.job] = replace(job, progress=note)
            case QueryRead():
                pass
            case _:
                del self._jobs[event.job]
        self.changed.emit()


def _describe(request: Request) -> tuple[int, str]:
    match request:
        case BuildGallery():
            return 0, f"Building gallery {request.name or request.gallery.name}"
        case Train():
            return 1, f"Training {request.title or request.run_dir.name}"
        case EstimateTraining():
            return 2, "Trying two batches"
        case PreviewTraining():
            return 2, "Drawing training pairs"
        case Evaluate():
            return 1, f"Evaluating {request.checkpoint.stem} on {request.data.name}"
        case Score():
            return 1, f"Scoring {request.folder.name}"
        case Compare():
            return 2, f"Comparing {request.first.name} and {request.second.name}"
        case Project():
            return 2, f"Drawing the map of {request.folder.name}"
        case BrowseErrors():
            return 3, f"Reading the errors of {request.folder.name}"
        case Shrink():
            return 6, f"Making {len(request.pictures)} pictures small"
        case ImportCheckpoint():
            return 1, f"Importing {request.file.name}"
        case Warm():
            return 2, f"Loading checkpoint {request.checkpoint.stem}"
        case OpenGallery():
            return 3, f"Opening gallery {request.gallery.name}"
        case Locate():
            return 4, f"Locating {request.photo.name}"
        case FindObjects():
            return 4, f"Finding objects of {request.photo.name}"
        case Explain() | ExplainObject():
            return 5, f"Drawing heatmaps of {request.photo.name}"
        case AddCorrection():
            return 5, f"Keeping a corrected box of {request.photo.name}"
        case Export():
            return 5, f"Writing {request.path.name}"
        case ClaimDevices():
            return 6, "Making room for a training"
        case Doctor():
            return 6, "Checking this installation"
        case never:
            assert_never(never)


def describe_progress(job: Job) -> str:
    progress = job.progress
    words = [progress.note] if progress.note else []
    if progress.total > 0:
        words.append(f"{progress.done:,} of {progress.total:,}")
    if (left := job.seconds_left) is not None:
        words.append(f"about {round(left / 60)} min left" if left >= 90 else f"{left:.0f} s left")
    return ", ".join(words)


class JobsBar(QWidget):
    """One line in the status bar; its button opens the list of all."""

    def __init__(self, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self._shown: Job | None = None
        self.label = ElidedLabel()
        self.label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.bar = _progress_bar()
        self.cancel = _cancel_button("Cancel this job")
        self.more = QToolButton()
        self.more.setAutoRaise(True)
        self.more.setAccessibleName("All running jobs")
        self.more.setToolTip("Show all running jobs")
        row = QHBoxLayout(self)
        row.setContentsMargins(GAP, 0, 0, 0)
        row.setSpacing(GAP // 2)
        for widget in (self.label, self.bar, self.cancel, self.more):
            row.addWidget(widget)
        self._popup: JobsPopup | None = None
        self.cancel.clicked.connect(self._on_cancel_clicked)
        self.more.clicked.connect(self._on_more_clicked)
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self.refresh)
        jobs.changed.connect(self._on_changed)
        self.refresh()

    @Slot()
    def _on_changed(self) -> None:
        if not self._timer.isActive():
            self._timer.start()  # many changes, one drawing

    @Slot()
    def refresh(self) -> None:
        now = time.monotonic()
        running = self._jobs.running
        visible = [job for job in running if now - job.started > SHOWN_AFTER_S]
        job = self._shown = visible[0] if visible else None
        for widget in (self.bar, self.cancel, self.label):
            widget.setVisible(job is not None)
        self.more.setVisible(len(visible) > 1)
        self.more.setText(f"+{len(visible) - 1}")
        if job is not None:
            progress = describe_progress(job)
            self.label.setText(f"{job.title}: {progress}" if progress else job.title)
            _fill(self.bar, job.progress)
        if self._popup is not None and self._popup.isVisible():
            self._popup.show_jobs(tuple(visible))
        if not running:
            self._timer.stop()

    @Slot()
    def _on_cancel_clicked(self) -> None:
        if self._shown is not None:
            self._jobs.cancel(self._shown.number)

    @Slot()
    def _on_more_clicked(self) -> None:
        if self._popup is None:
            self._popup = JobsPopup(self._jobs, self.window())
        self._popup.show_jobs(self._jobs.running)
        self._popup.adjustSize()
        corner = self.more.mapToGlobal(self.more.rect().topRight())
        self._popup.move(corner.x() - self._popup.width(), corner.y() - self._popup.height() - GAP)
        self._popup.show()


class JobsPopup(QFrame):
    """A line for each job, over the status bar."""

    def __init__(self, jobs: Jobs, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self._jobs = jobs
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAccessibleName("Running jobs")
        self._column = QVBoxLayout(self)
        self._lines: dict[int, tuple[QWidget, ElidedLabel, QProgressBar]] = {}

    def show_jobs(self, jobs: tuple[Job, ...]) -> None:
        numbers = {job.number for job in jobs}
        for gone in set(self._lines) - numbers:
            self._lines.pop(gone)[0].deleteLater()
        for job in jobs:
            if job.number not in self._lines:
                self._lines[job.number] = self._add_line(job)
            _, label, bar = self._lines[job.number]
            label.setText(describe_progress(job) or "waiting")
            _fill(bar, job.progress)
        if not jobs:
            self.hide()

    def _add_line(self, job: Job) -> tuple[QWidget, ElidedLabel, QProgressBar]:
        line = QWidget()
        grid = QGridLayout(line)
        grid.setContentsMargins(0, 0, 0, 0)
        title, label, bar = ElidedLabel(job.title), ElidedLabel(), _progress_bar()
        title.setMinimumWidth(320)
        label.setProperty("small", True)
        cancel = _cancel_button(f"Cancel: {job.title}")
        cancel.clicked.connect(lambda: self._jobs.cancel(job.number))
        grid.addWidget(title, 0, 0)
        grid.addWidget(label, 1, 0)
        grid.addWidget(bar, 0, 1, 2, 1)
        grid.addWidget(cancel, 0, 2, 2, 1)
        self._column.addWidget(line)
        return line, label, bar


def _progress_bar() -> QProgressBar:
    bar = QProgressBar()
    bar.setTextVisible(False)
    bar.setFixedWidth(120)
    bar.setFixedHeight(10)
    bar.setAccessibleName("Progress")
    return bar


def _cancel_button(words: str) -> QToolButton:
    button = QToolButton()
    button.setIcon(icon("cancel"))
    button.setAutoRaise(True)
    button.setToolTip(words)
    button.setAccessibleName(words)
    return button


def _fill(bar: QProgressBar, progress: Progress) -> None:
    bar.setRange(0, max(0, progress.total))  # 0..0 is Qt's "busy"
    bar.setValue(progress.done)
