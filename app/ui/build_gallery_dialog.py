"""Asks what a gallery is to be made of. The building itself goes on in the background."""

import re
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app.messages import BuildGallery
from app.paths import data_dir
from app.ui.library import CheckpointEntry, Library
from app.ui.theme import GAP, icon

RASTERS = "Imagery (*.tif *.tiff *.vrt *.jp2 *.png *.mbtiles *.img);;All files (*)"


class BuildGalleryDialog(QDialog):
    """Not modal: photos can be located while it is open."""

    asked = Signal(object)  # BuildGallery

    def __init__(self, library: Library, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._library = library
        self._own_name = self._own_folder = False  # typed by the user, so not to be overwritten
        self.setWindowTitle("Build a gallery")
        self.setMinimumWidth(560)
        self.source = QLineEdit()
        self.source.setPlaceholderText("A GeoTIFF, or a folder of geotagged pictures")
        self.name = QLineEdit()
        self.folder = QLineEdit()
        self.checkpoint = QComboBox()
        self.tile_size = QDoubleSpinBox()
        self.tile_size.setRange(5, 5000)
        self.tile_size.setDecimals(1)
        self.tile_size.setSuffix(" m")
        self.overlap = QSpinBox()
        self.overlap.setRange(0, 90)
        self.overlap.setSuffix(" %")
        self.overlap.setValue(50)
        self.licence = QLineEdit()
        self.licence.setPlaceholderText("Shown on the map and in every export")
        self.explain = QLabel()
        self.explain.setWordWrap(True)
        self.explain.setProperty("small", True)
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.problem.setTextFormat(Qt.TextFormat.PlainText)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.build = QPushButton("Build")
        self.build.setDefault(True)
        self.buttons.addButton(self.build, QDialogButtonBox.ButtonRole.AcceptRole)
        self._lay_out()
        self._join()
        self._show_checkpoints()
        self._on_checkpoint()
        self._check()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setHorizontalSpacing(2 * GAP)
        form.setVerticalSpacing(GAP)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        file = _button("photo", "Choose a raster file…", self._on_choose_file)
        folder = _button("folder", "Choose a folder of pictures…", self._on_choose_folder)
        form.addRow("&Source", _row("Source", self.source, file, folder))
        form.addRow("&Checkpoint", self.checkpoint)
        sizes = QHBoxLayout()
        sizes.setSpacing(GAP)
        sizes.addWidget(self.tile_size)
        sizes.addSpacing(2 * GAP)
        sizes.addWidget(QLabel("Overlap"))
        sizes.addWidget(self.overlap)
        sizes.addStretch(1)
        size_label = QLabel("&Tile size")
        size_label.setBuddy(self.tile_size)
        form.addRow(size_label, sizes)
        form.addRow("", self.explain)
        form.addRow("&Name", self.name)
        target = _button("folder", "Choose where the gallery goes…", self._on_choose_target)
        form.addRow("&Folder", _row("Gallery folder", self.folder, target))
        form.addRow("&Licence", self.licence)
        for label, widget in (
            ("Checkpoint that describes the tiles", self.checkpoint),
            ("Ground size of a tile", self.tile_size),
            ("Overlap of neighbouring tiles", self.overlap),
            ("Name of the gallery", self.name),
            ("Licence or attribution of the imagery", self.licence),
        ):
            widget.setAccessibleName(label)
        note = QLabel(
            "Building goes on in the background, and photos can be located meanwhile. "
            "It can be cancelled; building the same again goes on where it stopped."
        )
        note.setWordWrap(True)
        note.setProperty("small", True)
        column = QVBoxLayout(self)
        column.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, 2 * GAP)
        column.setSpacing(GAP + 4)
        column.addLayout(form)
        column.addWidget(note)
        column.addWidget(self.problem)
        column.addWidget(self.buttons)

    def _join(self) -> None:
        self._library.changed.connect(self._show_checkpoints)
        self.source.textChanged.connect(self._on_source)
        self.name.textEdited.connect(self._on_name)
        self.folder.textEdited.connect(self._on_folder)
        self.checkpoint.currentIndexChanged.connect(self._on_checkpoint)
        self.overlap.valueChanged.connect(self._on_sizes)
        self.tile_size.valueChanged.connect(self._on_sizes)
        self.build.clicked.connect(self._on_build)
        self.buttons.rejected.connect(self.reject)

    # --- the checkpoint ---

    @property
    def chosen_checkpoint(self) -> CheckpointEntry | None:
        path = self.checkpoint.currentData()
        return next((e for e in self._library.checkpoints if e.path == path), None)

    @Slot()
    def _show_checkpoints(self) -> None:
        current = self.checkpoint.currentData()
        if current is None and self._library.checkpoint is not None:
            current = self._library.checkpoint.path
        usable = [e for e in self._library.locators if e.card is not None]
        listed = [self.checkpoint.itemData(i) for i in range(self.checkpoint.count())]
        if listed == [e.path for e in usable]:
            return
        self.checkpoint.clear()
        for entry in usable:
            if entry.card is not None:
                self.checkpoint.addItem(entry.card.title, entry.path)
        paths = [e.path for e in usable]
        self.checkpoint.setCurrentIndex(paths.index(current) if current in paths else 0)

    @Slot()
    def _on_checkpoint(self) -> None:
        entry = self.chosen_checkpoint
        if entry is not None and entry.card is not None:
            self.tile_size.setValue(entry.card.tile_size_m)
        self._on_sizes()
        self._check()

    @Slot()
    def _on_sizes(self) -> None:
        size, step = (
            self.tile_size.value(),
            self.tile_size.value() * (1 - self.overlap.value() / 100),
        )
        words = [f"A tile every {step:.0f} m, about {1e6 / step**2:,.0f} tiles a square kilometre."]
        entry = self.chosen_checkpoint
        if entry is not None and entry.card is not None:
            learnt = entry.card.tile_size_m
            words.append(
                f"The checkpoint learnt on tiles of {learnt:g} m"
                + (": far from it, it finds less." if not 0.66 < size / learnt < 1.5 else ".")
            )
        self.explain.setText(" ".join(words))

    # --- names and folders ---

    @Slot(str)
    def _on_source(self, text: str) -> None:
        stem = Path(text).stem
        if stem and not self._own_name:
            self.name.setText(stem)
        self._propose_folder()
        self._check()

    @Slot(str)
    def _on_name(self, text: str) -> None:
        self._own_name = bool(text)
        self._propose_folder()
        self._check()

    @Slot(str)
    def _on_folder(self, text: str) -> None:
        self._own_folder = bool(text)
        self._check()

    def _propose_folder(self) -> None:
        safe = re.sub(r"[^\w.-]+", "-", self.name.text()).strip("-.")
        if safe and not self._own_folder:
            self.folder.setText(str(data_dir() / "galleries" / safe))

    @Slot()
    def _on_choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose imagery", "", RASTERS)
        if path:
            self.source.setText(path)

    @Slot()
    def _on_choose_folder(self) -> None:
        if path := QFileDialog.getExistingDirectory(self, "Choose a folder of geotagged pictures"):
            self.source.setText(path)

    @Slot()
    def _on_choose_target(self) -> None:
        if path := QFileDialog.getExistingDirectory(self, "Choose where the gallery goes"):
            self._own_folder = True
            self.folder.setText(path)
            self._check()

    # --- the end ---

    def _check(self) -> None:
        missing = [
            name
            for name, there in (
                ("a source", self.source.text().strip()),
                ("a checkpoint", self.chosen_checkpoint),
                ("a folder", self.folder.text().strip()),
            )
            if not there
        ]
        self.build.setEnabled(not missing)
        self.problem.setText(f"Still needed: {', '.join(missing)}." if missing else "")
        self.problem.setVisible(bool(missing))

    @Slot()
    def _on_build(self) -> None:
        entry = self.chosen_checkpoint
        if entry is None:
            return
        request = BuildGallery(
            source=Path(self.source.text().strip()),
            checkpoint=entry.path,
            gallery=Path(self.folder.text().strip()),
            tile_size_m=self.tile_size.value(),
            overlap=self.overlap.value() / 100,
            licence=self.licence.text().strip(),
            name=self.name.text().strip(),
        )
        self.asked.emit(request)
        self.accept()


def _button(picture: str, words: str, act: Callable[[], None]) -> QPushButton:
    button = QPushButton(icon(picture), "")
    button.setToolTip(words)
    button.setAccessibleName(words)
    button.clicked.connect(act)
    button.setAutoDefault(False)
    return button


def _row(name: str, field: QLineEdit, *buttons: QPushButton) -> QWidget:
    field.setAccessibleName(name)
    row = QWidget()
    row.setFocusProxy(field)
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    layout.addWidget(field, 1)
    for button in buttons:
        layout.addWidget(button)
    return row
