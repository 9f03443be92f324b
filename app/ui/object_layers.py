"""Clicked objects on the pictures: numbered markers on the photo, boxes on the reference."""

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPainterPath, QPen, QPolygonF

from app.object_messages import FoundBox, Point, Reference
from app.ui.clicked_objects import Box, Marker, box_between
from app.ui.image_view import ImageView
from app.ui.map_marks import OBJECT_COLOUR, OBJECT_PICKED, ink_on
from app.ui.objects_session import ObjectsSession

HEAD = 11.0  # radius of a marker's head, px
STEM = 22.0  # from its tip to the head's centre
CLICK_PX = 4.0  # a longer way of the mouse is a drag
HANDLE = 3.5  # half a corner handle's side
REACH = 9.0  # a handle is taken from so far off
FAULTY = "#e3b04b"
STEPS = {
    Qt.Key.Key_Left: (-1, 0),
    Qt.Key.Key_Right: (1, 0),
    Qt.Key.Key_Up: (0, -1),
    Qt.Key.Key_Down: (0, 1),
}


class MarkerLayer:
    """On the photo. Its tip is the pixel that was clicked."""

    def __init__(self, view: ImageView, objects: ObjectsSession) -> None:
        self._view, self._objects = view, objects
        self._pressed: QPointF | None = None  # on nothing: a click places an object
        self._held: tuple[int, QPointF] | None = None  # a marker, and where in it
        self._at: QPointF | None = None  # where the held one is dragged to
        self.size: tuple[int, int] | None = None  # of the photo's file
        objects.changed.connect(view.refresh_layer)
        objects.selected.connect(view.refresh_layer)
        objects.switched.connect(view.refresh_layer)

    @property
    def cursor(self) -> Qt.CursorShape | None:
        return Qt.CursorShape.CrossCursor if self._objects.is_on else None

    # --- places ---

    def to_widget(self, click: Point) -> QPointF:
        frame, size = self._view.frame(), self.size or (1, 1)
        x, y = click[0] / size[0] * frame.width(), click[1] / size[1] * frame.height()
        return QPointF(frame.left() + x, frame.top() + y)

    def to_photo(self, at: QPointF) -> Point:
        frame, size = self._view.frame(), self.size or (1, 1)
        x = (at.x() - frame.left()) / frame.width() * size[0]
        y = (at.y() - frame.top()) / frame.height() * size[1]
        return round(x, 1), round(y, 1)

    def _marker_at(self, at: QPointF) -> Marker | None:
        current = self._objects.current
        on_top = sorted(self._objects.markers, key=lambda m: m == current)
        for marker in reversed(on_top):
            tip = self.to_widget(marker.pin.click)
            for middle in (_head_of(tip), tip):
                if (at - middle).manhattanLength() <= HEAD + 2:
                    return marker
        return None

    # --- the hand ---

    def press(self, event: QMouseEvent) -> bool:
        on = self._objects.is_on and self._view.has_picture and self.size is not None
        if not on or event.button() != Qt.MouseButton.LeftButton:
            return False
        self._view.setFocus(Qt.FocusReason.MouseFocusReason)
        marker = self._marker_at(event.position())
        if marker is None:
            self._pressed = event.position()
            return False  # dragged, it moves the picture
        self._held = marker.pin.number, event.position() - self.to_widget(marker.pin.click)
        self._objects.select(marker.pin.number)
        return True

    def drag(self, event: QMouseEvent) -> bool:
        if self._pressed is not None:
            if (event.position() - self._pressed).manhattanLength() <= CLICK_PX:
                return True
            self._pressed = None
        if self._held is None:
            return False
        self._at = event.position() - self._held[1]
        self._view.update()
        return True

    def release(self, event: QMouseEvent) -> None:
        pressed, held, at = self._pressed, self._held, self._at
        self._pressed = self._held = self._at = None
        if pressed is not None:
            self._objects.place(self.to_photo(event.position()))
        elif held is not None and at is not None:
            old = self._objects.current
            moved = old is None or (at - self.to_widget(old.pin.click)).manhattanLength() > CLICK_PX
            if moved:
                self._objects.move(held[0], self.to_photo(at))
            self._view.update()

    def takes_key(self, event: QKeyEvent) -> bool:
        return self._objects.current is not None and event.key() in (
            Qt.Key.Key_Delete,
            Qt.Key.Key_Backspace,
            Qt.Key.Key_Escape,
        )

    def key(self, event: QKeyEvent) -> bool:
        objects, current = self._objects, self._objects.current
        if not objects.is_on:
            return False
        match event.key():
            case Qt.Key.Key_Return | Qt.Key.Key_Enter | Qt.Key.Key_Space:
                objects.place(self.to_photo(QRectF(self._view.rect()).center()))
            case _ if current is None:
                return False
            case Qt.Key.Key_Delete | Qt.Key.Key_Backspace:
                objects.delete(current.pin.number)
            case Qt.Key.Key_Escape:
                objects.select(None)
            case key if (step := STEPS.get(Qt.Key(key))) is not None:
                far = 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
                self._nudge(current, step, far)
            case _:
                return False
        return True

    def _nudge(self, marker: Marker, step: tuple[int, int], far: int) -> None:
        """By a pixel of the screen, or ten."""
        at = self.to_widget(marker.pin.click) + QPointF(step[0] * far, step[1] * far)
        self._objects.move(marker.pin.number, self.to_photo(at), by_steps=True)

    # --- drawing ---

    def paint(self, painter: QPainter) -> None:
        if self.size is None:
            return
        current = self._objects.current
        for marker in sorted(self._objects.markers, key=lambda m: m == current):
            held = self._held is not None and self._held[0] == marker.pin.number
            tip = self._at if held and self._at is not None else self.to_widget(marker.pin.click)
            _draw_marker(painter, tip, marker, chosen=marker == current)


