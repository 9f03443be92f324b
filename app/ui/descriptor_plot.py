"""Descriptors as points on a plane: pointed at, clicked, and selected with a box or a lasso."""

from typing import Literal

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QPointF, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPalette
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.ui.curves import dress_plot
from app.ui.descriptor_points import KINDS, Corner, Kind, Points, Rows
from app.ui.theme import ColourRole, colour

Tool = Literal["move", "box", "lasso"]
REACH_PX = 12.0
CLICK_PX = 4.0
LOOKS: dict[Kind, tuple[str, int, ColourRole]] = {  # shape, size, colour
    "gallery": ("s", 7, "subtle"),
    "found": ("o", 9, "good"),
    "missed": ("x", 11, "bad"),
}


class DescriptorPlot(QWidget):
    pointed = Signal(object)  # row | None
    clicked = Signal(int)  # row
    drawn = Signal(object, bool)  # rows within what was drawn; whether they are added

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.points: Points | None = None
        self.tool: Tool = "move"
        self.shown: set[Kind] = set(KINDS)
        self._marked: Rows = np.empty(0, np.int64)
        self._current: int | None = None
        self._outline: list[Corner] = []
        self._pressed: QPointF | None = None
        self.plot = pg.PlotWidget(enableMenu=False)
        self.plot.setAccessibleName("Map of descriptors")
        self.plot.hideButtons()
        for side in ("left", "bottom"):
            self.plot.getAxis(side).setStyle(showValues=False)
        self.clouds = {kind: pg.ScatterPlotItem() for kind in KINDS}
        self._rings, self._same = pg.ScatterPlotItem(), pg.ScatterPlotItem()
        self._one, self._line = pg.ScatterPlotItem(), pg.PlotCurveItem()
        for item in (*self.clouds.values(), self._rings, self._same, self._one, self._line):
            self.plot.addItem(item)
        self.plot.viewport().setMouseTracking(True)
        self.plot.viewport().installEventFilter(self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.plot)
        self._dress()

    # --- showing ---

    def show_points(self, points: Points | None) -> None:
        self.points = points
        self._marked, self._current = np.empty(0, np.int64), None
        self._draw()
        self.fit()

    def show_kinds(self, shown: set[Kind]) -> None:
        self.shown = shown
        for kind, cloud in self.clouds.items():
            cloud.setVisible(kind in shown)

    def mark(self, rows: Rows) -> None:
        self._marked = rows
        self._draw_marks()

    def look_at(self, row: int | None) -> None:
        """Rings this point, and those of its place thinly."""
        self._current = row
        self._draw_marks()

    def use(self, tool: Tool) -> None:
        self.tool = tool
        self.plot.viewport().setCursor(
            Qt.CursorShape.ArrowCursor if tool == "move" else Qt.CursorShape.CrossCursor
        )

    def fit(self) -> None:
        self.plot.getPlotItem().vb.autoRange(padding=0.04)

    def _draw(self) -> None:
        points = self.points
        for kind, cloud in self.clouds.items():
            symbol, size, role = LOOKS[kind]
            ink = colour(self.palette(), role)
            rows = np.empty(0, np.int64) if points is None else points.of_kind(kind)
            hollow = kind == "gallery"
            cloud.setData(
                x=[] if points is None else points.x[rows],
                y=[] if points is None else points.y[rows],
                symbol=symbol,
                size=size,
                pen=pg.mkPen(ink, width=1) if hollow else pg.mkPen(None),
                brush=pg.mkBrush(None) if hollow else pg.mkBrush(ink),
            )
        self._draw_marks()

    def _draw_marks(self) -> None:
        points, palette = self.points, self.palette()
        none = np.empty(0, np.int64)
        current = none if self._current is None else np.array([self._current])
        same = none
        if points is not None and self._current is not None:
            same = points.of_place(self._current)
        accent, text = colour(palette, "accent"), colour(palette, "text")
        for item, rows, size, ink, width in (
            (self._rings, self._marked, 14, accent, 1.5),
            (self._same, same, 20, text, 1),
            (self._one, current, 20, text, 3),
        ):
            item.setData(
                x=[] if points is None else points.x[rows],
                y=[] if points is None else points.y[rows],
                symbol="o",
                size=size,
                pen=pg.mkPen(ink, width=width),
                brush=pg.mkBrush(None),
            )

    def _dress(self) -> None:
        dress_plot(self.plot, self.palette())
        accent = self.palette().color(QPalette.ColorRole.Highlight)
        self._line.setPen(pg.mkPen(accent, width=2, style=Qt.PenStyle.DashLine))
        self._draw()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._dress()

    # --- pointing ---

    def place_of(self, at: QPointF) -> Corner:
        """The plane's point under a pixel of the viewport."""
        scene = self.plot.mapToScene(at.toPoint())
        place = self.plot.getPlotItem().vb.mapSceneToView(scene)
        return Corner(float(place.x()), float(place.y()))

    def row_at(self, at: QPointF) -> int | None:
        if self.points is None:
            return None
        here = self.place_of(at)
        there = self.place_of(at + QPointF(REACH_PX, REACH_PX))
        reach = Corner(abs(there.x - here.x) or 1.0, abs(there.y - here.y) or 1.0)
        return self.points.nearest(here, reach, self.shown)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Leave:
            self.pointed.emit(None)
        if not isinstance(event, QMouseEvent):
            return super().eventFilter(watched, event)
        taken = False
        match event.type():
            case QEvent.Type.MouseButtonPress if event.button() == Qt.MouseButton.LeftButton:
                taken = self._on_pressed(event)
            case QEvent.Type.MouseMove:
                taken = self._on_moved(event)
            case QEvent.Type.MouseButtonRelease if event.button() == Qt.MouseButton.LeftButton:
                taken = self._on_released(event)
            case _:
                pass
        return taken or super().eventFilter(watched, event)

    def _on_pressed(self, event: QMouseEvent) -> bool:
        self._pressed = event.position()
        self._outline = [self.place_of(event.position())]
        return self.tool != "move"

    def _on_moved(self, event: QMouseEvent) -> bool:
        if self._pressed is None:
            self.pointed.emit(self.row_at(event.position()))
            return False
        if self.tool == "move":
            return False
        here = self.place_of(event.position())
        if self.tool == "lasso":
            self._outline.append(here)
        else:
            a = self._outline[0]
            self._outline = [a, Corner(here.x, a.y), here, Corner(a.x, here.y)]
        closed = [*self._outline, self._outline[0]]
        self._line.setData(x=[c.x for c in closed], y=[c.y for c in closed])
        return True

    def _on_released(self, event: QMouseEvent) -> bool:
        if self._pressed is None:
            return False
        moved = (event.position() - self._pressed).manhattanLength()
        outline, self._pressed, self._outline = self._outline, None, []
        self._line.setData(x=[], y=[])
        if moved <= CLICK_PX:
            if (row := self.row_at(event.position())) is not None:
                self.clicked.emit(row)
        elif self.tool != "move" and self.points is not None:
            adds = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self.drawn.emit(self.points.within(outline, self.shown), adds)
        return self.tool != "move"
