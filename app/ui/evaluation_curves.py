"""Curves of evaluations laid over each other, and whether their probabilities hold."""

import math
from bisect import bisect_right

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QPointF, Qt, QTimer, Slot
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app.results import Curve, Reliability
from app.ui.curves import dress_plot, line_colour
from app.ui.evaluation_folders import Evaluation
from app.ui.evaluation_tables import labels
from app.ui.theme import GAP, colours

TITLES = {
    "recall": ("Recall", "best K candidates", "found within the best {x:.0f}"),
    "within metres": ("Within metres", "metres from the truth", "best candidate within {x:.3g} m"),
    "accuracy": (
        "Accuracy",
        "overlap that counts as found (IoU)",
        "found at an overlap of {x:.2f}",
    ),
}
TITLES_IN_ORDER = tuple(TITLES)
LOGARITHMIC = ("recall", "within metres")
MOST_DECADES = 2.6  # on which 2 and 5 have room for words
DASHES = (
    Qt.PenStyle.SolidLine,
    Qt.PenStyle.DashLine,
    Qt.PenStyle.DotLine,
    Qt.PenStyle.DashDotLine,
    Qt.PenStyle.DashDotDotLine,
    Qt.PenStyle.SolidLine,
)


def value_at(curve: Curve, x: float) -> float | None:
    """The share that holds up to ``x``; None before the curve begins."""
    place = bisect_right(curve.x, x) - 1
    return None if place < 0 else curve.y[place]


def logarithmic_ticks(low: float, high: float) -> list[list[tuple[float, str]]]:
    """Labelled ones, then those without words; places are decimal logarithms."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) <= MOST_DECADES else (1,)
    labelled = [(math.log10(m * 10**d), f"{m * 10.0**d:,g}") for d in decades for m in steps]
    plain = [(math.log10(m * 10**d), "") for d in decades for m in range(1, 10)]
    return [labelled, plain]


class CurvePlot(QWidget):
    """One curve of each evaluation; what it says where the pointer is stands below."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = name
        self._title, x_title, self._words = TITLES.get(name, (name, "", "{x:.3g}"))
        self._curves: tuple[tuple[str, int, Curve], ...] = ()
        self.plot = pg.PlotWidget(enableMenu=False)
        self.plot.setAccessibleName(f"Curve: {self._title}")
        self.plot.hideButtons()
        self.plot.setMinimumHeight(180)
        self.plot.setLabel("bottom", x_title)
        self.plot.getAxis("bottom").enableAutoSIPrefix(False)
        self.plot.setLabel("left", "share of queries, %")
        self.plot.setLogMode(x=name in LOGARITHMIC)
        self.plot.setYRange(0, 100, padding=0.02)
        self.plot.setLimits(yMin=-2, yMax=102)
        self.plot.viewport().setMouseTracking(True)
        self.plot.viewport().installEventFilter(self)
        self.pointer = pg.InfiniteLine(angle=90, movable=False)
        self.said = QLabel()
        self.said.setTextFormat(Qt.TextFormat.PlainText)
        self.said.setWordWrap(True)
        self.said.setProperty("small", True)
        self.said.setMinimumHeight(2 * self.fontMetrics().lineSpacing())
        self.said.setAlignment(Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP // 2)
        column.addWidget(self.plot, 1)
        column.addWidget(self.said)
        self._dress()

    def show_curves(self, curves: tuple[tuple[str, int, Curve], ...]) -> None:
        """Name, place among the selected evaluations, curve."""
        self._curves = curves
        self._draw()

    def _draw(self) -> None:
        curves = self._curves
        self.plot.clear()
        if not curves:
            return
        for _, row, curve in reversed(curves):
            ink = line_colour(self.palette(), row)
            few = len(curve.x) < 30
            self.plot.plot(
                np.array(curve.x, float),
                100 * np.array(curve.y, float),
                pen=pg.mkPen(ink, width=2, style=DASHES[row % len(DASHES)]),
                symbol="o" if few else None,
                symbolSize=5,
                symbolBrush=ink,
                symbolPen=None,
            )
        if self.name in LOGARITHMIC:
            low = min(curve.x[0] for _, _, curve in curves)
            high = max(curve.x[-1] for _, _, curve in curves)
            self.plot.getAxis("bottom").setTicks(logarithmic_ticks(low, max(high, 2 * low)))
        self.pointer.hide()
        self.plot.addItem(self.pointer, ignoreBounds=True)
        self.plot.enableAutoRange(axis="x")
        text = colours(self.palette()).text
        self.plot.setTitle(self._title, color=text, size="9pt")
        self.said.setText("")

    def _dress(self) -> None:
        dress_plot(self.plot, self.palette())
        self.pointer.setPen(pg.mkPen(colours(self.palette()).subtle, width=1))
        self._draw()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._dress()

    def say_at(self, x: float) -> None:
        """What each curve says there."""
        told = [(name, value_at(curve, x)) for name, _, curve in self._curves]
        shares = [(name, "–" if y is None else f"{y:.1%}") for name, y in told]
        single = len(shares) == 1
        said = "; ".join(share if single else f"{name} {share}" for name, share in shares)
        words = self._words.format(x=x)
        self.said.setText(f"{words[:1].upper()}{words[1:]}: {said}")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QMouseEvent) and event.type() == QEvent.Type.MouseMove:
            self._on_moved(event.position())
        elif event.type() == QEvent.Type.Leave:
            self.pointer.hide()
            self.said.setText("")
        return super().eventFilter(watched, event)

    def _on_moved(self, place: QPointF) -> None:
        box = self.plot.getPlotItem().vb
        scene = self.plot.mapToScene(place.toPoint())
        inside = box.sceneBoundingRect().contains(scene)
        self.pointer.setVisible(inside and bool(self._curves))
        if inside and self._curves:
            x = float(box.mapSceneToView(scene).x())
            self.pointer.setPos(x)
            true = 10**x if self.name in LOGARITHMIC else x
            self.say_at(max(1.0, round(true)) if self.name == "recall" else true)


