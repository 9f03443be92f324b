"""What goes on behind the window: galleries being built, runs being trained; what they say."""

from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from app.messages import BuildGallery, GalleryBuilt, Problem
from app.ui.announcements import (
    build_failed_notice,
    build_stopped_notice,
    built_notice,
    promoted_notice,
)
from app.ui.build_gallery_dialog import BuildGalleryDialog
from app.ui.building import BuildSession
from app.ui.library import Library
from app.ui.notices import Notice, notice_of
from app.ui.training_session import TrainingSession


class LongWork(QObject):
    """What is done is put in use, and each end is told."""

    said = Signal(object)  # Notice

    def __init__(
        self,
        library: Library,
        builds: BuildSession,
        training: TrainingSession,
        window: QWidget,
    ) -> None:
        super().__init__(window)
        self._library, self._builds, self._window = library, builds, window
        self._dialog: BuildGalleryDialog | None = None
        builds.built.connect(self._on_built)
        builds.failed.connect(self._on_build_failed)
        builds.stopped.connect(self._on_build_stopped)
        training.failed.connect(lambda problem: self.said.emit(notice_of(problem)))
        training.noted.connect(lambda words: self.said.emit(Notice(words)))
        training.promoted.connect(self._on_promoted)

    @Slot()
    def ask_build(self) -> None:
        if self._dialog is None:
            self._dialog = BuildGalleryDialog(self._library, self._window)
            self._dialog.asked.connect(self._builds.start)
        self._dialog.show()
        self._dialog.raise_()

    @Slot(object)
    def _on_built(self, built: GalleryBuilt) -> None:
        self.said.emit(built_notice(built))
        self._library.choose_gallery(built.gallery)

    @Slot(object, object)
    def _on_build_failed(self, request: BuildGallery, problem: Problem) -> None:
        resume = partial(self._builds.start, request)
        self.said.emit(build_failed_notice(problem, resume=resume))

    @Slot(object)
    def _on_build_stopped(self, request: BuildGallery) -> None:
        resume = partial(self._builds.start, request)
        self.said.emit(build_stopped_notice(request, resume=resume))

    @Slot(object)
    def _on_promoted(self, checkpoint: Path) -> None:
        self._library.choose_checkpoint(checkpoint)
        self.said.emit(promoted_notice(checkpoint))
