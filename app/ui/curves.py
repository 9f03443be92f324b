"""Curves of runs over epochs: loss, learning rate, recall, throughput, memory; several overlaid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, Qt, Slot
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QLabel, QSlider, QWidget

from app.messages import EpochDone
from app.ui.theme import GAP, colours, is_dark
from app.ui.training_session import RunDetail

# Distinct for most eyes (Okabe and Ito), darkened for light backgrounds where they are pale.
_ON_LIGHT = ("#0a62bd", "#c04f00", "#00795a", "#a8437c", "#7a6a00", "#3a7ca5")
_ON_DARK = ("#58a6f5", "#f0934a", "#3fc9a0", "#e38bbd", "#e6d25c", "#8fd3f4")


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of one plot."""

    x: tuple[float, ...]  # epochs, with their fraction
    y: tuple[float, ...]
    points: bool = False  # few values, each worth seeing


@dataclass(frozen=True, slots=True)
class Plot:
    key: str
    title: str
    unit: str = ""
    can_be_log: bool = False
    from_zero: bool = False


PLOTS = (
    Plot("loss", "Loss", can_be_log=True),
    Plot("score", "Held-out score", from_zero=True),
    Plot("lr", "Learning rate", from_zero=True),
    Plot("speed", "Pictures a second", from_zero=True),
    Plot("memory", "Memory", "MB", from_zero=True),
)


def line_colour(palette: QPalette, row: int) -> QColor:
    """Of the n-th of several things that are drawn into one plot."""
    chosen = _ON_DARK if is_dark(palette) else _ON_LIGHT
    return QColor(chosen[row % len(chosen)])


def dress_plot(plot: pg.PlotWidget, palette: QPalette) -> None:
    """Colours of the theme for a plot's ground, axes and grid."""
    c = colours(palette)
    plot.setBackground(c.base)
    for side in ("left", "bottom"):
        axis = plot.getAxis(side)
        axis.setPen(c.border)
        axis.setTextPen(c.subtle)
    plot.showGrid(x=True, y=True, alpha=0.15)


def curves_of(detail: RunDetail) -> dict[str, Curve]:
    """The curves by plot. Live points where there are some, else a point an epoch."""
    steps, epochs = detail.steps, detail.epochs
    x = tuple(s.epoch for s in steps)
    ends = tuple(float(e.epoch + 1) for e in epochs)
    if steps:
        found = {
            "loss": Curve(x, tuple(s.loss for s in steps)),
            "lr": Curve(x, tuple(s.lr for s in steps)),
            "speed": Curve(x, tuple(s.images_per_s for s in steps)),
            "memory": Curve(x, tuple(s.memory_mb for s in steps)),
        }
    else:
        found = {
            "loss": Curve(ends, tuple(e.loss for e in epochs), points=True),
            "lr": Curve(ends, tuple(e.lr for e in epochs), points=True),
            "speed": Curve(ends, tuple(e.images_per_s for e in epochs), points=True),
            "memory": Curve(ends, tuple(e.memory_mb for e in epochs), points=True),
        }
    scored = [(end, score) for end, e in zip(ends, epochs, strict=True) if (score := _score(e))]
    found["score"] = Curve(
        tuple(end for end, _ in scored), tuple(value for _, (_, value) in scored), points=True
    )
    return found


def score_name(epochs: Sequence[EpochDone]) -> str:
    """Which figure the held-out score is: the first that was measured."""
    return next((score[0] for e in epochs if (score := _score(e))), "")


def _score(epoch: EpochDone) -> tuple[str, float] | None:
    for name in ("R@1", "accu@0.5", "mean IoU"):
        if name in epoch.metrics:
            return name, epoch.metrics[name]
    return None if epoch.recall_at_1 is None else ("R@1", epoch.recall_at_1)


def smoothed(values: Sequence[float], amount: float) -> tuple[float, ...]:
    """Exponential average that starts unbiased; ``amount`` 0 leaves the values, below 1."""
    result, total, weight = [], 0.0, 0.0
    for value in values:
        total = amount * total + (1 - amount) * value
        weight = amount * weight + (1 - amount)
        result.append(total / weight)
    return tuple(result)


