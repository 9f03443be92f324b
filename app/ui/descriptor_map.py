"""The map of descriptors: the plane, what is selected on it, and the pictures behind the points."""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPen, QPixmap, QPolygonF
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.messages import Project, Projected
from app.ui.asked_view import AskedView
from app.ui.descriptor_plot import LOOKS, DescriptorPlot, Tool
from app.ui.descriptor_points import KINDS, Kind, Points, Rows
from app.ui.elided import ElidedLabel
from app.ui.evaluation_folders import Evaluation
from app.ui.evaluation_session import EvaluationSession
from app.ui.picture_grid import Item, PictureGrid
from app.ui.theme import GAP, ColourRole, colour, icon
from app.ui.thumbnails import SIDE_PX, Thumbnails, draw_thumbnail

METHODS: tuple[tuple[str, Literal["pca", "tsne"]], ...] = (
    ("Main axes (PCA)", "pca"),
    ("Neighbours (t-SNE)", "tsne"),
)
TOOLS: tuple[tuple[Tool, str, str], ...] = (
    ("move", "Move", "Drag moves the map, the wheel zooms"),
    ("box", "Box", "Drag a box round the points to select; Shift adds to what is selected"),
    ("lasso", "Lasso", "Draw round the points to select; Shift adds to what is selected"),
)
WORDS: dict[Kind, str] = {"gallery": "Gallery", "found": "Found", "missed": "Not found"}
SIGNS: dict[Kind, tuple[str, ColourRole]] = {
    "gallery": ("gallery", "subtle"),
    "found": ("check", "good"),
    "missed": ("cancel", "bad"),
}
MOST_LISTED = 500


