"""The clicked objects of the photo as a list, and what can be done with the selected one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QEvent,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QGuiApplication, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QStackedLayout,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.ui.clicked_objects import Marker
from app.ui.library import Library
from app.ui.object_layers import share_text
from app.ui.object_words import COLUMN_TIPS, COLUMNS, as_table, cells_of, tip_of
from app.ui.objects_session import TOP, ObjectsSession
from app.ui.pickers import FinderPicker
from app.ui.theme import GAP, icon

FORMATS = "GeoJSON (*.geojson);;KML (*.kml);;GeoPackage (*.gpkg);;CSV (*.csv)"

_Index = QModelIndex | QPersistentModelIndex


class ObjectsModel(QAbstractTableModel):
    """A row an object; the name can be edited."""

    def __init__(self, objects: ObjectsSession, parent: QWidget) -> None:
        super().__init__(parent)
        self._objects = objects
        self.markers: tuple[Marker, ...] = ()

    def show_markers(self, markers: tuple[Marker, ...]) -> None:
        if len(markers) != len(self.markers):
            self.beginResetModel()
            self.markers = markers
            self.endResetModel()
        elif markers != self.markers:
            self.markers = markers
            self.dataChanged.emit(self.index(0, 0), self.index(len(markers) - 1, len(COLUMNS) - 1))
            self.headerDataChanged.emit(Qt.Orientation.Vertical, 0, len(markers) - 1)

    def rowCount(self, parent: _Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.markers)

    def columnCount(self, parent: _Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            told = {
                Qt.ItemDataRole.DisplayRole: COLUMNS[section],
                Qt.ItemDataRole.ToolTipRole: COLUMN_TIPS[section],
                Qt.ItemDataRole.TextAlignmentRole: _side(section),
            }
            return told.get(Qt.ItemDataRole(role))
        if role == Qt.ItemDataRole.DisplayRole and section < len(self.markers):
            return str(self.markers[section].pin.number)
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        marker = self.markers[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole | Qt.ItemDataRole.EditRole:
                return cells_of(marker)[index.column()]
            case Qt.ItemDataRole.ToolTipRole:
                return tip_of(marker)
            case Qt.ItemDataRole.AccessibleTextRole:
                return f"{COLUMNS[index.column()]}: {cells_of(marker)[index.column()]}"
            case Qt.ItemDataRole.TextAlignmentRole:
                return _side(index.column())
            case Qt.ItemDataRole.DecorationRole if index.column() == 1 and marker.problem:
                return icon("warning", "warning")
            case _:
                return None

    def setData(self, index: _Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        if role != Qt.ItemDataRole.EditRole or index.column() != 0:
            return False
        self._objects.rename(self.markers[index.row()].pin.number, str(value))
        return True

    def flags(self, index: _Index) -> Qt.ItemFlag:
        can = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return can | Qt.ItemFlag.ItemIsEditable if index.column() == 0 else can


class ObjectsTable(QTableView):
    """Del deletes the object and not the photo; letters and digits stay the window's."""

    def __init__(self, objects: ObjectsSession, model: ObjectsModel) -> None:
        super().__init__()
        self._objects = objects
        self.setModel(model)
        self.setAccessibleName("Clicked objects")
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        triggers = QAbstractItemView.EditTrigger
        self.setEditTriggers(triggers.DoubleClicked | triggers.EditKeyPressed)
        self.verticalHeader().setDefaultSectionSize(24)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        head = self.horizontalHeader()
        head.setHighlightSections(False)
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        head.setMinimumSectionSize(30)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The selected object stays in sight when words below it take room."""
        super().resizeEvent(event)
        self.scrollTo(self.currentIndex())

    def event(self, event: QEvent) -> bool:
        overrides = isinstance(event, QKeyEvent) and event.type() == QEvent.Type.ShortcutOverride
        if overrides and isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Delete:
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        current = self._objects.current
        if event.key() == Qt.Key.Key_Delete and current is not None:
            self._objects.delete(current.pin.number)
        elif event.text().isprintable() and event.text().strip():
            event.ignore()
        else:
            super().keyPressEvent(event)


class ObjectsPanel(QFrame):
    map_asked = Signal()  # to show the selected object on the map

    def __init__(
        self, objects: ObjectsSession, library: Library, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._objects = objects
        self._is_showing = False
        self.setProperty("panel", True)
        self.setMinimumHeight(150)
        self.model = ObjectsModel(objects, self)
        self.table = ObjectsTable(objects, self.model)
        self.empty = QLabel()
        self.empty.setProperty("small", True)
        self.empty.setWordWrap(True)
        self.empty.setTextFormat(Qt.TextFormat.PlainText)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setContentsMargins(2 * GAP, 0, 2 * GAP, 0)
        self.finder = FinderPicker(library)
        self.wider = QCheckBox(f"Look around the best {TOP}")
        self.wider.setToolTip(f"Find each object anywhere around the best {TOP} candidates at once")
        body = QWidget()
        self._stack = QStackedLayout(body)
        self._stack.addWidget(self.table)
        self._stack.addWidget(self.empty)
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 1)
        column.setSpacing(0)
        column.addWidget(self._head())
        self.how = self._how()
        column.addWidget(self.how)
        column.addWidget(body, 1)
        column.addWidget(self._of_selected())
        self.table.selectionModel().currentRowChanged.connect(self._on_row)
        self.wider.toggled.connect(objects.look_wider)
        objects.changed.connect(self._refresh)
        objects.selected.connect(self._refresh)
        objects.switched.connect(self._refresh)
        self._refresh()

    # --- layout ---

    def _head(self) -> QFrame:
        head = QFrame()
        head.setProperty("head", True)
        row = QHBoxLayout(head)
        row.setContentsMargins(GAP, 2, 2, 2)
        title = QLabel("Objects")
        font = title.font()
        font.setBold(True)
        title.setFont(font)
        row.addWidget(title)
        row.addStretch()
        group = self._objects.undo_group
        self.undo = _tool("undo", "Undo (Ctrl+Z)", self._objects.undo)
        self.redo = _tool("redo", "Redo (Ctrl+Shift+Z)", self._objects.redo)
        self.to_map = _tool("map", "Show the selected object on the map", self.map_asked.emit)
        self.copy = _tool("copy", "Copy the list", self.copy_list)
        self.export = _tool("export", "Export the objects of all photos…", self.ask_export)
        self.undo.setEnabled(group.canUndo())
        self.redo.setEnabled(group.canRedo())
        group.canUndoChanged.connect(self.undo.setEnabled)
        group.canRedoChanged.connect(self.redo.setEnabled)
        group.undoTextChanged.connect(lambda t: self.undo.setToolTip(f"Undo: {t} (Ctrl+Z)"))
        group.redoTextChanged.connect(lambda t: self.redo.setToolTip(f"Redo: {t} (Ctrl+Shift+Z)"))
        for button in (self.undo, self.redo, self.to_map, self.copy, self.export):
            row.addWidget(button)
        return head

    def _how(self) -> QWidget:
        how = QWidget()
        row = QHBoxLayout(how)
        row.setContentsMargins(GAP, GAP // 2, GAP, GAP // 2)
        row.setSpacing(GAP)
        row.addWidget(self.finder, 1)
        row.addWidget(self.wider)
        return how

    def _of_selected(self) -> QFrame:
        """The row of acts on the selected object, and what went wrong with it."""
        self.boxes = QComboBox()
        self.boxes.setAccessibleName("Which of the boxes found")
        self.boxes.setToolTip("The boxes that were found, best first")
        self.boxes.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.others = QPushButton("Alternatives")
        self.others.setCheckable(True)
        self.others.setToolTip("Show the other boxes on the imagery; a click takes one")
        self.others.toggled.connect(self._objects.show_alternatives)
        self.closer = _push("Look closer", "Look once more, centred on the box", self._closer)
        self.anyway = _push("Look anyway", "Look for it all the same", self._anyway)
        self.give_up = _push("Undo correction", "Take the network's box again", self._give_up)
        self.add = _push(
            "Add to training set", "Keep the corrected box as training data", self._add
        )
        self.said = QLabel()
        self.said.setProperty("small", True)
        self.said.setWordWrap(True)
        self.said.setTextFormat(Qt.TextFormat.PlainText)
        line = QFrame()
        column = QVBoxLayout(line)
        column.setContentsMargins(GAP, GAP // 2, GAP, GAP // 2)
        column.setSpacing(GAP // 2)
        column.addWidget(self.said)
        row = QHBoxLayout()
        row.setSpacing(GAP // 2)
        for widget in (self.boxes, self.others, self.closer, self.anyway, self.give_up, self.add):
            row.addWidget(widget)
        row.addStretch()
        column.addLayout(row)
        self.boxes.activated.connect(self._on_box)
        return line

    # --- acts ---

    @Slot()
    def copy_list(self) -> None:
        QGuiApplication.clipboard().setText(as_table(self._objects.markers))

    @Slot()
    def ask_export(self) -> None:
        name, chosen = QFileDialog.getSaveFileName(
            self.window(), "Export the objects", "objects.geojson", FORMATS
        )
        if name:
            self._objects.export(with_suffix(name, chosen))

    def _on_selected_do(self, act: Callable[[int], None]) -> None:
        if (current := self._objects.current) is not None:
            act(current.pin.number)

    def _closer(self) -> None:
        self._on_selected_do(self._objects.refine)

    def _anyway(self) -> None:
        self._on_selected_do(self._objects.look_anyway)

    def _give_up(self) -> None:
        self._on_selected_do(self._objects.give_up_correction)

    def _add(self) -> None:
        self._on_selected_do(self._objects.add_to_training)

    @Slot(int)
    def _on_box(self, row: int) -> None:
        self._on_selected_do(lambda number: self._objects.choose_box(number, row + 1))

    @Slot(QModelIndex, QModelIndex)
    def _on_row(self, now: QModelIndex, before: QModelIndex) -> None:
        del before
        if now.isValid() and not self._is_showing:
            self._objects.select(self.model.markers[now.row()].pin.number)

    # --- showing ---

    @Slot()
    def _refresh(self) -> None:
        markers, current = self._objects.markers, self._objects.current
        self._is_showing = True  # what is selected here is what was selected there
        self.model.show_markers(markers)
        if current is None:
            self.table.clearSelection()
            self.table.setCurrentIndex(QModelIndex())
        else:
            row = markers.index(current)
            if row != self.table.currentIndex().row():
                self.table.setCurrentIndex(self.model.index(row, 0))
        self._is_showing = False
        self._stack.setCurrentIndex(0 if markers else 1)
        self.empty.setText(self._objects.why_not or "Click an object in the photo.")
        self.how.setVisible(bool(self.finder.combo.count()))
        self.to_map.setEnabled(current is not None and current.box is not None)
        self.copy.setEnabled(any(m.box is not None for m in markers))
        self.export.setEnabled(self._objects.has_answers)
        self._show_selected(current)

    def _show_selected(self, current: Marker | None) -> None:
        fixed = current is not None and current.is_fixed
        faulty = current is not None and current.problem is not None
        found = current is not None and current.box is not None
        self.boxes.setVisible(found and not fixed)
        self.others.setVisible(found)
        self.closer.setVisible(found and not fixed)
        self.anyway.setVisible(faulty)
        self.give_up.setVisible(fixed)
        self.add.setVisible(fixed)
        self.said.setVisible(faulty)
        if current is None:
            return
        if current.problem is not None:
            self.said.setText(f"{current.problem.title}. {current.problem.hint}")
        self.closer.setEnabled(not current.pin.refine)
        words = [f"Box {b.rank} of {len(current.boxes)}: {share_text(b)}" for b in current.boxes]
        if words != [self.boxes.itemText(i) for i in range(self.boxes.count())]:
            self.boxes.clear()
            self.boxes.addItems(words)
        self.boxes.setCurrentIndex(min(current.pin.rank, len(words)) - 1)
        added = current.pin.fix is not None and current.pin.fix.added
        self.add.setEnabled(fixed and not added)
        self.add.setText("Added" if added else "Add to training set")


def _side(column: int) -> Qt.AlignmentFlag:
    """Measures end on the right."""
    right = column >= COLUMNS.index("Size")
    side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def with_suffix(name: str, chosen_format: str) -> Path:
    """As typed, or with the suffix of the chosen format."""
    path = Path(name)
    known = (".geojson", ".kml", ".gpkg", ".csv")
    if path.suffix.lower() in known:
        return path
    suffix = next((s for s in known if s in chosen_format), known[0])
    return path.with_name(path.name + suffix)


def _tool(picture: str, words: str, act: Callable[[], object]) -> QToolButton:
    button = QToolButton()
    button.setIcon(icon(picture))
    button.setAutoRaise(True)
    button.setToolTip(words)
    button.setAccessibleName(words)
    button.clicked.connect(lambda: act())
    return button


def _push(words: str, hint: str, act: Callable[[], object]) -> QPushButton:
    button = QPushButton(words)
    button.setToolTip(hint)
    button.clicked.connect(lambda: act())
    return button
