"""What goes on behind the window: galleries being built, runs being trained, checkpoints
being measured; what they say.
"""

from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QWidget

from app.messages import BuildGallery, Evaluate, Evaluated, GalleryBuilt, Problem, Train
from app.models.catalog import BY_NAME as NETWORKS
from app.ui.announcements import (
    build_failed_notice,
    build_stopped_notice,
    built_notice,
    evaluated_notice,
    evaluation_failed_notice,
    evaluation_stopped_notice,
    promoted_notice,
)
from app.ui.build_gallery_dialog import BuildGalleryDialog
from app.ui.building import BuildSession
from app.ui.evaluation_session import EvaluationSession
from app.ui.library import Library
from app.ui.notices import Notice, notice_of
from app.ui.training_session import TrainingSession


class LongWork(QObject):
    """What is done is put in use, and each end is told."""

    said = Signal(object)  # Notice
    results_asked = Signal()  # to see what was measured
    change_asked = Signal(object)  # Evaluate, to be asked otherwise

    def __init__(
        self,
        library: Library,
        builds: BuildSession,
        training: TrainingSession,
        evaluations: EvaluationSession,
        window: QWidget,
    ) -> None:
        super().__init__(window)
        self._library, self._builds, self._window = library, builds, window
        self._evaluations = evaluations
        self._dialog: BuildGalleryDialog | None = None
        builds.built.connect(self._on_built)
        builds.failed.connect(self._on_build_failed)
        builds.stopped.connect(self._on_build_stopped)
        training.failed.connect(lambda problem: self.said.emit(notice_of(problem)))
        training.noted.connect(lambda words: self.said.emit(Notice(words)))
        training.promoted.connect(self._on_promoted)
        evaluations.failed.connect(lambda problem: self.said.emit(notice_of(problem)))
        evaluations.noted.connect(lambda words: self.said.emit(Notice(words)))
        evaluations.evaluated.connect(self._on_evaluated)
        evaluations.evaluating_failed.connect(self._on_evaluating_failed)
        evaluations.stopped.connect(self._on_evaluation_stopped)

    @Slot()
    def ask_build(self) -> None:
        self._ask_build_of(None)

    def _ask_build_of(self, source: Path | None) -> None:
        if self._dialog is None:
            self._dialog = BuildGalleryDialog(self._library, self._window)
            self._dialog.asked.connect(self._builds.start)
        if source is not None:
            self._dialog.source.setText(str(source))
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

    @Slot(object, object)
    def _on_promoted(self, checkpoint: Path, run: Train | None) -> None:
        """What was adapted to imagery is offered a gallery of it."""
        self._library.choose_checkpoint(checkpoint)
        finds_objects = run is not None and NETWORKS[run.network].task == "object"
        build = partial(self._ask_build_of, None if run is None else run.imagery)
        self.said.emit(promoted_notice(checkpoint, finds_objects=finds_objects, build=build))

    @Slot(object, object)
    def _on_evaluated(self, request: Evaluate, done: Evaluated) -> None:
        self.said.emit(evaluated_notice(request, done, show=self.results_asked.emit))

    @Slot(object, object)
    def _on_evaluating_failed(self, request: Evaluate, problem: Problem) -> None:
        change = partial(self.change_asked.emit, request)
        self.said.emit(evaluation_failed_notice(problem, change=change))

    @Slot(object)
    def _on_evaluation_stopped(self, request: Evaluate) -> None:
        resume = partial(self._evaluations.start, request)
        self.said.emit(evaluation_stopped_notice(request, resume=resume))
