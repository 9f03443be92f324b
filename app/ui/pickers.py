"""Choosing a checkpoint and a gallery, and reading what each says of itself."""

from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.card import Card
from app.manifest import Manifest
from app.ui.controls import tool_button
from app.ui.elided import ElidedLabel
from app.ui.library import FOREIGN_ENDINGS, CheckpointEntry, GalleryEntry, Library
from app.ui.theme import GAP, icon

Entry = CheckpointEntry | GalleryEntry


class Picker(QWidget):
    """A combo box, a button that explains the choice, and one that looks elsewhere."""

    picked = Signal(object)  # Path

    def __init__(self, kind: str, picture: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._kind = kind
        self._entries: tuple[Entry, ...] = ()
        self._current: Entry | None = None
        self.combo = QComboBox()
        self.combo.setAccessibleName(kind)
        self.combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.combo.setMinimumContentsLength(14)
        self.combo.setIconSize(QSize(16, 16))
        self.combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.combo.setPlaceholderText(f"Choose a {kind.lower()}…")
        self.details = tool_button("info", f"What this {kind.lower()} says of itself")
        self.browse = tool_button("browse", f"Look for another {kind.lower()}…")
        sign = QLabel()
        sign.setPixmap(icon(picture, "subtle").pixmap(18, 18))
        sign.setToolTip(kind)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        for widget in (sign, self.combo, self.details, self.browse):
            row.addWidget(widget)
        self.combo.activated.connect(self._on_activated)
        self.details.clicked.connect(self._on_details)

    def show_entries(self, entries: tuple[Entry, ...], current: Entry | None) -> None:
        """Those that cannot be used are listed, greyed, with the reason as their tooltip."""
        if (entries, current) == (self._entries, self._current):
            return
        self._entries, self._current = entries, current
        self.combo.clear()
        for row, entry in enumerate(entries):
            self.combo.addItem(_title(entry))
            tip = str(entry.path)
            if entry.problem is not None:
                tip = f"{entry.problem.title}\n{entry.problem.hint}\n{tip}"
                self.combo.setItemIcon(row, icon("warning", "warning"))
            self.combo.setItemData(row, tip, int(Qt.ItemDataRole.ToolTipRole))
        paths = [entry.path for entry in entries]
        self.combo.setCurrentIndex(
            paths.index(current.path) if current is not None and current.path in paths else -1
        )
        self.details.setEnabled(current is not None)
        words = "none chosen" if current is None else f"{_title(current)}\n{current.path}"
        self.combo.setToolTip(f"{self._kind}: {words}")

    @Slot(int)
    def _on_activated(self, row: int) -> None:
        self.picked.emit(self._entries[row].path)
        current = self._current
        paths = [entry.path for entry in self._entries]
        if current is not None and current.path in paths:  # until it is really in use
            self.combo.setCurrentIndex(paths.index(current.path))

    @Slot()
    def _on_details(self) -> None:
        if self._current is None:
            return
        popup = DetailsPopup(self._current, self.window())
        corner = self.combo.mapToGlobal(self.combo.rect().bottomLeft())
        popup.move(corner.x(), corner.y() + 4)
        popup.show()


class CheckpointPicker(Picker):
    def __init__(self, library: Library, parent: QWidget | None = None) -> None:
        super().__init__("Checkpoint", "checkpoint", parent)
        self._library = library
        self.browse.clicked.connect(self._on_browse)
        self.picked.connect(library.choose_checkpoint)
        library.changed.connect(self._refresh)
        library.chosen.connect(self._refresh)

    @Slot()
    def _refresh(self) -> None:
        self.show_entries(self._library.locators, self._library.checkpoint)

    @Slot()
    def _on_browse(self) -> None:
        foreign = " ".join(f"*{ending}" for ending in FOREIGN_ENDINGS)
        path, _ = QFileDialog.getOpenFileName(
            self,
            "Choose a checkpoint, or a published one to import",
            "",
            f"Checkpoints (*.safetensors {foreign});;All files (*)",
        )
        if path:
            self.picked.emit(Path(path))


class FinderPicker(Picker):
    """The checkpoint that finds clicked objects."""

    def __init__(self, library: Library, parent: QWidget | None = None) -> None:
        super().__init__("Object checkpoint", "checkpoint", parent)
        self._library = library
        self.browse.hide()  # what is opened in the toolbar comes here if it finds objects
        self.picked.connect(library.choose_checkpoint)
        library.changed.connect(self._refresh)
        library.chosen.connect(self._refresh)
        library.finder_chosen.connect(self._refresh)
        self._refresh()

    @Slot()
    def _refresh(self) -> None:
        self.show_entries(self._library.finders, self._library.finder)


class GalleryPicker(Picker):
    def __init__(self, library: Library, parent: QWidget | None = None) -> None:
        super().__init__("Gallery", "gallery", parent)
        self._library = library
        self.browse.clicked.connect(self._on_browse)
        self.picked.connect(library.choose_gallery)
        library.changed.connect(self._refresh)
        library.chosen.connect(self._refresh)

    @Slot()
    def _refresh(self) -> None:
        self.show_entries(self._library.galleries, self._library.gallery)

    @Slot()
    def _on_browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Choose a gallery's folder")
        if path:
            self.picked.emit(Path(path))


class DetailsPopup(QFrame):
    """A checkpoint's card, or a gallery's manifest, in words."""

    def __init__(self, entry: Entry, parent: QWidget | None = None) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.setAccessibleName("Details")
        rows = _rows(entry)
        body = QWidget()
        form = QFormLayout(body)
        form.setContentsMargins(2 * GAP, GAP, 2 * GAP, 2 * GAP)
        form.setHorizontalSpacing(2 * GAP)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        for name, words in rows:
            if words:
                form.addRow(_words(name, small=True), _value(name, words))
        area = QScrollArea()
        area.setWidget(body)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        title = QLabel(_title(entry))
        title.setTextFormat(Qt.TextFormat.PlainText)
        title.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, 0)
        font = title.font()
        font.setBold(True)
        font.setPointSizeF(font.pointSizeF() * 1.2)
        title.setFont(font)
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 1)
        column.addWidget(title)
        column.addWidget(area)
        room = self.screen().availableSize()
        self.setFixedWidth(min(520, room.width() - 40))
        self.setMaximumHeight(room.height() - 120)
        body.setFixedWidth(self.width() - 2)
        height = form.totalHeightForWidth(body.width())
        area.setMinimumHeight(min(height + GAP, room.height() - 200))


