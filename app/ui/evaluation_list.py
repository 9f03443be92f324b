"""The list of evaluations: what was measured on what, and the figure that tells most."""

from PySide6.QtCore import (
    QAbstractListModel,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QPointF,
    QRectF,
    QSize,
    Qt,
    Slot,
)
from PySide6.QtGui import QColor, QFont, QPainter, QPalette, QPen
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from app.ui.curves import line_colour
from app.ui.evaluation_folders import Evaluation
from app.ui.evaluation_session import EvaluationSession
from app.ui.evaluation_tables import test_of
from app.ui.theme import GAP, colour, colours

_Index = QModelIndex | QPersistentModelIndex


class EvaluationsModel(QAbstractListModel):
    """Rows are the session's evaluations; ``UserRole`` is a row's Evaluation."""

    def __init__(self, session: EvaluationSession, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self.rows: tuple[Evaluation, ...] = session.entries
        session.listed.connect(self._refresh)

    @Slot()
    def _refresh(self) -> None:
        self.beginResetModel()
        self.rows = self._session.entries
        self.endResetModel()

    def rowCount(self, parent: _Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        entry = self.rows[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return entry.result.checkpoint_title
            case Qt.ItemDataRole.UserRole:
                return entry
            case Qt.ItemDataRole.ToolTipRole:
                return _tip(entry)
            case Qt.ItemDataRole.AccessibleTextRole:
                told = f"{entry.result.checkpoint_title} on {test_of(entry.result)}"
                return f"{told}. {headline_text(entry)}"
            case _:
                return None


def headline_text(entry: Evaluation) -> str:
    best = entry.headline
    return "" if best is None else f"{best.name} {best.value:.1%}"


def when_text(created: str) -> str:
    """As it is written, to the minute."""
    return created[:16].replace("T", " ")


def _tip(entry: Evaluation) -> str:
    r = entry.result
    return "\n".join(
        (
            r.checkpoint_title,
            test_of(r),
            f"{r.queries:,} queries, {r.gallery:,} searched, {r.put}",
            f"Measured {when_text(r.created)} UTC",
            str(entry.folder),
        )
    )


class _Delegate(QStyledItemDelegate):
    """Three lines; a selected one has the colour that its curves have."""

    def __init__(self, session: EvaluationSession, view: QListView) -> None:
        super().__init__(view)
        self._session, self._view = session, view

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        del index
        return QSize(200, 3 * option.fontMetrics.height() + 2 * GAP + 4)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        entry: Evaluation = index.data(Qt.ItemDataRole.UserRole)
        palette, r = self._view.palette(), entry.result
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._draw_ground(painter, option, palette)
        self._draw_colour(painter, QRectF(option.rect), entry)
        box = QRectF(option.rect).adjusted(GAP + 10, GAP, -GAP, -GAP)
        font = QFont(option.font)
        lines = (
            (r.checkpoint_title, headline_text(entry)),
            (test_of(r), ""),
            (r.put, when_text(r.created)),
        )
        for line, (left, right) in enumerate(lines):
            font.setBold(line == 0)
            painter.setFont(font)
            painter.setPen(colour(palette, "subtle" if line == 2 else "text"))
            _write(painter, box, line * (option.fontMetrics.height() + 1), left, right)
        painter.restore()

    def _draw_ground(
        self, painter: QPainter, option: QStyleOptionViewItem, palette: QPalette
    ) -> None:
        cell = QRectF(option.rect).adjusted(2, 1, -2, -1)
        accent = palette.color(QPalette.ColorRole.Highlight)
        if option.state & QStyle.StateFlag.State_Selected:
            wash = QColor(accent)
            wash.setAlpha(40)
            painter.setPen(QPen(accent, 1))
            painter.setBrush(wash)
            painter.drawRoundedRect(cell, 5, 5)
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(palette.color(QPalette.ColorRole.AlternateBase))
            painter.drawRoundedRect(cell, 5, 5)
        if option.state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(QPen(accent, 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(cell.adjusted(1, 1, -1, -1), 5, 5)
        painter.setPen(QColor(colours(palette).border))

    def _draw_colour(self, painter: QPainter, cell: QRectF, entry: Evaluation) -> None:
        folders = [other.folder for other in self._session.selected]
        if entry.folder in folders:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(line_colour(self._view.palette(), folders.index(entry.folder)))
            bar = QRectF(cell.left() + 7, cell.top() + GAP, 4, cell.height() - 2 * GAP)
            painter.drawRoundedRect(bar, 2, 2)


def _write(painter: QPainter, box: QRectF, down: float, left: str, right: str) -> None:
    """By the baseline: letters of another, taller font do not push a line down."""
    metrics = painter.fontMetrics()
    baseline = box.top() + down + metrics.ascent()
    room = metrics.horizontalAdvance(right)
    painter.drawText(QPointF(box.right() - room, baseline), right)
    width = round(box.width()) - (room + GAP if right else 0)
    shortened = metrics.elidedText(left, Qt.TextElideMode.ElideMiddle, width)
    painter.drawText(QPointF(box.left(), baseline), shortened)


class EvaluationList(QListView):
    """Several can be selected: the one selected first is looked at, the others beside it."""

    def __init__(self, session: EvaluationSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._is_following = False
        self.rows = EvaluationsModel(session, self)
        self.setModel(self.rows)
        self.setItemDelegate(_Delegate(session, self))
        self.setAccessibleName("Evaluations, newest first")
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setMouseTracking(True)
        self.setUniformItemSizes(True)
        self.selectionModel().selectionChanged.connect(self._on_selected)
        session.picked.connect(self._follow)
        self._follow()

    @Slot()
    def _on_selected(self) -> None:
        if self._is_following:
            return
        chosen = [self.rows.rows[i.row()].folder for i in self.selectionModel().selectedRows()]
        kept = [e.folder for e in self._session.selected if e.folder in chosen]
        self._session.select((*kept, *(folder for folder in chosen if folder not in kept)))

    @Slot()
    def _follow(self) -> None:
        """Show the session's selection, which may be less than what was clicked."""
        folders = {entry.folder for entry in self._session.selected}
        wanted = [row for row, entry in enumerate(self.rows.rows) if entry.folder in folders]
        model, flag = self.selectionModel(), QItemSelectionModel.SelectionFlag
        if {index.row() for index in model.selectedRows()} != set(wanted):
            self._is_following = True
            model.clearSelection()
            for row in wanted:
                model.select(self.rows.index(row), flag.Select)
            self._is_following = False
        if wanted and not self.currentIndex().isValid():
            model.setCurrentIndex(self.rows.index(wanted[0]), flag.NoUpdate)
        self.viewport().update()
