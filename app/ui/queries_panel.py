"""The list of queries: a small picture, the name, and how far each has come."""

from pathlib import Path

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QPersistentModelIndex,
    QRectF,
    QSize,
    Qt,
    Slot,
)
from PySide6.QtGui import QColor, QFont, QImage, QKeyEvent, QPainter, QPalette
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.ui.map_marks import length_text
from app.ui.pictures import Ask, Pictures
from app.ui.session import LocateSession, QueryState, Step
from app.ui.theme import GAP, ColourRole, colour, colours, draw_icon, icon

THUMB = 48
FETCHED_PX = 192  # decoded once for every screen

_LOOKS: dict[Step, tuple[str, ColourRole]] = {
    "waiting": ("waiting", "subtle"),
    "reading": ("busy", "accent"),
    "matching": ("busy", "accent"),
    "located": ("located", "good"),
    "problem": ("problem", "bad"),
    "cancelled": ("cancel", "subtle"),
}

_Index = QModelIndex | QPersistentModelIndex


def state_words(state: QueryState) -> str:
    match state.step:
        case "located" if state.answer is not None:
            confidence = state.answer.confidence
            return f"{confidence.best_probability:.0%} within {length_text(confidence.radius_m)}"
        case "problem" if state.problem is not None:
            return state.problem.title
        case "waiting":
            return f"Waiting: {state.note}" if state.note else "Waiting"
        case "reading":
            return f"Reading: {state.note}" if state.note not in ("", "starting") else "Reading"
        case "matching":
            return f"Matching: {state.note}" if state.note not in ("", "starting") else "Matching"
        case _:
            return "Cancelled"