def _head_of(tip: QPointF) -> QPointF:
    """Over the tip; under it at the upper edge, where it would not be seen."""
    away = STEM if tip.y() < STEM + HEAD else -STEM
    return QPointF(tip.x(), tip.y() + away)


def _draw_marker(painter: QPainter, tip: QPointF, marker: Marker, *, chosen: bool) -> None:
    fill = QColor(OBJECT_PICKED if chosen else OBJECT_COLOUR)
    if marker.problem is not None:
        fill = QColor(FAULTY)
    path = QPainterPath(tip)
    head = _head_of(tip)
    up = 1 if head.y() < tip.y() else -1
    path.lineTo(head + QPointF(-HEAD * 0.86, up * HEAD * 0.5))
    box = QRectF(head.x() - HEAD, head.y() - HEAD, 2 * HEAD, 2 * HEAD)
    path.arcTo(box, up * 210, up * -240)
    path.closeSubpath()
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(0, 0, 0, 200 if chosen else 110), 6 if chosen else 4))
    painter.drawPath(path)
    painter.setBrush(fill)
    painter.setPen(QPen(QColor("#ffffff"), 2))
    painter.drawPath(path)
    font = painter.font()
    font.setBold(True)
    font.setPixelSize(12)
    painter.setFont(font)
    painter.setPen(QColor(ink_on(fill.name())))
    waits = marker.box is None and marker.problem is None and not marker.missing
    words = "!" if marker.problem is not None else "…" if waits else str(marker.pin.number)
    painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), words)


