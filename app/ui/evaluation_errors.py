"""The error browser: queries that were not found, beside what was right and what they were taken
for; each can be opened where photos are located.
"""

from pathlib import Path
from typing import Literal

from PySide6.QtCore import QEvent, QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QPainter, QPen
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QStackedWidget,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.messages import BrowseErrors, ErrorsBrowsed
from app.ui.asked_view import AskedView
from app.ui.errors_model import ErrorsModel, PictureCell, Sense
from app.ui.evaluation_folders import Evaluation
from app.ui.evaluation_session import EvaluationSession
from app.ui.evaluation_tables import test_of
from app.ui.theme import GAP, ColourRole, colour, draw_icon, icon
from app.ui.thumbnails import Thumbnails, draw_thumbnail
from app.ui.word_table import ROOMY

THUMB = 120
PAGE = 50
ORDERS: tuple[tuple[str, Literal["worst", "sure"]], ...] = (
    ("Worst first", "worst"),
    ("Confidently wrong first", "sure"),
)
# Which errors, by who missed them and who got them right: places among the evaluations shown.
KINDS: tuple[tuple[str, tuple[int, int | None]], ...] = (
    ("All that the first missed", (0, None)),
    ("Missed by the first, found by the second", (0, 1)),
    ("Missed by the second, found by the first", (1, 0)),
)
_SIGNS: dict[Sense, tuple[str, ColourRole]] = {
    "query": ("photo", "subtle"),
    "right": ("check", "good"),
    "wrong": ("cancel", "bad"),
}
_Index = QModelIndex | QPersistentModelIndex


