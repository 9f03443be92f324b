"""Published checkpoints that the user chose: what is asked before, and said after, an import."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from app.engine.import_projects import PROJECTS, Release
from app.messages import ImportCheckpoint, Problem
from app.models.catalog import BY_NAME
from app.ui.announcements import import_failed_notice, imported_notice
from app.ui.elided import ElidedLabel
from app.ui.library import Library
from app.ui.theme import GAP

AS_FOUND = "what the file tells"


class ImportDialog(QDialog):
    asked = Signal(object)  # ImportCheckpoint

    def __init__(self, request: ImportCheckpoint, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Import a checkpoint")
        self._request = request
        self._releases: tuple[Release, ...] = ()
        self.project = QComboBox()
        self.project.setAccessibleName("Project")
        self.project.addItem(AS_FOUND, "auto")
        for project in PROJECTS:
            self.project.addItem(project.title, project.name)
        self.data = QComboBox()
        self.data.setAccessibleName("Trained on")
        self.tile_size = QDoubleSpinBox()
        self.tile_size.setRange(0, 100_000)
        self.tile_size.setDecimals(1)
        self.tile_size.setSuffix(" m")
        self.tile_size.setSpecialValueText("that of the data set")
        self.tile_size.setValue(request.tile_size_m or 0)
        self.tile_size.setAccessibleName("Tile size")
        self.project.currentIndexChanged.connect(self._on_project)
        self.data.currentIndexChanged.connect(self._on_data)
        self._lay_out()
        self.project.setCurrentIndex(max(0, self.project.findData(request.project)))
        self._on_project()

    def _lay_out(self) -> None:
        name = ElidedLabel(str(self._request.file))
        form = QFormLayout()
        form.setHorizontalSpacing(2 * GAP)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("File", name)
        form.addRow("&Project", self.project)
        form.addRow("Trained &on", self.data)
        form.addRow("&Tile size", self.tile_size)
        note = QLabel(
            "Another program wrote this file. A separate, limited process reads its numbers and "
            "nothing else of it; every one must have its place in the network. Your checkpoints "
            "get a copy, the file stays as it is."
        )
        note.setWordWrap(True)
        note.setProperty("small", True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        button = buttons.addButton("Import", QDialogButtonBox.ButtonRole.AcceptRole)
        button.setDefault(True)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, 2 * GAP)
        column.setSpacing(GAP + 4)
        column.addLayout(form)
        column.addWidget(note)
        column.addWidget(buttons)
        self.setMinimumWidth(480)

    @property
    def request(self) -> ImportCheckpoint:
        """What is left to the file is left out."""
        project = self.project.currentData()
        request = replace(self._request, project=project, preset=None, title="")
        if self.data.currentIndex() > 0:
            release = self._releases[self.data.currentIndex() - 1]
            title = f"{self.project.currentText()} ({release.data.name})"
            request = replace(request, preset=release.preset, title=title)
        return replace(request, tile_size_m=self.tile_size.value() or None)

    @Slot()
    def accept(self) -> None:
        self.asked.emit(self.request)
        super().accept()

    @Slot()
    def _on_project(self) -> None:
        """Its data sets; without one there is nothing to choose among."""
        project = next((p for p in PROJECTS if p.name == self.project.currentData()), None)
        self._releases = () if project is None else _distinct(project.releases)
        self.data.clear()
        self.data.addItem(AS_FOUND)
        for release in self._releases:
            assert project is not None
            height, width = BY_NAME[project.network].presets[release.preset]["query_size"]
            self.data.addItem(f"{release.data.name}, queries of {height} × {width} pixels")
        self.data.setEnabled(bool(self._releases))

    @Slot()
    def _on_data(self) -> None:
        if self.data.currentIndex() > 0:
            self.tile_size.setValue(self._releases[self.data.currentIndex() - 1].data.tile_size_m)


def _distinct(releases: Sequence[Release]) -> tuple[Release, ...]:
    """Files of one data set and one size differ in nothing that is to be chosen."""
    return tuple({(r.preset, r.data): r for r in reversed(releases)}.values())[::-1]


class Importing(QObject):
    """Between the library, which does it, and the user."""

    said = Signal(object)  # Notice

    def __init__(self, library: Library, window: QWidget) -> None:
        super().__init__(window)
        self._library, self._window = library, window
        self.dialog: ImportDialog | None = None
        library.foreign.connect(self.ask)
        library.imported.connect(lambda done: self.said.emit(imported_notice(done)))
        library.import_failed.connect(self._on_failed)

    @Slot(object)
    def ask(self, request: ImportCheckpoint) -> None:
        """A newer ask takes the place of one that is still open."""
        if self.dialog is not None:
            self.dialog.reject()
        self.dialog = ImportDialog(request, self._window)
        self.dialog.asked.connect(self._library.start_import)
        self.dialog.finished.connect(self._on_finished)
        self.dialog.open()

    @Slot()
    def _on_finished(self) -> None:
        self.dialog = None

    @Slot(object, object)
    def _on_failed(self, request: ImportCheckpoint, problem: Problem) -> None:
        self.said.emit(import_failed_notice(problem, again=partial(self.ask, request)))
