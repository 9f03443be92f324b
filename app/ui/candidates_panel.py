"""The ranked tiles of the selected query, as a grid that loads its pictures as they are seen."""

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
from PySide6.QtGui import QColor, QFont, QImage, QKeyEvent, QPainter, QPalette, QPen
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QListView,
    QStackedLayout,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from app.messages import Candidate
from app.ui.map_marks import ink_on, length_text, rank_colour
from app.ui.pictures import Ask, Pictures
from app.ui.session import LocateSession, QueryState
from app.ui.theme import GAP, colour, colours, draw_icon

THUMB = 112
FETCHED_PX = 256
BAR = 5  # height of the probability bar

_Index = QModelIndex | QPersistentModelIndex


class CandidatesModel(QAbstractListModel):
    """Rows are candidates, best first; ``UserRole`` is a row's Candidate."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._candidates: tuple[Candidate, ...] = ()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        return self._candidates

    def show(self, candidates: tuple[Candidate, ...]) -> None:
        if candidates == self._candidates:
            return
        self.beginResetModel()
        self._candidates = candidates
        self.endResetModel()

    def away_m(self, candidate: Candidate) -> float:
        """From rank 1."""
        return candidate.position.metres_to(self._candidates[0].position)

    def rowCount(self, parent: _Index | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._candidates)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        candidate = self._candidates[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return str(candidate.rank)
            case Qt.ItemDataRole.UserRole:
                return candidate
            case Qt.ItemDataRole.ToolTipRole:
                return "\n".join(
                    (
                        f"Rank {candidate.rank}: tile {candidate.tile}",
                        f"Score {candidate.score:.3f}, probability {candidate.probability:.1%}",
                        f"{length_text(self.away_m(candidate))} from rank 1",
                        f"Found with the query facing {candidate.heading_deg:.0f}°",
                        str(candidate.position),
                    )
                )
            case Qt.ItemDataRole.AccessibleTextRole:
                return (
                    f"Rank {candidate.rank}, score {candidate.score:.2f}, "
                    f"{length_text(self.away_m(candidate))} from rank 1"
                )
        return None


class CandidateDelegate(QStyledItemDelegate):
    def __init__(self, pictures: Pictures, view: QListView, model: CandidatesModel) -> None:
        super().__init__(view)
        self._pictures, self._view, self._model = pictures, view, model

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        del index
        words = 2 * option.fontMetrics.height()
        return QSize(THUMB + 2 * GAP, THUMB + BAR + words + 2 * GAP + 6)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        candidate: Candidate = index.data(Qt.ItemDataRole.UserRole)
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        palette = self._view.palette()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        cell = QRectF(option.rect).adjusted(2, 2, -2, -2)
        if chosen:
            wash = QColor(palette.color(QPalette.ColorRole.Highlight))
            wash.setAlpha(50)
            painter.setBrush(wash)
            painter.setPen(QPen(palette.color(QPalette.ColorRole.Highlight), 2))
            painter.drawRoundedRect(cell.adjusted(1, 1, -1, -1), 5, 5)
        elif option.state & QStyle.StateFlag.State_MouseOver:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(palette.color(QPalette.ColorRole.AlternateBase))
            painter.drawRoundedRect(cell, 5, 5)
        box = QRectF(cell.center().x() - THUMB / 2, cell.top() + GAP - 2, THUMB, THUMB)
        self._draw_tile(painter, box, candidate)
        self._draw_bar(painter, box, candidate)
        self._draw_words(painter, box, option, candidate)
        painter.restore()

    def _draw_tile(self, painter: QPainter, box: QRectF, candidate: Candidate) -> None:
        palette = self._view.palette()
        image = self._pictures.get(Ask(candidate.thumbnail, FETCHED_PX))
        painter.fillRect(box, QColor(colours(palette).stage))
        if image is not None and not image.isNull():
            painter.drawImage(box, image)
        elif image is not None:
            draw_icon(painter, "warning", box.adjusted(40, 40, -40, -40), colour(palette, "subtle"))
        badge = rank_colour(candidate.rank, self._model.rowCount())
        font = QFont(self._view.font())
        font.setBold(True)
        painter.setFont(font)
        words = str(candidate.rank)
        width = max(22, painter.fontMetrics().horizontalAdvance(words) + 12)
        plate = QRectF(box.left() + 5, box.top() + 5, width, 22)
        painter.setPen(QPen(QColor(255, 255, 255, 220), 1))
        painter.setBrush(QColor(badge))
        painter.drawRoundedRect(plate, 11, 11)
        painter.setPen(QColor(ink_on(badge)))
        painter.drawText(plate, int(Qt.AlignmentFlag.AlignCenter), words)

    def _draw_bar(self, painter: QPainter, box: QRectF, candidate: Candidate) -> None:
        palette = self._view.palette()
        track = QRectF(box.left(), box.bottom() + 4, box.width(), BAR)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours(palette).border))
        painter.drawRoundedRect(track, BAR / 2, BAR / 2)
        filled = QRectF(track)
        filled.setWidth(max(BAR, track.width() * min(1.0, candidate.probability)))
        painter.setBrush(colour(palette, "accent"))
        painter.drawRoundedRect(filled, BAR / 2, BAR / 2)

    def _draw_words(
        self, painter: QPainter, box: QRectF, option: QStyleOptionViewItem, candidate: Candidate
    ) -> None:
        palette = self._view.palette()
        line = option.fontMetrics.height()
        first = QRectF(box.left(), box.bottom() + BAR + 6, box.width(), line)
        painter.setFont(option.font)
        painter.setPen(colour(palette, "text"))
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        painter.drawText(first, int(left), f"{candidate.score:.3f}")
        painter.setPen(colour(palette, "subtle"))
        painter.drawText(first, int(right), _share(candidate.probability))
        away = "best" if candidate.rank == 1 else f"+{length_text(self._model.away_m(candidate))}"
        painter.drawText(first.translated(0, line), int(left), away)


def _share(probability: float) -> str:
    return f"{probability:.0%}" if probability >= 0.01 else "<1%"


class CandidateGrid(QListView):
    """Letters and digits are left to the window's shortcuts."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.text().isprintable() and event.text().strip():
            event.ignore()
        else:
            super().keyPressEvent(event)