class _PictureDelegate(QStyledItemDelegate):
    def __init__(self, thumbnails: Thumbnails, view: QTableView) -> None:
        super().__init__(view)
        self._thumbnails, self._view = thumbnails, view

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        if isinstance(index.data(Qt.ItemDataRole.UserRole), PictureCell):
            return QSize(THUMB + 2 * GAP, THUMB + 2 * GAP)
        return super().sizeHint(option, index) + QSize(GAP, 0)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        super().paint(painter, option, index)
        cell = index.data(Qt.ItemDataRole.UserRole)
        if not isinstance(cell, PictureCell):
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        middle = QRectF(option.rect).center()
        box = QRectF(middle.x() - THUMB / 2, middle.y() - THUMB / 2, THUMB, THUMB)
        if cell.picture is None:
            chosen = bool(option.state & QStyle.StateFlag.State_Selected)
            painter.setPen(colour(self._view.palette(), "on_accent" if chosen else "subtle"))
            how = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(box, int(how), cell.words)
        else:
            place = draw_thumbnail(
                painter, box, self._thumbnails, cell.picture, self._view.palette()
            )
            if not place.isEmpty():
                self._draw_marks(painter, place, cell, cell.picture)
            self._draw_sign(painter, box, cell.sense)
        painter.restore()

    def _draw_sign(self, painter: QPainter, box: QRectF, sense: Sense) -> None:
        """A sign besides the colour: not everybody tells green from red."""
        picture, role = _SIGNS[sense]
        ink = colour(self._view.palette(), role)
        if sense != "query":
            painter.setPen(QPen(ink, 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(box)
        plate = QRectF(box.left() + 3, box.top() + 3, 20, 20)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._view.palette().base())
        painter.drawEllipse(plate)
        draw_icon(painter, picture, plate.adjusted(3, 3, -3, -3), ink)

    def _draw_marks(
        self, painter: QPainter, place: QRectF, cell: PictureCell, picture: Path
    ) -> None:
        about = self._thumbnails.about(picture)
        if about is None or not about.width:
            return
        scale = place.width() / about.width
        palette = self._view.palette()
        painter.save()
        painter.setClipRect(place)  # a box that was found may leave the picture
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for box, role, style in (
            (cell.truth, "good", Qt.PenStyle.SolidLine),
            (cell.found, "bad", Qt.PenStyle.DashLine),
        ):
            if box is not None:
                left, top, right, bottom = (scale * v for v in box)
                frame = QRectF(left, top, max(3.0, right - left), max(3.0, bottom - top))
                frame.translate(place.topLeft())
                painter.setPen(QPen(QColor(0, 0, 0, 150), 4))
                painter.drawRect(frame)
                bright: ColourRole = "good" if role == "good" else "bad"
                painter.setPen(QPen(colour(palette, bright).lighter(140), 2, style))
                painter.drawRect(frame)
        if cell.click is not None:
            x, y = place.left() + scale * cell.click[0], place.top() + scale * cell.click[1]
            for ink, width in ((QColor(0, 0, 0, 160), 5), (QColor(255, 255, 255), 2)):
                painter.setPen(QPen(ink, width))
                painter.drawEllipse(QRectF(x - 6, y - 6, 12, 12))
        painter.restore()


class ErrorsView(QWidget):
    open_asked = Signal(object)  # Path of a query

    def __init__(
        self,
        session: EvaluationSession,
        thumbnails: Thumbnails,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session, self._thumbnails = session, thumbnails
        self._shown: tuple[Path, ...] = ()  # one, or two of the same test
        self._start = self._total = 0
        self.rows = ErrorsModel(self)
        self.table = QTableView()
        self.order = QComboBox()
        self.order.setAccessibleName("Order of the errors")
        for words, order in ORDERS:
            self.order.addItem(words, order)
        self.kind = QComboBox()
        self.kind.setAccessibleName("Which errors")
        for words, who in KINDS:
            self.kind.addItem(words, who)
        self.kind.hide()
        self.before = _turn("Previous page", Qt.ArrowType.LeftArrow)
        self.after = _turn("Next page", Qt.ArrowType.RightArrow)
        self.where = QLabel()
        self.open = QPushButton(icon("located"), "Open in Locate")
        self.open.setToolTip("Locate the selected query with the checkpoint and gallery in use")
        self.waiting = AskedView("Reading the errors…")
        self._lay_out()
        self._join()

    def _lay_out(self) -> None:
        table = self.table
        table.setModel(self.rows)
        table.setItemDelegate(_PictureDelegate(self._thumbnails, table))
        table.setAccessibleName("Queries that were not found")
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        table.setShowGrid(False)
        table.setWordWrap(True)
        table.setTabKeyNavigation(False)
        table.setStyleSheet(ROOMY)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(THUMB + 2 * GAP)
        head = table.horizontalHeader()
        head.setHighlightSections(False)
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        head.setStretchLastSection(True)
        bar = QHBoxLayout()
        bar.setSpacing(GAP)
        bar.addWidget(self.kind)
        bar.addWidget(self.order)
        bar.addStretch()
        for widget in (self.before, self.where, self.after):
            bar.addWidget(widget)
        bar.addStretch()
        bar.addWidget(self.open)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.waiting)
        self.stack.addWidget(table)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, GAP, 0, 0)
        column.setSpacing(GAP)
        column.addLayout(bar)
        column.addWidget(self.stack, 1)

    def _join(self) -> None:
        self.order.currentIndexChanged.connect(lambda _: self._turn_to(0))
        self.kind.currentIndexChanged.connect(lambda _: self._turn_to(0))
        self.before.clicked.connect(lambda: self._turn_to(self._start - PAGE))
        self.after.clicked.connect(lambda: self._turn_to(self._start + PAGE))
        self.open.clicked.connect(self._on_open)
        self.table.activated.connect(self._on_open)
        self.table.selectionModel().selectionChanged.connect(lambda: self._enable())
        self.waiting.again.connect(lambda: self._ask(again=True))
        self._session.answered.connect(self._on_answered)
        self._thumbnails.changed.connect(lambda _: self.table.viewport().update())

    # --- showing ---

    def show_evaluations(self, entries: tuple[Evaluation, ...]) -> None:
        """Asks for the errors of the first, unless they are known.

        A second one of the same test tells apart what only one of them missed.
        """
        self._take(entries)
        self._ask()

    def show_only(self, entries: tuple[Evaluation, ...], missed: Path, found: Path) -> None:
        """What one of the first two evaluations missed and the other one got right."""
        self._take(entries)
        who = self._shown.index(missed), self._shown.index(found)
        self._choose_kind([of for _, of in KINDS].index(who))
        self._turn_to(0)

    def _take(self, entries: tuple[Evaluation, ...]) -> None:
        test = test_of(entries[0].result)
        shown = tuple(entry.folder for entry in entries[:2] if test_of(entry.result) == test)
        if shown != self._shown:
            self._shown, self._start = shown, 0
            self._thumbnails.forget()
            self.kind.setVisible(len(shown) > 1)
            self._choose_kind(0)

    def _choose_kind(self, row: int) -> None:
        """Without asking yet."""
        self.kind.blockSignals(True)
        self.kind.setCurrentIndex(row)
        self.kind.blockSignals(False)

    def _question(self) -> BrowseErrors | None:
        if not self._shown:
            return None
        missed, found = self.kind.currentData() if len(self._shown) > 1 else (0, None)
        return BrowseErrors(
            self._shown[missed],
            self.order.currentData(),
            self._start,
            PAGE,
            None if found is None else self._shown[found],
        )

    def _turn_to(self, start: int) -> None:
        self._start = max(0, start)
        self._thumbnails.forget()
        self._ask()

    def _ask(self, *, again: bool = False) -> None:
        if (question := self._question()) is not None:
            self._session.ask(question, again=again)
            self._show()

    def _on_answered(self, question: object) -> None:
        if question == self._question():
            self._show()

    def _show(self) -> None:
        question = self._question()
        asked = None if question is None else self._session.asked(question)
        page = None if asked is None else asked.answer
        if isinstance(page, ErrorsBrowsed):
            self._total = page.total
            if page.rows != self.rows.rows:
                self.rows.show_rows(page.rows)
                self.table.resizeColumnsToContents()  # once: it measures every cell
                self.table.scrollToTop()
                if page.rows:
                    self.table.selectRow(0)
            if page.total == 0 and question is not None and question.found_by is not None:
                self.waiting.say("There is no such query.", "Look at all that the first missed.")
            else:
                self.waiting.say("Every query was found.", "There are no errors to look at.")
            self.stack.setCurrentIndex(1 if page.total else 0)
        elif asked is not None:
            self._total = 0
            self.waiting.show_asked(asked)
            self.stack.setCurrentIndex(0)
        self._enable()

    def _enable(self) -> None:
        shown = self.stack.currentIndex() == 1
        last = min(self._start + PAGE, self._total)
        self.where.setText(f"{self._start + 1:,} – {last:,} of {self._total:,}" if shown else "")
        self.before.setEnabled(shown and self._start > 0)
        self.after.setEnabled(shown and last < self._total)
        self.open.setEnabled(shown and self._chosen() is not None)

    def _chosen(self) -> Path | None:
        rows = self.table.selectionModel().selectedRows()
        return self.rows.rows[rows[0].row()].query if rows else None

    def _on_open(self) -> None:
        if (query := self._chosen()) is not None:
            self.open_asked.emit(query)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.table.viewport().update()


def _turn(words: str, arrow: Qt.ArrowType) -> QToolButton:
    button = QToolButton()
    button.setArrowType(arrow)
    button.setAutoRaise(True)
    button.setToolTip(words)
    button.setAccessibleName(words)
    return button