class EvaluationCurves(QWidget):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: tuple[Evaluation, ...] = ()
        self._missing: list[str] = []  # plots to be made
        self.plots: dict[str, CurvePlot] = {}  # each is made when there is something to show
        self.empty = QLabel("There are no curves of what is selected.")
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setProperty("small", True)
        row = self._row = QHBoxLayout(self)
        row.setContentsMargins(0, GAP, 0, 0)
        row.setSpacing(GAP)
        row.addWidget(self.empty, 1)

    def show_evaluations(self, shown: tuple[Evaluation, ...]) -> None:
        if shown != self._shown:
            self._shown = shown
            self._draw()

    def _draw(self) -> None:
        for name, plot in self.plots.items():
            curves = self._curves(name)
            plot.setVisible(bool(curves))
            if curves:
                plot.show_curves(curves)
        self._missing = [n for n in TITLES if n not in self.plots and self._curves(n)]
        self.empty.setVisible(not any(self._curves(name) for name in TITLES))
        QTimer.singleShot(0, self, self._make_next)

    @Slot()
    def _make_next(self) -> None:
        """One plot at a time: each takes a while to make, and the window is not to stand still."""
        if self._missing:
            name = self._missing.pop(0)
            plot = self._plot(name)
            plot.show_curves(self._curves(name))
            plot.show()
            QTimer.singleShot(0, self, self._make_next)

    def _curves(self, name: str) -> tuple[tuple[str, int, Curve], ...]:
        names = labels(self._shown) if self._shown else ()
        return tuple(
            (label, row, curve)
            for row, (label, entry) in enumerate(zip(names, self._shown, strict=True))
            for curve in entry.result.curves
            if curve.name == name and curve.x
        )

    def _plot(self, name: str) -> CurvePlot:
        if name not in self.plots:
            plot = self.plots[name] = CurvePlot(name)
            before = sum(TITLES_IN_ORDER.index(n) < TITLES_IN_ORDER.index(name) for n in self.plots)
            self._row.insertWidget(before, plot, 1)
        return self.plots[name]


