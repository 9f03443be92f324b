"""The rows of the error browser: which pictures each shows, and what it says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtWidgets import QWidget

from app.results import BoxRow, ErrorRow, Shown
from app.ui.map_marks import length_text

Box = tuple[float, float, float, float]
Sense = Literal["query", "right", "wrong"]
_Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, slots=True)
class PictureCell:
    """A picture with what is marked on it, in its own pixels. ``picture`` None: ``words``."""

    picture: Path | None
    sense: Sense
    words: str  # for the tooltip, and for who cannot see it
    click: tuple[float, float] | None = None
    truth: Box | None = None
    found: Box | None = None


HEAD = (
    "Query", "Right picture", "Taken for", "Rank", "Gap", "Probability", "Away", "Place", "File"
)  # fmt: skip
BOX_HEAD = ("Query", "Satellite", "IoU", "Off", "Score", "Category", "File")
HEAD_TIPS = {
    "Right picture": "The best-scored picture that would have been right",
    "Taken for": "The picture that came first",
    "Rank": "Of the first right picture; 1 would be found",
    "Gap": "By how much the wrong picture scores higher than the right one",
    "Probability": "That was given to the wrong picture",
    "Away": "From the true position to that of the picture that came first",
    "IoU": "Overlap of the box that was found with the true one",
    "Off": "Between the centres of both boxes",
    "Score": "The network's own; the higher, the surer",
}


class ErrorsModel(QAbstractTableModel):
    """``UserRole`` is a cell's PictureCell, or None where it holds words."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.rows: tuple[ErrorRow | BoxRow, ...] = ()
        self._cells: tuple[tuple[PictureCell | str, ...], ...] = ()
        self.head: tuple[str, ...] = HEAD

    def show_rows(self, rows: tuple[ErrorRow | BoxRow, ...]) -> None:
        self.beginResetModel()
        self.rows = rows
        self.head = BOX_HEAD if rows and isinstance(rows[0], BoxRow) else HEAD
        self._cells = tuple(cells_of(row) for row in rows)
        self.endResetModel()

    def rowCount(self, parent: _Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: _Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.head)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.head[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            return HEAD_TIPS.get(self.head[section])
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid() or index.row() >= len(self._cells):
            return None
        cell = self._cells[index.row()][index.column()]
        name = self.head[index.column()]
        if isinstance(cell, PictureCell):
            if role == Qt.ItemDataRole.UserRole:
                return cell
            if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
                return f"{name}: {cell.words}"
            return None
        match role:
            case Qt.ItemDataRole.DisplayRole | Qt.ItemDataRole.ToolTipRole:
                return cell
            case Qt.ItemDataRole.AccessibleTextRole:
                return f"{name}: {cell}"
            case _:
                return None


def cells_of(row: ErrorRow | BoxRow) -> tuple[PictureCell | str, ...]:
    if isinstance(row, BoxRow):
        away = f"\n{length_text(row.centre_m)}" if row.centre_m is not None else ""
        return (
            PictureCell(row.query, "query", str(row.query), click=row.click),
            PictureCell(
                row.satellite,
                "wrong",
                f"{row.satellite}\nGreen: the true box. Red, dashed: the box that was found.",
                truth=row.truth,
                found=row.found,
            ),
            f"{row.iou:.2f}",
            f"{row.centre_px:,.0f} px{away}",
            f"{row.score:.2f}",
            row.category or "–",
            row.query.name,
        )
    return (
        PictureCell(row.query, "query", str(row.query)),
        _shown(row.right[0] if row.right else None, "right"),
        _shown(row.best[0] if row.best else None, "wrong"),
        f"{row.rank:,}" if row.rank is not None else "none is\nright",
        "–" if row.gap is None else f"{row.gap:.3f}",
        "–" if row.probability is None else f"{row.probability:.0%}",
        "–" if row.metres is None else length_text(row.metres),
        row.label,
        row.query.name,
    )


def _shown(shown: Shown | None, sense: Sense) -> PictureCell:
    if shown is None:
        return PictureCell(None, sense, "The gallery has no right picture")
    away = "" if shown.metres is None else f", {length_text(shown.metres)} away"
    return PictureCell(shown.picture, sense, f"{shown.picture}\nscore {shown.score:.3f}{away}")
