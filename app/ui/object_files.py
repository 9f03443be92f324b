"""What leaves the window for a file: export of objects, corrections as training data."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from app.messages import (
    AddCorrection,
    CorrectionAdded,
    Event,
    Export,
    Exported,
    Location,
    Problem,
    Progress,
    QueryRead,
    Request,
)
from app.paths import data_dir
from app.ui.clicked_objects import Fix, Marker, Pin, as_one_answer
from app.ui.session import Engine


class ObjectFiles(QObject):
    noted = Signal(str)  # what was written
    failed = Signal(object)  # Problem
    added = Signal(object, object)  # photo and pin whose correction is training data now

    def __init__(self, engine: Engine, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._under_way: dict[int, Callable[[object], None]] = {}
        engine.told.connect(self._on_told)

    def export(
        self, path: Path, locations: tuple[Location, ...], markers: tuple[tuple[Path, Marker], ...]
    ) -> None:
        """``markers`` of all photos, each with its photo."""
        by_photo: dict[Path, list[Marker]] = {}
        for photo, marker in markers:
            by_photo.setdefault(photo, []).append(marker)
        objects = [a for some in by_photo.values() for a in as_one_answer(tuple(some))]
        self._ask(Export(path, locations, tuple(objects)), self._on_exported)

    def add_to_training(self, photo: Path, pin: Pin, fix: Fix) -> None:
        request = AddCorrection(
            folder=data_dir() / "corrections",
            photo=photo,
            click=pin.click,
            gallery=fix.answer.gallery,
            checkpoint=fix.answer.checkpoint,
            reference=fix.reference,
            box=fix.box,
            found=fix.found,
        )
        self._ask(request, lambda body: self._on_added(body, photo, pin))

    def _ask(self, request: Request, then: Callable[[object], None]) -> None:
        self._under_way[self._engine.send(request)] = then

    @Slot(object)
    def _on_told(self, event: Event) -> None:
        if event.job not in self._under_way or isinstance(event.body, Progress | QueryRead):
            return
        then = self._under_way.pop(event.job)
        if isinstance(event.body, Problem):
            self.failed.emit(event.body)
        else:
            then(event.body)

    def _on_exported(self, body: object) -> None:
        if isinstance(body, Exported):
            self.noted.emit(f"{body.path.name} is written: {body.features} features.")

    def _on_added(self, body: object, photo: Path, pin: Pin) -> None:
        if isinstance(body, CorrectionAdded):
            many = "1 corrected box" if body.objects == 1 else f"{body.objects} corrected boxes"
            self.noted.emit(f"{pin.title} is training data now: {many} in {body.folder}")
            self.added.emit(photo, pin)