class CandidatesPanel(QFrame):
    def __init__(
        self, session: LocateSession, pictures: Pictures, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session = session
        self.setProperty("panel", True)
        self.model = CandidatesModel(self)
        self.grid = CandidateGrid()
        self.grid.setAccessibleName("Candidates, best first")
        self.grid.setFrameShape(QFrame.Shape.NoFrame)
        self.grid.setViewMode(QListView.ViewMode.IconMode)
        self.grid.setMovement(QListView.Movement.Static)
        self.grid.setResizeMode(QListView.ResizeMode.Adjust)
        self.grid.setUniformItemSizes(True)
        self.grid.setMouseTracking(True)
        self.grid.setSpacing(0)
        self.grid.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.grid.setModel(self.model)
        self.grid.setItemDelegate(CandidateDelegate(pictures, self.grid, self.model))
        self.empty = QLabel()
        self.empty.setProperty("small", True)
        self.empty.setWordWrap(True)
        self.empty.setTextFormat(Qt.TextFormat.PlainText)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.summary = QLabel()
        self.summary.setProperty("small", True)
        body = QWidget()
        self._stack = QStackedLayout(body)
        self._stack.addWidget(self.grid)
        self._stack.addWidget(self.empty)
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 1)
        column.setSpacing(0)
        column.addWidget(self._head())
        column.addWidget(body, 1)
        self.setMinimumHeight(120)
        self.grid.selectionModel().currentChanged.connect(self._on_current)
        session.selected.connect(self._refresh)
        session.changed.connect(self._on_changed)
        session.refreshed.connect(self._refresh)
        session.candidate_selected.connect(self._on_candidate)
        pictures.loaded.connect(self._on_loaded)
        self._refresh()

    def _head(self) -> QFrame:
        head = QFrame()
        head.setProperty("head", True)
        head.setMinimumHeight(32)
        row = QHBoxLayout(head)
        row.setContentsMargins(GAP, 2, GAP, 2)
        title = QLabel("Candidates")
        font = title.font()
        font.setBold(True)
        title.setFont(font)
        row.addWidget(title)
        row.addWidget(self.summary, 1, Qt.AlignmentFlag.AlignRight)
        return head

    @Slot()
    def _refresh(self) -> None:
        state = self._session.current
        candidates = () if state is None or state.answer is None else state.answer.candidates
        self.model.show(candidates)
        self._stack.setCurrentIndex(0 if candidates else 1)
        self.empty.setText(_empty_words(state))
        if state is not None and state.answer is not None:
            turns, seconds = state.answer.turns, state.answer.seconds
            turned = f"{turns} headings tried, " if turns > 1 else ""
            self.summary.setText(f"top {len(candidates)}, {turned}{seconds:.1f} s")
        else:
            self.summary.setText("")
        self._select(self._session.candidate)

    @Slot(object)
    def _on_changed(self, path: object) -> None:
        state = self._session.current
        if state is not None and state.path == path:
            self._refresh()

    @Slot(object)
    def _on_candidate(self, candidate: Candidate | None) -> None:
        del candidate
        self._refresh()

    def _select(self, candidate: Candidate | None) -> None:
        index = QModelIndex() if candidate is None else self.model.index(candidate.rank - 1)
        if index != self.grid.currentIndex():
            self.grid.setCurrentIndex(index)
            if index.isValid():
                self.grid.scrollTo(index)

    @Slot(QModelIndex, QModelIndex)
    def _on_current(self, now: QModelIndex, before: QModelIndex) -> None:
        del before
        if now.isValid():
            self._session.pick(self.model.candidates[now.row()].rank)

    @Slot(object, object)
    def _on_loaded(self, ask: Ask, image: QImage) -> None:
        del image
        if ask.side_px == FETCHED_PX:
            self.grid.viewport().update()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.grid.viewport().update()


def _empty_words(state: QueryState | None) -> str:
    if state is None:
        return "Drop a photo on the window: its best tiles are ranked here."
    match state.step:
        case "problem" if state.problem is not None:
            return f"{state.problem.title}\n\n{state.problem.hint}"
        case "waiting" if state.note:
            return f"Waiting: {state.note}."
        case "cancelled":
            return "Cancelled. Press R to locate this photo again."
        case _:
            return "Looking for the best tiles…"
