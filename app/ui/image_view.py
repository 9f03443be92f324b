"""One picture with zoom and pan, a heatmap over it, a colour bar and where north is."""

from dataclasses import dataclass
from typing import Literal, Protocol

from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QColor,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui.ramp import ramp_gradient
from app.ui.theme import GAP, colours

MAX_ZOOM = 32.0
WHEEL_STEP = 1.0015  # zoom for each eighth of a degree that the wheel turned
PLATE = QColor(0, 0, 0, 150)  # behind what is written on a picture, so that it reads on any
INK = QColor(255, 255, 255)
WINDS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")


@dataclass(frozen=True, slots=True)
class Compass:
    """Where north is in a picture: above its top, along its columns, or only in words."""

    kind: Literal["top", "columns", "words"]
    heading_deg: float  # of the picture's top, or of its centre column


@dataclass(frozen=True, slots=True)
class Scale:
    """What the ends of the colour bar stand for."""

    low: float
    high: float


class Layer(Protocol):
    """Drawn over a picture; it may take the mouse and the keys before the view does."""

    @property
    def cursor(self) -> Qt.CursorShape | None: ...
    def paint(self, painter: QPainter) -> None: ...
    def press(self, event: QMouseEvent) -> bool: ...
    def drag(self, event: QMouseEvent) -> bool: ...
    def release(self, event: QMouseEvent) -> None: ...
    def key(self, event: QKeyEvent) -> bool: ...
    def takes_key(self, event: QKeyEvent) -> bool: ...


def wind(heading_deg: float) -> str:
    """The nearest of eight winds."""
    return WINDS[round(heading_deg / 45) % 8]