# --- probabilities -----------------------------------------------------------


def reliability_words(trust: Reliability) -> str:
    """What the diagram shows, in one sentence or three."""
    lean = sum(b.count * (b.probability - b.right) for b in trust.bins) / max(1, trust.queries)
    if abs(lean) < 0.02:
        sense = "On average the probabilities are right."
    elif lean > 0:
        sense = f"On average the probabilities are {100 * lean:.1f} points too high."
    else:
        sense = f"On average the probabilities are {-100 * lean:.1f} points too low."
    return (
        f"Expected calibration error {trust.ece:.1%} over {trust.queries:,} queries. {sense} "
        f"Temperature {trust.temperature:.4f}, {trust.source}."
    )


class ReliabilityView(QWidget):
    """A bar for each range of probabilities: how many of its queries were right, and how many."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._trust: Reliability | None = None
        self.plot, self.counts = (pg.PlotWidget(enableMenu=False) for _ in range(2))
        for plot, name, left in (
            (self.plot, "Reliability diagram", "right, % of the queries"),
            (self.counts, "Queries by probability", "queries"),
        ):
            plot.setAccessibleName(name)
            plot.hideButtons()
            plot.setMouseEnabled(x=False, y=False)
            plot.setXRange(0, 100, padding=0.02)
            plot.setLabel("left", left)
            plot.getAxis("left").setWidth(60)
        self.plot.setYRange(0, 100, padding=0.02)
        self.counts.setLabel("bottom", "probability that was given, %")
        self.counts.setMaximumHeight(170)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.legend = QLabel(
            "Bars and diamonds: the share that was right; a diamond stands at the mean probability "
            "that was given. Dashed line: where probabilities mean what they say."
        )
        self.legend.setProperty("small", True)
        self.legend.setWordWrap(True)
        self.empty = QLabel()
        self.empty.setWordWrap(True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setProperty("small", True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, GAP, 0, 0)
        column.setSpacing(GAP)
        column.addWidget(self.words)
        column.addWidget(self.legend)
        column.addWidget(self.plot, 3)
        column.addWidget(self.counts, 1)
        column.addWidget(self.empty, 1)
        self._dress()

    def show_evaluation(self, entry: Evaluation) -> None:
        self._trust = entry.result.reliability
        self._draw()

    def _draw(self) -> None:
        trust = self._trust
        for widget in (self.plot, self.counts, self.words, self.legend):
            widget.setVisible(trust is not None)
        self.empty.setVisible(trust is None)
        self.empty.setText(
            "Probabilities are judged where each query has one right picture. This test is not "
            "of that kind, or its queries were too few."
        )
        if trust is None:
            return
        self.words.setText(reliability_words(trust))
        c = colours(self.palette())
        self.plot.clear()
        self.counts.clear()
        middle = [50 * (b.low + b.high) for b in trust.bins]
        width = [92 * (b.high - b.low) for b in trust.bins]
        right = [100 * b.right for b in trust.bins]
        self.plot.addItem(
            pg.BarGraphItem(x=middle, height=right, width=width, brush=c.accent, pen=c.base)
        )
        self.plot.plot(
            [0, 100], [0, 100], pen=pg.mkPen(c.text, width=1, style=Qt.PenStyle.DashLine)
        )
        given = [100 * b.probability for b in trust.bins]
        self.plot.plot(
            given, right, pen=None, symbol="d", symbolSize=9, symbolBrush=c.base, symbolPen=c.text
        )
        self.counts.setYRange(0, 1.1 * max((b.count for b in trust.bins), default=1), padding=0)
        self.counts.addItem(
            pg.BarGraphItem(
                x=middle, height=[b.count for b in trust.bins], width=width, brush=c.subtle,
                pen=c.base,
            )
        )  # fmt: skip

    def _dress(self) -> None:
        for plot in (self.plot, self.counts):
            dress_plot(plot, self.palette())
        self._draw()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._dress()