def _rows(entry: Entry) -> list[tuple[str, str]]:
    if entry.problem is not None:
        return [("Problem", entry.problem.title), ("What to do", entry.problem.hint)]
    if isinstance(entry, CheckpointEntry) and entry.card is not None:
        return [
            *_card_rows(entry.card),
            ("Identity", _in_two(entry.sha256)),
            ("File", str(entry.path)),
        ]
    if isinstance(entry, GalleryEntry) and entry.manifest is not None:
        return [*_manifest_rows(entry.manifest), ("Folder", str(entry.path))]
    return []


def _card_rows(card: Card) -> list[tuple[str, str]]:
    config = ", ".join(f"{key} {value}" for key, value in card.config.items())
    sizes = ", ".join(f"{view} {h} × {w} px" for view, (h, w) in card.sizes.items())
    metrics = "\n".join(f"{m.name} = {m.value:.4g} ({m.data})" for m in card.metrics)
    training = ", ".join(f"{key}: {value}" for key, value in card.training.items())
    calibration = card.calibration
    return [
        ("Network", card.network + (f" ({config})" if config else "")),
        ("Locates" if card.task == "retrieval" else "Finds", _what_for(card)),
        ("Input", sizes),
        ("Descriptor", f"{card.descriptor} numbers" if card.descriptor else ""),
        ("Tile size", _tile_words(card)),
        ("Measured", metrics or "nothing"),
        (
            "Calibrated",
            f"on {calibration.data}" if calibration else "no: its probabilities are only an order",
        ),
        ("Trained on", training),
        ("Parent", card.parent),
        ("Licence", card.licence or "not stated"),
        ("Notes", card.notes),
    ]


def _what_for(card: Card) -> str:
    objects = "" if card.task == "retrieval" else "clicked objects in "
    return f"{objects}{card.query_view} photos"


def _tile_words(card: Card) -> str:
    turns = f", {card.turns} turns of a query" if card.task == "retrieval" else ""
    return f"{card.tile_size_m:g} m{turns}"


def _manifest_rows(manifest: Manifest) -> list[tuple[str, str]]:
    area = manifest.area
    return [
        ("Tiles", f"{manifest.tiles:,} of {manifest.tile_size_m:g} m"),
        ("Overlap", f"{manifest.overlap:.0%} of a tile's side"),
        ("Skipped", f"{manifest.skipped:,} without data" if manifest.skipped else "none"),
        ("For", f"{manifest.query_view} photos"),
        ("Described by", f"{manifest.checkpoint_title}\n{manifest.checkpoint[:12]}"),
        ("Imagery", manifest.source),
        ("Ground sample", f"{manifest.gsd_m:.3g} m a pixel"),
        ("CRS", manifest.crs),
        (
            "Area",
            f"{area.south:.5f} to {area.north:.5f} N\n{area.west:.5f} to {area.east:.5f} E",
        ),
        ("Licence", manifest.licence or "not stated"),
        ("Created", f"{manifest.created}, Skyfix {manifest.code_version}"),
    ]


def _title(entry: Entry) -> str:
    if isinstance(entry, CheckpointEntry):
        return entry.card.title if entry.card is not None else entry.path.name
    return entry.manifest.name if entry.manifest is not None else entry.path.name


def _in_two(words: str) -> str:
    return f"{words[:32]}\n{words[32:]}" if words else ""


def _value(name: str, words: str) -> QLabel:
    """Paths have no place to break a line at: they are shortened, the tooltip has them whole."""
    if name in ("File", "Folder", "Imagery"):
        return ElidedLabel(words)
    return _words(words, small=False)


def _words(words: str, *, small: bool) -> QLabel:
    label = QLabel(words)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(not small)
    label.setProperty("small", small)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