class ImageView(QWidget):
    """``zoomed`` tells screen pixels per picture pixel after each change."""

    zoomed = Signal(float)

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._name = name
        self._image: QImage | None = None
        self._halves: list[QImage] = []  # the picture at 1/2, 1/4...: smooth when small
        self._overlay: QImage | None = None
        self._opacity = 0.5
        self._scale: Scale | None = None
        self._compass: Compass | None = None
        self._message = ""
        self._zoom: float | None = None  # logical pixels per picture pixel; None: fit
        self._centre = QPointF(0.5, 0.5)  # of the view, as shares of the picture's sides
        self._grabbed: QPointF | None = None
        self._layer: Layer | None = None
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(120, 90)

    def sizeHint(self) -> QSize:
        return QSize(400, 300)

    # --- what is shown ---

    @property
    def has_picture(self) -> bool:
        return self._image is not None

    @property
    def has_overlay(self) -> bool:
        return self._overlay is not None

    def show_picture(self, image: QImage | None) -> None:
        """Another version of the same picture keeps the view; another shape is fitted."""
        old = self._image
        self._image = None if image is None or image.isNull() else image
        self._halves = []
        same = (
            old is not None
            and self._image is not None
            and abs(old.width() * self._image.height() - old.height() * self._image.width())
            <= old.width() + self._image.width()
        )
        if not same:
            self._zoom, self._centre = None, QPointF(0.5, 0.5)
        elif self._zoom is not None and old is not None and self._image is not None:
            self._zoom *= old.width() / self._image.width()
        self._changed()

    def show_overlay(self, overlay: QImage | None, scale: Scale | None) -> None:
        self._overlay = None if overlay is None or overlay.isNull() else overlay
        self._scale = scale if self._overlay is not None else None
        self.update()

    def set_opacity(self, opacity: float) -> None:
        self._opacity = opacity
        self.update()

    def show_compass(self, compass: Compass | None) -> None:
        self._compass = compass
        self.update()

    def show_layer(self, layer: Layer) -> None:
        self._layer = layer
        self.refresh_layer()

    def refresh_layer(self) -> None:
        """What the layer draws, or the pointer that it wants, is another one."""
        own = None if self._layer is None else self._layer.cursor
        hand = Qt.CursorShape.OpenHandCursor if self._zoom is not None else None
        self.setCursor(own or hand or Qt.CursorShape.ArrowCursor)
        self.update()

    def show_message(self, message: str) -> None:
        """Words in place of a picture; with one, nothing of it is seen."""
        self._message = message
        self.setAccessibleDescription(message)
        self.update()

    # --- zoom and pan ---

    @property
    def zoom(self) -> float:
        """Device pixels per picture pixel."""
        return self._logical_zoom() * self.devicePixelRatioF()

    @Slot()
    def fit(self) -> None:
        self._zoom, self._centre = None, QPointF(0.5, 0.5)
        self._changed()

    @Slot()
    def show_actual_size(self) -> None:
        self._zoom = 1 / self.devicePixelRatioF()
        self._changed()

    def zoom_by(self, factor: float, at: QPointF | None = None) -> None:
        """``at`` (widget pixels) keeps its place in the picture."""
        if self._image is None:
            return
        at = at or QRectF(self.rect()).center()
        before = self._to_picture(at)
        low = min(self._fit_zoom(), 1.0)
        self._zoom = max(low, min(self._logical_zoom() * factor, MAX_ZOOM))
        if self._zoom == low == self._fit_zoom():
            self.fit()
            return
        moved = self._to_picture(at)
        self._centre += before - moved
        self._changed()

    def _changed(self) -> None:
        self._centre = QPointF(
            min(1.0, max(0.0, self._centre.x())), min(1.0, max(0.0, self._centre.y()))
        )
        self.zoomed.emit(self.zoom if self._image is not None else 0.0)
        self.refresh_layer()

    def _fit_zoom(self) -> float:
        if self._image is None:
            return 1.0
        return min(self.width() / self._image.width(), self.height() / self._image.height())

    def _logical_zoom(self) -> float:
        return self._fit_zoom() if self._zoom is None else self._zoom

    def frame(self) -> QRectF:
        """Where the picture lies on the widget."""
        if self._image is None:
            return QRectF()
        zoom = self._logical_zoom()
        w, h = self._image.width() * zoom, self._image.height() * zoom
        middle = QRectF(self.rect()).center()
        left = middle.x() - self._centre.x() * w if w > self.width() else middle.x() - w / 2
        top = middle.y() - self._centre.y() * h if h > self.height() else middle.y() - h / 2
        return QRectF(left, top, w, h)

    def _to_picture(self, at: QPointF) -> QPointF:
        frame = self.frame()
        return QPointF(
            (at.x() - frame.left()) / frame.width(), (at.y() - frame.top()) / frame.height()
        )

    def wheelEvent(self, event: QWheelEvent) -> None:
        self.zoom_by(WHEEL_STEP ** event.angleDelta().y(), event.position())
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if self._layer is not None and self._layer.press(event):
            return
        if event.button() in (Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton):
            self._grabbed = event.position()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._layer is not None and self._layer.drag(event):
            return
        frame = self.frame()
        if self._grabbed is None or self._zoom is None or frame.isEmpty():
            return
        moved = event.position() - self._grabbed
        self._grabbed = event.position()
        self._centre -= QPointF(moved.x() / frame.width(), moved.y() / frame.height())
        self._changed()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._grabbed = None
        if self._layer is not None:
            self._layer.release(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self._layer is not None and self._layer.cursor is not None:
            self._layer.press(event)  # two quick clicks are two clicks
        elif self._zoom is None:
            self.zoom_by(1 / (self._fit_zoom() * self.devicePixelRatioF()), event.position())
        else:
            self.fit()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride and self._layer is not None:
            assert isinstance(event, QKeyEvent)
            if self._layer.takes_key(event):
                event.accept()  # else the window's shortcut would have it
                return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self._layer is not None and self._layer.key(event):
            return
        match event.key():
            case Qt.Key.Key_Plus | Qt.Key.Key_Equal:
                self.zoom_by(1.25)
            case Qt.Key.Key_Minus:
                self.zoom_by(0.8)
            case Qt.Key.Key_Left:
                self._pan(-0.1, 0)
            case Qt.Key.Key_Right:
                self._pan(0.1, 0)
            case Qt.Key.Key_Up:
                self._pan(0, -0.1)
            case Qt.Key.Key_Down:
                self._pan(0, 0.1)
            case _:
                super().keyPressEvent(event)

    def _pan(self, right: float, down: float) -> None:
        if self._zoom is not None:
            self._centre += QPointF(right, down)
            self._changed()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.zoomed.emit(self.zoom if self._image is not None else 0.0)

    # --- drawing ---

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(colours(self.palette()).stage))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._image is not None:
            frame = self.frame()
            small = self.zoom < 4  # beyond that, pixels are shown as what they are
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, small)
            painter.drawImage(frame, self._level())
            if self._overlay is not None:
                painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
                painter.setOpacity(self._opacity)
                painter.drawImage(frame, self._overlay)
                painter.setOpacity(1)
            if self._scale is not None:
                self._draw_scale(painter, self._scale)
            if self._compass is not None:
                self._draw_compass(painter, self._compass, frame)
            if self._layer is not None:  # what can be taken by the hand lies above the rest
                self._layer.paint(painter)
        elif self._message:
            room = self.rect().adjusted(2 * GAP, GAP, -2 * GAP, -GAP)
            painter.setPen(QColor(colours(self.palette()).subtle))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(room, int(flags), self._message)
        if self.hasFocus():
            painter.setPen(QPen(QColor(colours(self.palette()).accent), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect().adjusted(1, 1, -1, -1))

    def _level(self) -> QImage:
        """The smallest version that still has a pixel for each of the screen's."""
        image = self._image
        assert image is not None
        step, zoom = 0, self.zoom
        while zoom < 0.5 and min(image.width(), image.height()) > 32:
            if step == len(self._halves):
                self._halves.append(
                    image.scaled(
                        image.size() / 2,
                        Qt.AspectRatioMode.IgnoreAspectRatio,
                        Qt.TransformationMode.SmoothTransformation,
                    )
                )
            image = self._halves[step]
            step, zoom = step + 1, zoom * 2
        return image

    def _draw_scale(self, painter: QPainter, scale: Scale) -> None:
        low, high = f"{scale.low:.3g}", f"{scale.high:.3g}"
        metrics = painter.fontMetrics()
        bar = min(120, self.width() // 4)
        gaps = 2 * GAP
        width = metrics.horizontalAdvance(low) + metrics.horizontalAdvance(high) + bar + 2 * gaps
        height = metrics.height() + 6
        plate = QRectF(GAP, self.height() - GAP - height, width, height)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(PLATE)
        painter.drawRoundedRect(plate, 4, 4)
        left = plate.left() + GAP + metrics.horizontalAdvance(low) + GAP
        ramp = QRectF(left, plate.center().y() - 5, bar, 10)
        painter.setBrush(ramp_gradient(ramp.topLeft(), ramp.topRight()))
        painter.drawRect(ramp)
        painter.setPen(INK)
        inside = plate.adjusted(GAP, 0, -GAP, 0)
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(inside, int(middle | Qt.AlignmentFlag.AlignLeft), low)
        painter.drawText(inside, int(middle | Qt.AlignmentFlag.AlignRight), high)

    def _draw_compass(self, painter: QPainter, compass: Compass, frame: QRectF) -> None:
        match compass.kind:
            case "top":
                draw_north_arrow(painter, QPoint(self.width() - 34, 34), compass.heading_deg)
            case "columns":
                self._draw_winds(painter, compass.heading_deg, frame)
            case "words":
                words = f"faces {compass.heading_deg:.0f}° {wind(compass.heading_deg)}"
                width = painter.fontMetrics().horizontalAdvance(words) + 2 * GAP
                height = painter.fontMetrics().height() + 6
                plate = QRectF(self.width() - width - GAP, GAP, width, height)
                _write_on_plate(painter, plate, words)

    def _draw_winds(self, painter: QPainter, heading_deg: float, frame: QRectF) -> None:
        """The horizon's winds over the columns where they lie."""
        height = painter.fontMetrics().height() + 4
        strip = frame.intersected(QRectF(self.rect()))
        strip.setHeight(height)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(PLATE)
        painter.drawRect(strip)
        for i, name in enumerate(WINDS):
            share = (0.5 + (45 * i - heading_deg) / 360) % 1.0
            x = frame.left() + share * frame.width()
            painter.setPen(QColor("#ff9d3c") if name == "N" else INK)
            x = min(max(x, strip.left() + 12), strip.right() - 12) if strip.left() <= x else x
            box = QRectF(x - 20, strip.top(), 40, height)
            painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), name)


