"""A table of words that is only read: aligned, with bold lines and signs where they are wanted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PySide6.QtCore import QAbstractTableModel, Qt, Slot
from PySide6.QtGui import QFont, QIcon
from PySide6.QtWidgets import QTableView, QWidget

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Looks:
    """How cells look and what they say on request; by row and column."""

    numbers: frozenset[int] = frozenset()  # columns that end on the right
    bold: frozenset[int] = frozenset()  # rows
    signs: Mapping[tuple[int, int], QIcon] = field(default_factory=dict)
    tips: Mapping[tuple[int, int], str] = field(default_factory=dict)  # else the cell's own words


PLAIN = Looks()
WIDEST = 340  # px of a column
ROOMY = """
    QTableView::item { padding: 0 6px; }
    QHeaderView::section { padding: 3px 9px; border: none; border-bottom: 1px solid palette(mid);
                           background: palette(base); color: palette(text); }
"""


class Cells(QAbstractTableModel):
    def __init__(self, head: Row, parent: QWidget) -> None:
        super().__init__(parent)
        self.head = head
        self.rows: tuple[Row, ...] = ()
        self.looks = PLAIN

    def show_rows(self, head: Row, rows: tuple[Row, ...], looks: Looks = PLAIN) -> None:
        if (head, rows) != (self.head, self.rows) or looks is not self.looks:
            self.beginResetModel()
            self.head, self.rows, self.looks = head, rows, looks
            self.endResetModel()

    def rowCount(self, parent: Any = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: Any = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.head)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return self.head[section]
        return self._side(section) if role == Qt.ItemDataRole.TextAlignmentRole else None

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = index.row(), index.column()
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self.rows[row][column]
            case Qt.ItemDataRole.ToolTipRole:
                return self.looks.tips.get((row, column), self.rows[row][column])
            case Qt.ItemDataRole.AccessibleTextRole:
                return f"{self.head[column]}: {self.rows[row][column]}"
            case Qt.ItemDataRole.TextAlignmentRole:
                return self._side(column)
            case Qt.ItemDataRole.DecorationRole:
                return self.looks.signs.get((row, column))
            case Qt.ItemDataRole.FontRole if row in self.looks.bold:
                font = QFont()
                font.setBold(True)
                return font
            case _:
                return None

    def _side(self, column: int) -> Qt.AlignmentFlag:
        right = column in self.looks.numbers
        side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
        return side | Qt.AlignmentFlag.AlignVCenter


class WordTable(QTableView):
    def __init__(self, name: str, head: Row, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cells = Cells(head, self)
        self.setModel(self.cells)
        self.setAccessibleName(name)
        self.setShowGrid(False)
        self.setAlternatingRowColors(True)
        self.setWordWrap(False)
        self.setStyleSheet(ROOMY)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(24)
        head_view = self.horizontalHeader()
        head_view.setHighlightSections(False)
        head_view.setStretchLastSection(True)
        head_view.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.cells.modelReset.connect(self._on_filled)

    @Slot()
    def _on_filled(self) -> None:
        """Measured once, not with every change of looks; long names leave room for the others."""
        self.resizeColumnsToContents()
        for column in range(self.cells.columnCount()):
            if self.columnWidth(column) > WIDEST:
                self.setColumnWidth(column, WIDEST)
