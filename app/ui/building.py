"""Galleries being built: what is under way, how each ended. Signals, no widgets."""

from PySide6.QtCore import QObject, Signal, Slot

from app.messages import (
    BuildGallery,
    Cancelled,
    EpochDone,
    Event,
    GalleryBuilt,
    Problem,
    Progress,
    QueryRead,
)
from app.ui.session import Engine


class BuildSession(QObject):
    """A build that was cancelled, or died with its engine, goes on when it is started again."""

    started = Signal(object)  # BuildGallery
    built = Signal(object)  # GalleryBuilt
    stopped = Signal(object)  # BuildGallery that was cancelled
    failed = Signal(object, object)  # BuildGallery, Problem

    def __init__(self, engine: Engine, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._running: dict[int, BuildGallery] = {}
        engine.told.connect(self._on_told)

    @property
    def running(self) -> tuple[BuildGallery, ...]:
        return tuple(self._running.values())

    def start(self, request: BuildGallery) -> None:
        """Starting what is under way already does nothing."""
        if request in self._running.values():
            return
        self._running[self._engine.send(request)] = request
        self.started.emit(request)

    def cancel_all(self) -> None:
        for job in self._running:
            self._engine.cancel(job)

    @Slot(object)
    def _on_told(self, event: Event) -> None:
        if event.job not in self._running or isinstance(
            event.body, Progress | EpochDone | QueryRead
        ):
            return
        request = self._running.pop(event.job)
        match event.body:
            case GalleryBuilt() as built:
                self.built.emit(built)
            case Problem() as problem:
                self.failed.emit(request, problem)
            case Cancelled():
                self.stopped.emit(request)
            case body:
                raise AssertionError(f"{type(body).__name__} told under a build's number")