class QueriesModel(QAbstractListModel):
    """Rows are the session's queries; ``UserRole`` is a row's QueryState."""

    def __init__(self, session: LocateSession, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self._paths: list[Path] = list(session.paths)
        self._row: dict[Path, int] = {path: row for row, path in enumerate(self._paths)}
        session.added.connect(self._on_added)
        session.removed.connect(self._on_removed)
        session.cleared.connect(self._on_cleared)
        session.changed.connect(self._on_changed)
        session.refreshed.connect(self._on_refreshed)

    def row_of(self, path: Path) -> QModelIndex:
        return self.index(self._row[path])

    def path_at(self, index: _Index) -> Path:
        return self._paths[index.row()]

    def rowCount(self, parent: _Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._paths)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        path = self._paths[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return path.name
            case Qt.ItemDataRole.UserRole:
                return self._session.query(path)
            case Qt.ItemDataRole.ToolTipRole:
                return _tooltip(self._session.query(path))
            case Qt.ItemDataRole.AccessibleTextRole:
                return f"{path.name}. {state_words(self._session.query(path))}"
        return None

    @Slot(object)
    def _on_added(self, paths: tuple[Path, ...]) -> None:
        row = len(self._paths)
        self.beginInsertRows(QModelIndex(), row, row + len(paths) - 1)
        self._paths.extend(paths)
        self._row.update((path, row + i) for i, path in enumerate(paths))
        self.endInsertRows()

    @Slot()
    def _on_cleared(self) -> None:
        self.beginResetModel()
        self._paths.clear()
        self._row.clear()
        self.endResetModel()

    @Slot()
    def _on_refreshed(self) -> None:
        if self._paths:
            self.dataChanged.emit(self.index(0), self.index(len(self._paths) - 1))

    @Slot(object)
    def _on_removed(self, path: Path) -> None:
        row = self._row[path]
        self.beginRemoveRows(QModelIndex(), row, row)
        del self._paths[row]
        self._row = {path: row for row, path in enumerate(self._paths)}
        self.endRemoveRows()

    @Slot(object)
    def _on_changed(self, path: Path) -> None:
        if path in self._row:
            self.dataChanged.emit(self.row_of(path), self.row_of(path))


def _tooltip(state: QueryState) -> str:
    words = [str(state.path), state_words(state)]
    if state.answer is not None:
        words.append(f"score {state.answer.best.score:.3f}")
    if state.problem is not None and state.problem.hint:
        words.append(state.problem.hint)
    return "\n".join(words)


class QueryDelegate(QStyledItemDelegate):
    def __init__(self, pictures: Pictures, view: QListView) -> None:
        super().__init__(view)
        self._pictures = pictures
        self._view = view

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        del index
        line = option.fontMetrics.height()
        return QSize(160, max(THUMB, 2 * line + 6) + 2 * GAP - 4)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        state: QueryState = index.data(Qt.ItemDataRole.UserRole)
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        palette = option.palette
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        if chosen:
            painter.fillRect(option.rect, palette.color(QPalette.ColorRole.Highlight))
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.fillRect(option.rect, palette.color(QPalette.ColorRole.AlternateBase))
        room = QRectF(option.rect).adjusted(GAP, 0, -GAP, 0)
        thumb = QRectF(room.left(), room.center().y() - THUMB / 2, THUMB, THUMB)
        self._draw_thumb(painter, thumb, state)
        self._draw_words(painter, room.adjusted(THUMB + GAP, 0, 0, 0), option, state, chosen=chosen)
        painter.restore()

    def _draw_thumb(self, painter: QPainter, box: QRectF, state: QueryState) -> None:
        c = colours(self._view.palette())
        image = None
        if state.read is not None:
            image = self._pictures.get(Ask(state.read.preview, FETCHED_PX))
        painter.fillRect(box, colour(self._view.palette(), "subtle") if image else c.stage)
        if image is None or image.isNull():
            draw_icon(painter, "photo", box.adjusted(14, 14, -14, -14), _ink(self._view, "subtle"))
            return
        painter.drawImage(box, image, _middle_square(image))

    def _draw_words(
        self,
        painter: QPainter,
        room: QRectF,
        option: QStyleOptionViewItem,
        state: QueryState,
        *,
        chosen: bool,
    ) -> None:
        metrics = option.fontMetrics
        line = metrics.height()
        top = room.center().y() - line - 2
        picture, role = _LOOKS[state.step]
        on = _ink(self._view, "on_accent")
        font = QFont(option.font)
        font.setWeight(QFont.Weight.DemiBold)
        painter.setFont(font)
        painter.setPen(on if chosen else _ink(self._view, "text"))
        name = metrics.elidedText(
            state.path.name, Qt.TextElideMode.ElideMiddle, int(room.width() * 0.96)
        )
        painter.drawText(QRectF(room.left(), top, room.width(), line), name)
        sign = QRectF(room.left(), top + line + 4 + (line - 16) / 2, 16, 16)
        draw_icon(painter, picture, sign, on if chosen else _ink(self._view, role))
        painter.setFont(option.font)
        painter.setPen(on if chosen else _ink(self._view, role if role == "bad" else "subtle"))
        beside = QRectF(sign.right() + 5, top + line + 4, room.right() - sign.right() - 5, line)
        words = metrics.elidedText(
            state_words(state), Qt.TextElideMode.ElideRight, int(beside.width())
        )
        painter.drawText(beside, words)


def _ink(widget: QWidget, role: ColourRole) -> QColor:
    return colour(widget.palette(), role)


def _middle_square(image: QImage) -> QRectF:
    side = min(image.width(), image.height())
    return QRectF((image.width() - side) / 2, (image.height() - side) / 2, side, side)


class QueryList(QListView):
    """Letters are left to the window's shortcuts, not to a search by name."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.text().isprintable() and event.text().strip():
            event.ignore()
        else:
            super().keyPressEvent(event)


class QueriesPanel(QFrame):
    def __init__(
        self, session: LocateSession, pictures: Pictures, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session = session
        self.setProperty("panel", True)
        self.summary = QLabel()
        self.summary.setProperty("small", True)
        self.stop = QToolButton()
        self.stop.setIcon(icon("cancel"))
        self.stop.setAutoRaise(True)
        self.stop.setToolTip("Cancel what is not answered yet")
        self.stop.setAccessibleName("Cancel all queries")
        self.stop.clicked.connect(session.cancel_all)
        self.list = QueryList()
        self.list.setAccessibleName("Queries")
        self.list.setFrameShape(QFrame.Shape.NoFrame)
        self.list.setUniformItemSizes(True)
        self.list.setMouseTracking(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.model = QueriesModel(session, self)
        self.list.setModel(self.model)
        self.list.setItemDelegate(QueryDelegate(pictures, self.list))
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 1)
        column.setSpacing(0)
        column.addWidget(self._head())
        column.addWidget(self.list, 1)
        self.setMinimumWidth(180)
        self.list.selectionModel().currentChanged.connect(self._on_current)
        session.selected.connect(self._on_selected)
        for signal in (
            session.added,
            session.removed,
            session.cleared,
            session.changed,
            session.refreshed,
        ):
            signal.connect(self._refresh_summary)
        pictures.loaded.connect(self._on_loaded)
        self._refresh_summary()

    def _head(self) -> QFrame:
        head = QFrame()
        head.setProperty("head", True)
        row = QHBoxLayout(head)
        row.setContentsMargins(GAP, 2, 2, 2)
        title = QLabel("Queries")
        font = title.font()
        font.setBold(True)
        title.setFont(font)
        row.addWidget(title)
        row.addWidget(self.summary, 1, Qt.AlignmentFlag.AlignRight)
        row.addWidget(self.stop)
        head.setMinimumHeight(32)
        return head

    @Slot()
    def _refresh_summary(self) -> None:
        total = len(self._session.paths)
        located, failed = self._session.count("located"), self._session.count("problem")
        pending = self._session.count("waiting", "reading", "matching")
        words = [f"{located} of {total} located"] if total else []
        if failed:
            words.append(f"{failed} failed")
        self.summary.setText(", ".join(words))
        self.stop.setVisible(pending > 0)

    @Slot(QModelIndex, QModelIndex)
    def _on_current(self, now: QModelIndex, before: QModelIndex) -> None:
        del before
        if now.isValid():
            self._session.select(self.model.path_at(now))

    @Slot(object)
    def _on_selected(self, path: Path | None) -> None:
        index = QModelIndex() if path is None else self.model.row_of(path)
        if index != self.list.currentIndex():
            self.list.setCurrentIndex(index)

    @Slot(object, object)
    def _on_loaded(self, ask: Ask, image: QImage) -> None:
        del image
        if ask.side_px == FETCHED_PX:
            self.list.viewport().update()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.list.viewport().update()