def _write_on_plate(painter: QPainter, plate: QRectF, words: str) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(PLATE)
    painter.drawRoundedRect(plate, 4, 4)
    painter.setPen(INK)
    painter.drawText(plate, int(Qt.AlignmentFlag.AlignCenter), words)


def draw_north_arrow(painter: QPainter, middle: QPoint, heading_deg: float) -> None:
    """A needle to north in a picture whose top faces ``heading_deg``."""
    painter.save()
    painter.translate(middle)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(PLATE)
    painter.drawEllipse(QPointF(0, 0), 26, 26)
    painter.rotate(-heading_deg)
    painter.setBrush(QColor("#ff9d3c"))
    painter.drawPolygon(QPolygonF([QPointF(0, -15), QPointF(6, 3), QPointF(-6, 3)]))
    painter.setBrush(INK)
    painter.drawPolygon(QPolygonF([QPointF(0, 16), QPointF(6, 3), QPointF(-6, 3)]))
    painter.translate(0, -19.5)
    painter.rotate(heading_deg)
    font = painter.font()
    font.setPixelSize(10)
    font.setBold(True)
    painter.setFont(font)
    painter.setPen(INK)
    painter.drawText(QRectF(-8, -6, 16, 12), int(Qt.AlignmentFlag.AlignCenter), "N")
    painter.restore()