class CurvesView(QWidget):
    """The plots share their x axis: epochs from the start to the longest run's end."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._details: tuple[RunDetail, ...] = ()
        self.smoothing = QSlider(Qt.Orientation.Horizontal)
        self.smoothing.setRange(0, 99)
        self.smoothing.setValue(60)
        self.smoothing.setMaximumWidth(160)
        self.smoothing.setAccessibleName("Smoothing of the live curves")
        self.log = QCheckBox("Loss on a logarithmic scale")
        bar = QHBoxLayout()
        bar.addWidget(QLabel("Smoothing"))
        bar.addWidget(self.smoothing)
        bar.addSpacing(2 * GAP)
        bar.addWidget(self.log)
        bar.addStretch()
        self.plots = {plot.key: pg.PlotWidget() for plot in PLOTS}
        grid = QGridLayout(self)
        grid.setContentsMargins(GAP, GAP, GAP, GAP)
        grid.setSpacing(GAP)
        grid.addLayout(bar, 0, 0, 1, 6)
        for place, plot in enumerate(PLOTS):
            widget = self.plots[plot.key]
            widget.setAccessibleName(f"Curve: {plot.title}")
            widget.setMenuEnabled(False)
            widget.hideButtons()
            widget.setMinimumHeight(120)
            if place < 2:
                grid.addWidget(widget, 1, 3 * place, 1, 3)
            else:
                grid.addWidget(widget, 2, 2 * (place - 2), 1, 2)
            if place >= 2:
                widget.setLabel("bottom", "epoch")
        grid.setRowStretch(1, 3)
        grid.setRowStretch(2, 2)
        self.smoothing.valueChanged.connect(self._draw)
        self.log.toggled.connect(self._draw)
        self._dress()

    def show_runs(self, details: tuple[RunDetail, ...]) -> None:
        if details != self._details:
            self._details = details
            self._draw()

    def colour_of(self, row: int) -> QColor:
        """Of the run in this place, for a legend elsewhere."""
        return line_colour(self.palette(), row)

    @Slot()
    def _draw(self) -> None:
        drawn = [curves_of(detail) for detail in self._details]
        last = max((c.x[-1] for curves in drawn for c in curves.values() if c.x), default=1.0)
        for plot in PLOTS:
            widget = self.plots[plot.key]
            widget.clear()
            widget.setLogMode(y=plot.can_be_log and self.log.isChecked())
            for row, curves in reversed(list(enumerate(drawn))):
                self._draw_curve(widget, plot, curves[plot.key], row)
            widget.setXRange(0, last, padding=0.02)
            highest = max((max(c[plot.key].y, default=0.0) for c in drawn), default=0.0)
            if plot.from_zero and highest > 0:  # a constant would else show its rounding errors
                widget.setYRange(0, 1.05 * highest, padding=0)
            else:
                widget.enableAutoRange(axis="y")
            unit = f" ({plot.unit})" if plot.unit else ""
            name = score_name(self._details[0].epochs) if self._details else ""
            title = f"{plot.title}: {name}" if plot.key == "score" and name else plot.title + unit
            widget.setTitle(title, color=colours(self.palette()).text, size="9pt")

    def _draw_curve(self, widget: pg.PlotWidget, plot: Plot, curve: Curve, row: int) -> None:
        if not curve.x:
            return
        ink = self.colour_of(row)
        amount = 0.0 if curve.points or plot.key == "lr" else self.smoothing.value() / 100
        x, y = np.array(curve.x), np.array(curve.y)
        if amount and len(y) > 2:
            faint = QColor(ink)
            faint.setAlpha(60)
            widget.plot(x, y, pen=pg.mkPen(faint, width=1))
            y = np.array(smoothed(curve.y, amount))
        widget.plot(
            x,
            y,
            pen=pg.mkPen(ink, width=2),
            symbol="o" if curve.points else None,
            symbolSize=5,
            symbolBrush=ink,
            symbolPen=None,
        )

    def _dress(self) -> None:
        for widget in self.plots.values():
            dress_plot(widget, self.palette())
        self._draw()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._dress()