class BoxLayer:
    """On the satellite picture of the selected object; a box's corners are dragged right."""

    def __init__(self, view: ImageView, objects: ObjectsSession) -> None:
        self._view, self._objects = view, objects
        self._anchor: Point | None = None  # the corner that stays, while its opposite is dragged
        self._drawn: Box | None = None
        objects.changed.connect(view.refresh_layer)
        objects.selected.connect(view.refresh_layer)

    @property
    def cursor(self) -> Qt.CursorShape | None:
        return None

    @property
    def _reference(self) -> Reference | None:
        current = self._objects.current
        return None if current is None else current.reference

    # --- places ---

    def to_widget(self, reference: Reference, at: Point) -> QPointF:
        frame, side = self._view.frame(), reference.size_px
        x, y = at[0] / side * frame.width(), at[1] / side * frame.height()
        return QPointF(frame.left() + x, frame.top() + y)

    def _to_reference(self, reference: Reference, at: QPointF) -> Point:
        frame, side = self._view.frame(), reference.size_px
        x = (at.x() - frame.left()) / frame.width() * side
        return x, (at.y() - frame.top()) / frame.height() * side

    def _outline(self, reference: Reference, box: FoundBox) -> QPolygonF:
        """Through the ground: the box may have been found in another picture."""
        corners = [reference.to_pixel(*corner) for corner in box.polygon_xy]
        return QPolygonF([self.to_widget(reference, corner) for corner in corners])

    # --- the hand ---

    def press(self, event: QMouseEvent) -> bool:
        current, reference = self._objects.current, self._reference
        if current is None or reference is None or current.box is None:
            return False
        if event.button() != Qt.MouseButton.LeftButton:
            return False
        left, top, right, bottom = current.box.box
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        for i, corner in enumerate(corners):
            away = event.position() - self.to_widget(reference, corner)
            if max(abs(away.x()), abs(away.y())) <= REACH:
                self._anchor = corners[(i + 2) % 4]
                return True
        if self._objects.shows_alternatives:
            for box in current.boxes:
                outline = self._outline(reference, box)
                if outline.containsPoint(event.position(), Qt.FillRule.OddEvenFill):
                    self._objects.choose_box(current.pin.number, box.rank)
                    return True
        return False

    def drag(self, event: QMouseEvent) -> bool:
        reference = self._reference
        if self._anchor is None or reference is None:
            return False
        at = self._to_reference(reference, event.position())
        self._drawn = box_between(self._anchor, at, reference.size_px)
        self._view.update()
        return True

    def release(self, event: QMouseEvent) -> None:
        del event
        drawn, current = self._drawn, self._objects.current
        self._anchor = self._drawn = None
        if drawn is not None and current is not None:
            self._objects.correct(current.pin.number, drawn)

    def takes_key(self, event: QKeyEvent) -> bool:
        return self._objects.current is not None and event.key() == Qt.Key.Key_Delete

    def key(self, event: QKeyEvent) -> bool:
        current = self._objects.current
        if current is None or event.key() != Qt.Key.Key_Delete:
            return False
        self._objects.delete(current.pin.number)
        return True

    # --- drawing ---

    def paint(self, painter: QPainter) -> None:
        current, reference = self._objects.current, self._reference
        if current is None or reference is None:
            return
        painter.save()
        painter.setClipRect(self._view.frame())
        if self._objects.shows_alternatives:
            for box in current.boxes:
                if current.box is None or box.rank != current.box.rank or current.is_fixed:
                    outline = self._outline(reference, box)
                    _draw_box(painter, outline, Qt.PenStyle.DashLine, 1.5)
                    _tag(painter, outline, share_text(box))
        for marker in self._objects.markers:
            if marker != current and marker.box is not None:
                outline = self._outline(reference, marker.box)
                _draw_box(painter, outline, Qt.PenStyle.SolidLine, 1.5)
                _tag(painter, outline, str(marker.pin.number))
        if current.box is not None:
            self._paint_current(painter, current, current.box, reference)
        painter.restore()

    def _paint_current(
        self, painter: QPainter, current: Marker, box: FoundBox, reference: Reference
    ) -> None:
        left, top, right, bottom = box.box if self._drawn is None else self._drawn
        corners = [
            self.to_widget(reference, corner)
            for corner in ((left, top), (right, top), (right, bottom), (left, bottom))
        ]
        outline = QPolygonF(corners)
        _draw_box(painter, outline, Qt.PenStyle.SolidLine, 2.5, OBJECT_PICKED)
        painter.setPen(QPen(QColor("#101214"), 1))
        painter.setBrush(QColor("#ffffff"))
        for corner in corners:
            painter.drawRect(
                QRectF(corner.x() - HANDLE, corner.y() - HANDLE, 2 * HANDLE, 2 * HANDLE)
            )
        by_hand = current.is_fixed or self._drawn is not None
        sure = "by hand" if by_hand else share_text(box)
        _tag(painter, outline, f"{current.pin.number}: {sure}")


def share_text(box: FoundBox) -> str:
    """How sure of a box, as shown everywhere."""
    return f"{box.probability:.0%}" if box.probability >= 0.01 else "<1%"


def _draw_box(
    painter: QPainter,
    outline: QPolygonF,
    style: Qt.PenStyle,
    width: float,
    colour: str = OBJECT_COLOUR,
) -> None:
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(0, 0, 0, 170), width + 2.5))
    painter.drawPolygon(outline)
    painter.setPen(QPen(QColor(colour), width, style))
    painter.drawPolygon(outline)


def _tag(painter: QPainter, outline: QPolygonF, words: str) -> None:
    """Over the box's upper edge, or inside it where there is no room."""
    font = painter.font()
    font.setBold(True)
    font.setPixelSize(11)
    painter.setFont(font)
    box, metrics = outline.boundingRect(), painter.fontMetrics()
    width, height = metrics.horizontalAdvance(words) + 8, metrics.height() + 2
    top = box.top() - height - 3
    if top < painter.clipBoundingRect().top():
        top = box.top() + 3
    left = min(box.left(), painter.clipBoundingRect().right() - width)
    plate = QRectF(left, top, width, height)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(0, 0, 0, 190))
    painter.drawRoundedRect(plate, 3, 3)
    painter.setPen(QColor("#ffffff"))
    painter.drawText(plate, int(Qt.AlignmentFlag.AlignCenter), words)
