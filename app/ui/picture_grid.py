"""A grid of small pictures with a line of words under each."""

from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QPersistentModelIndex,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor, QPainter, QPalette, QPen
from PySide6.QtWidgets import (
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from app.ui.theme import GAP, ColourRole, colour, draw_icon
from app.ui.thumbnails import Thumbnails, draw_thumbnail

THUMB = 84
_Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, slots=True)
class Item:
    picture: Path
    words: str
    sign: str  # an icon
    role: ColourRole


class _Model(QAbstractListModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.items: tuple[Item, ...] = ()

    def show_items(self, items: tuple[Item, ...]) -> None:
        self.beginResetModel()
        self.items = items
        self.endResetModel()

    def rowCount(self, parent: _Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.items)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid() or index.row() >= len(self.items):
            return None
        item = self.items[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return item.picture.name
            case Qt.ItemDataRole.UserRole:
                return item
            case Qt.ItemDataRole.ToolTipRole | Qt.ItemDataRole.AccessibleTextRole:
                return f"{item.words}\n{item.picture}"
            case _:
                return None


class _Delegate(QStyledItemDelegate):
    def __init__(self, thumbnails: Thumbnails, view: QListView) -> None:
        super().__init__(view)
        self._thumbnails, self._view = thumbnails, view

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        del index
        return QSize(THUMB + 2 * GAP, THUMB + option.fontMetrics.height() + 2 * GAP)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        item: Item = index.data(Qt.ItemDataRole.UserRole)
        palette = self._view.palette()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        cell = QRectF(option.rect).adjusted(2, 2, -2, -2)
        if option.state & QStyle.StateFlag.State_Selected:
            wash = QColor(palette.color(QPalette.ColorRole.Highlight))
            wash.setAlpha(50)
            painter.setBrush(wash)
            painter.setPen(QPen(palette.color(QPalette.ColorRole.Highlight), 2))
            painter.drawRoundedRect(cell.adjusted(1, 1, -1, -1), 5, 5)
        box = QRectF(cell.center().x() - THUMB / 2, cell.top() + GAP - 2, THUMB, THUMB)
        draw_thumbnail(painter, box, self._thumbnails, item.picture, palette)
        plate = QRectF(box.left() + 3, box.top() + 3, 18, 18)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(palette.base())
        painter.drawEllipse(plate)
        draw_icon(painter, item.sign, plate.adjusted(3, 3, -3, -3), colour(palette, item.role))
        painter.setPen(colour(palette, "text"))
        line = QRectF(box.left(), box.bottom() + 2, box.width(), option.fontMetrics.height())
        name = option.fontMetrics.elidedText(
            item.picture.name, Qt.TextElideMode.ElideMiddle, round(box.width())
        )
        painter.drawText(line, int(Qt.AlignmentFlag.AlignCenter), name)
        painter.restore()


class PictureGrid(QListView):
    looked_at = Signal(int)  # row
    opened = Signal(int)  # row: double click, Enter

    def __init__(self, name: str, thumbnails: Thumbnails, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows = _Model(self)
        self.setModel(self.rows)
        self.setItemDelegate(_Delegate(thumbnails, self))
        self.setAccessibleName(name)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.selectionModel().currentChanged.connect(self._on_current)
        self.activated.connect(lambda index: self.opened.emit(index.row()))
        thumbnails.changed.connect(lambda _: self.viewport().update())

    def show_items(self, items: tuple[Item, ...]) -> None:
        self.rows.show_items(items)
        self.scrollToTop()

    def _on_current(self, now: QModelIndex) -> None:
        if now.isValid():
            self.looked_at.emit(now.row())

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.viewport().update()
