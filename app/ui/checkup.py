"""The look at this installation that the Help menu asks for. Signals, no widgets."""

from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from app.messages import (
    Cancelled,
    Diagnosis,
    Doctor,
    EpochDone,
    Event,
    Problem,
    Progress,
    QueryRead,
)
from app.ui.session import Engine


class Checkup(QObject):
    """One at a time: asking again while one is under way starts over."""

    changed = Signal()

    def __init__(self, engine: Engine, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._job: int | None = None
        self.diagnosis: Diagnosis | None = None  # the last one
        self.problem: Problem | None = None  # of the last ask
        self.step = ""  # what is being looked at
        engine.told.connect(self._on_told)

    @property
    def is_busy(self) -> bool:
        return self._job is not None

    def start(self, bundle: Path | None = None) -> None:
        """Look; with ``bundle``, pack it too. What was found before stays until then."""
        self.stop()
        self.problem, self.step = None, ""
        self._job = self._engine.send(Doctor(bundle))
        self.changed.emit()

    def stop(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            self._engine.cancel(job)
            self.changed.emit()

    @Slot(object)
    def _on_told(self, event: Event) -> None:
        if event.job != self._job:
            return
        match event.body:
            case Progress(note=note):
                self.step = note
            case EpochDone() | QueryRead():
                return
            case Diagnosis() as diagnosis:
                self._job, self.diagnosis = None, diagnosis
            case Problem() as problem:
                self._job, self.problem = None, problem
            case Cancelled():
                self._job = None
            case body:
                raise AssertionError(f"{type(body).__name__} told under a checkup's number")
        self.changed.emit()