class PictureCard(QWidget):
    """The picture of one point, as large as its small copy is."""

    def __init__(self, thumbnails: Thumbnails, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._thumbnails = thumbnails
        self.picture: Path | None = None
        self.setMinimumSize(160, 160)
        self.setMaximumHeight(SIDE_PX)
        thumbnails.changed.connect(self._on_changed)

    def sizeHint(self) -> QSize:
        return QSize(SIDE_PX, SIDE_PX)

    def show_picture(self, picture: Path | None, words: str) -> None:
        self.picture = picture
        self.setAccessibleName(words)
        self.update()

    def _on_changed(self, pictures: tuple[Path, ...]) -> None:
        if self.picture in pictures:
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        box = QRectF(self.rect())
        if self.picture is not None:
            draw_thumbnail(painter, box, self._thumbnails, self.picture, self.palette())
            return
        painter.setPen(colour(self.palette(), "subtle"))
        how = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        painter.drawText(box, int(how), "Point at the map:\nthe picture appears here.")


class DescriptorMap(QWidget):
    open_asked = Signal(object)  # Path of a query

    def __init__(
        self,
        session: EvaluationSession,
        thumbnails: Thumbnails,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session, self._thumbnails = session, thumbnails
        self._entry: Evaluation | None = None
        self._listed: Rows = np.empty(0, np.int64)
        self._fixed: int | None = None  # the point that was clicked, or chosen in the list
        self.plot = DescriptorPlot()
        self.methods = QComboBox()
        self.methods.setAccessibleName("How descriptors are drawn")
        for words, method in METHODS:
            self.methods.addItem(words, method)
        self.tools: dict[Tool, QToolButton] = {}
        self.kinds = {kind: QCheckBox(WORDS[kind]) for kind in KINDS}
        self.note = ElidedLabel()
        self.note.setProperty("small", True)
        self.card = PictureCard(thumbnails)
        self.name, self.about = ElidedLabel(), QLabel()
        self.about.setTextFormat(Qt.TextFormat.PlainText)
        self.about.setMinimumHeight(2 * self.fontMetrics().lineSpacing())
        self.about.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.about.setProperty("small", True)
        self.open = QPushButton(icon("located"), "Open in Locate")
        self.grid = PictureGrid("Selected pictures", thumbnails)
        self.count = QLabel()
        self.missed = QPushButton("Select not found")
        self.waiting = AskedView("Drawing the map…")
        self.stack = QStackedWidget()
        self._lay_out()
        self._join()
        self._look_at(None)
        self._list(np.empty(0, np.int64))
        self._draw_signs()

    # --- layout ---

    def _lay_out(self) -> None:
        bar = QHBoxLayout()
        bar.setSpacing(GAP)
        bar.addWidget(self.methods)
        bar.addLayout(self._tool_buttons())
        fit = QToolButton()
        fit.setIcon(icon("fit"))
        fit.setAutoRaise(True)
        fit.setToolTip("Show all points")
        fit.setAccessibleName("Show all points")
        fit.clicked.connect(self.plot.fit)
        bar.addWidget(fit)
        bar.addStretch()
        for box in self.kinds.values():
            box.setChecked(True)
            bar.addWidget(box)
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP // 2)
        column.addWidget(self.plot, 1)
        column.addWidget(self.note)
        self.split = QSplitter(Qt.Orientation.Horizontal)
        self.split.setChildrenCollapsible(False)
        self.split.addWidget(left)
        self.split.addWidget(self._beside())
        self.split.setStretchFactor(0, 1)
        self.split.setSizes([600, 240])
        self.stack.addWidget(self.waiting)
        self.stack.addWidget(self.split)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, GAP, 0, 0)
        whole.setSpacing(GAP)
        whole.addLayout(bar)
        whole.addWidget(self.stack, 1)

    def _tool_buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(0)
        group = QButtonGroup(self)
        for tool, words, tip in TOOLS:
            button = QToolButton()
            button.setText(words)
            button.setToolTip(tip)
            button.setCheckable(True)
            button.setChecked(tool == "move")
            button.setProperty("segment", True)
            button.clicked.connect(partial(self.plot.use, tool))
            group.addButton(button)
            self.tools[tool] = button
            row.addWidget(button)
        return row

    def _beside(self) -> QWidget:
        side = QWidget()
        side.setMinimumWidth(220)
        column = QVBoxLayout(side)
        column.setContentsMargins(GAP, 0, 0, 0)
        column.setSpacing(GAP // 2)
        for widget in (self.card, self.name, self.about, self.open):
            column.addWidget(widget)
        head = QHBoxLayout()
        head.addWidget(self.count, 1)
        head.addWidget(self.missed)
        column.addSpacing(GAP)
        column.addLayout(head)
        column.addWidget(self.grid, 1)
        return side

    def _join(self) -> None:
        self.methods.currentIndexChanged.connect(lambda _: self._ask())
        for box in self.kinds.values():
            box.toggled.connect(lambda _: self.plot.show_kinds(self._kinds()))
        self.plot.pointed.connect(self._on_pointed)
        self.plot.clicked.connect(self._fix)
        self.plot.drawn.connect(self._on_drawn)
        self.grid.looked_at.connect(lambda row: self._fix(int(self._listed[row])))
        self.grid.opened.connect(lambda _: self._on_open())
        self.missed.clicked.connect(self._on_missed)
        self.open.clicked.connect(self._on_open)
        self.waiting.again.connect(lambda: self._ask(again=True))
        self._session.answered.connect(self._on_answered)

    # --- asking ---

    def show_evaluation(self, entry: Evaluation) -> None:
        """Asks for the map, unless it is known."""
        self._entry = entry
        self._ask()

    def _question(self) -> Project | None:
        if self._entry is None or self._entry.result.task == "object":
            return None
        return Project(self._entry.folder, self.methods.currentData())

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
        projected = None if asked is None else asked.answer
        if isinstance(projected, Projected):
            self._show_points(projected)
        elif asked is not None:
            self.waiting.show_asked(asked)
        elif self._entry is not None:
            self.waiting.say(
                "There is no map of clicked objects",
                "Their networks compare a click with places in a picture, not descriptors.",
            )
        self.stack.setCurrentIndex(1 if isinstance(projected, Projected) else 0)
        for kind, box in self.kinds.items():
            count = self._count(kind) if isinstance(projected, Projected) else ""
            box.setText(WORDS[kind] + count)

    def _count(self, kind: Kind) -> str:
        points = self.plot.points
        return "" if points is None else f" ({len(points.of_kind(kind)):,})"

    def _show_points(self, projected: Projected) -> None:
        points = self.plot.points
        if points is not None and points.projection is projected.projection:
            return
        fresh = Points(projected.projection)
        self.plot.show_points(fresh)
        note = projected.projection.note
        self.note.setText(f"The map {note}." if note else "")
        self._fixed = None
        self._look_at(None)
        self._list(np.empty(0, np.int64))

    # --- looking and selecting ---

    def _kinds(self) -> set[Kind]:
        return {kind for kind, box in self.kinds.items() if box.isChecked()}

    def _on_pointed(self, row: int | None) -> None:
        self._look_at(self._fixed if row is None else row)

    def _fix(self, row: int) -> None:
        self._fixed = row
        self._look_at(row)

    def _look_at(self, row: int | None) -> None:
        points = self.plot.points
        self.plot.look_at(row)
        picture, words = None, ""
        if points is not None and row is not None:
            picture, words = Path(points.projection.picture[row]), points.words(row)
        self.card.show_picture(picture, words)
        self.name.setText("" if picture is None else picture.name)
        self.name.setToolTip("" if picture is None else str(picture))
        self.about.setText(words)
        self.open.setEnabled(self._query() is not None)

    def _query(self) -> Path | None:
        """The picture that was chosen, if it is a query."""
        points, row = self.plot.points, self._fixed
        if points is None or row is None or points.projection.side[row] != "query":
            return None
        return Path(points.projection.picture[row])

    def _on_open(self) -> None:
        if (query := self._query()) is not None:
            self.open_asked.emit(query)

    def _on_drawn(self, rows: Rows, adds: bool) -> None:
        self._list(np.union1d(self._listed, rows) if adds else rows)

    def _on_missed(self) -> None:
        if self.plot.points is not None:
            self._list(self.plot.points.of_kind("missed"))

    def _list(self, rows: Rows) -> None:
        """Those not found first: they are what one looks for."""
        points = self.plot.points
        if points is not None:
            missed = np.isin(rows, points.of_kind("missed"))
            rows = np.concatenate([rows[missed], rows[~missed]])
            self.grid.show_items(tuple(_item(points, int(r)) for r in rows[:MOST_LISTED]))
        self._listed = rows
        self.plot.mark(rows)
        listed = f", {MOST_LISTED:,} listed" if len(rows) > MOST_LISTED else ""
        self.count.setText(f"{len(rows):,} selected{listed}" if len(rows) else "None selected")

    # --- looks ---

    def _draw_signs(self) -> None:
        """The legend: each kind's shape in its colour."""
        for kind, box in self.kinds.items():
            box.setIcon(_shape(kind, self))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._draw_signs()


def _item(points: Points, row: int) -> Item:
    return Item(Path(points.projection.picture[row]), points.words(row), *SIGNS[points.kind(row)])


def _shape(kind: Kind, of: QWidget) -> QPixmap:
    symbol, _, role = LOOKS[kind]
    ratio = of.devicePixelRatioF()
    picture = QPixmap(round(14 * ratio), round(14 * ratio))
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    ink = colour(of.palette(), role)
    if symbol == "s":
        painter.setPen(QPen(ink, 1.5))
        painter.drawRect(QRectF(3, 3, 8, 8))
    elif symbol == "o":
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(ink)
        painter.drawEllipse(QRectF(2, 2, 10, 10))
    else:
        painter.setPen(QPen(ink, 3))
        for start, end in (((3, 3), (11, 11)), ((3, 11), (11, 3))):
            painter.drawPolyline(QPolygonF([QPointF(*start), QPointF(*end)]))
    painter.end()
    return picture
