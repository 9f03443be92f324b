"""The map without a web engine: the same tiles, pins and signals, painted by Qt alone.

World coordinates are web-Mercator shares: (0, 0) the north-west corner of the world, (1, 1) the
south-east one. ``zoom`` is that of the tile pyramid and need not be whole.
"""

import html
import math
from collections import OrderedDict

from PySide6.QtCore import QEvent, QPointF, QRectF, QSizeF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QPolygonF,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QToolTip, QWidget

from app.geo import EARTH_RADIUS_M, Area, LatLon
from app.messages import Candidate, Claim
from app.ui.map_marks import (
    Ground,
    ObjectMark,
    candidate_lines,
    claim_lines,
    heading_wedge,
    ink_on,
    length_text,
    object_view,
    rank_colour,
)
from app.ui.map_objects import object_box, paint_objects
from app.ui.map_tiles import TileKey, TileReader
from app.ui.theme import DARK, LIGHT

TILE_PX = 256
KEPT_TILES = 400
MAX_ZOOM = 22.0
FIT_ZOOM = 19.0
MARGIN_PX = 36
STEEPEST_LAT = 85.0511  # where web-Mercator's square ends
CLAIM_PX = 21.0  # from its centre to a corner: seen around a pin that lies on it


def to_world(place: LatLon) -> QPointF:
    lat = math.radians(max(-STEEPEST_LAT, min(STEEPEST_LAT, place.lat)))
    return QPointF(place.lon / 360 + 0.5, 0.5 - math.asinh(math.tan(lat)) / (2 * math.pi))


def to_latlon(world: QPointF) -> LatLon:
    lat = math.degrees(math.atan(math.sinh((0.5 - world.y()) * 2 * math.pi)))
    lon = (world.x() % 1.0 - 0.5) * 360
    return LatLon(max(-90.0, min(90.0, lat)), lon)


class PlainMap(QWidget):
    picked = Signal(int)
    hovered = Signal(object)  # LatLon | None
    ready = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Map")
        self._ground = Ground()
        self._candidates: tuple[Candidate, ...] = ()
        self._claim: Claim | None = None
        self._objects: tuple[ObjectMark, ...] = ()
        self._fit: Area | None = None
        self._wanted: Area | None = None  # fitted again on the next resize, until the user moves
        self._selected: int | None = None
        self._colours = LIGHT
        self._centre, self._zoom = QPointF(0.5, 0.5), 2.0
        self._grip: QPointF | None = None
        self._moved = False
        self._reader = TileReader(self)
        self._tiles: OrderedDict[TileKey, QPixmap | None] = OrderedDict()
        self._asked: dict[TileKey, int] = {}

    # --- what the map is told -------------------------------------------------------------

    def show_ground(self, ground: Ground) -> None:
        self._ground = ground
        for number in self._asked.values():
            self._reader.forget(number)
        self._asked.clear()
        self._tiles.clear()
        self._fit_to(ground.area)

    def show_candidates(
        self, candidates: tuple[Candidate, ...], claim: Claim | None, fit: Area | None
    ) -> None:
        self._candidates, self._claim, self._fit = candidates, claim, fit
        self._selected = None
        self._fit_to(fit or self._ground.area)

    def show_objects(self, objects: tuple[ObjectMark, ...]) -> None:
        self._objects = objects
        picked = next((o for o in objects if o.is_selected), None)
        if picked is not None:
            self._reveal(picked.centre)
        self.update()

    def select(self, rank: int | None) -> None:
        self._selected = rank
        chosen = self._chosen()
        if chosen is not None:
            self._reveal(chosen.position)
        self.update()

    def _reveal(self, place: LatLon) -> None:
        inside = QRectF(self.rect()).adjusted(MARGIN_PX, MARGIN_PX, -MARGIN_PX, -MARGIN_PX)
        if not inside.contains(self.to_pixel(place)):
            self._centre = to_world(place)

    def set_dark(self, dark: bool) -> None:
        self._colours = DARK if dark else LIGHT
        self.update()

    def fit_candidates(self) -> None:
        self._fit_to(self._fit)

    def fit_object(self) -> None:
        picked = next((o for o in self._objects if o.is_selected), None)
        self._fit_to(None if picked is None else object_view(picked))

    def fit_gallery(self) -> None:
        self._fit_to(self._ground.area)

    def shutdown(self) -> None:
        self._reader.close()

    # --- places and pixels ----------------------------------------------------------------

    def to_pixel(self, place: LatLon) -> QPointF:
        return self._pixel(to_world(place))

    def _pixel(self, world: QPointF) -> QPointF:
        away = (world - self._centre) * self._world_px()
        return QPointF(self.width() / 2 + away.x(), self.height() / 2 + away.y())

    def _world(self, pixel: QPointF) -> QPointF:
        middle = QPointF(self.width() / 2, self.height() / 2)
        return self._centre + (pixel - middle) / self._world_px()

    def _world_px(self) -> float:
        return TILE_PX * math.exp2(self._zoom)

    def _fit_to(self, area: Area | None) -> None:
        self._wanted = area
        if area is not None and self.width() > 0 and self.height() > 0:
            north_west = to_world(LatLon(area.north, area.west))
            south_east = to_world(LatLon(area.south, area.east))
            size = south_east - north_west
            room_x = max(1, self.width() - 2 * MARGIN_PX) / TILE_PX
            room_y = max(1, self.height() - 2 * MARGIN_PX) / TILE_PX
            scale = min(room_x / max(size.x(), 1e-9), room_y / max(size.y(), 1e-9))
            self._zoom = max(0.0, min(FIT_ZOOM, math.log2(scale)))
            self._centre = (north_west + south_east) / 2
        self.update()

    def _zoom_at(self, pixel: QPointF, steps: float) -> None:
        fixed = self._world(pixel)
        self._zoom = max(0.0, min(MAX_ZOOM, self._zoom + steps))
        self._centre += fixed - self._world(pixel)
        self._wanted = None
        self.update()

    # --- painting -------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        with QPainter(self) as painter:
            painter.fillRect(self.rect(), QColor(self._colours.stage))
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            self._paint_tiles(painter)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            self._paint_areas(painter)
            self._paint_pins(painter)
            paint_objects(painter, self._objects, self.to_pixel)
            self._paint_scale(painter)

    def _paint_tiles(self, painter: QPainter) -> None:
        basemap = self._ground.basemap
        if basemap is None or self._zoom < basemap.min_zoom - 2:
            return
        zoom = max(basemap.min_zoom, min(basemap.max_zoom, round(self._zoom)))
        side = 1 << zoom
        first = self._world(QPointF(0, 0)) * side
        last = self._world(QPointF(self.width(), self.height())) * side
        for row in range(max(0, math.floor(first.y())), min(side, math.floor(last.y()) + 1)):
            for column in range(max(0, math.floor(first.x())), min(side, math.floor(last.x()) + 1)):
                self._paint_tile(painter, TileKey(zoom, column, row))

    def _paint_tile(self, painter: QPainter, key: TileKey) -> None:
        if key not in self._tiles:
            self._ask(key)
            return
        self._tiles.move_to_end(key)
        picture = self._tiles[key]
        if picture is not None:
            side = 1 << key.zoom
            corner = self._pixel(QPointF(key.column / side, key.row / side))
            opposite = self._pixel(QPointF((key.column + 1) / side, (key.row + 1) / side))
            # Whole pixels, else hairlines of the page shine through between tiles.
            target = QRectF(QPointF(corner.toPoint()), QPointF(opposite.toPoint()))
            painter.drawPixmap(target, picture, QRectF(picture.rect()))

    def _ask(self, key: TileKey) -> None:
        if self._ground.basemap is None or key in self._asked:
            return

        def keep(tile: bytes | None) -> None:
            self._asked.pop(key, None)
            picture = QPixmap()
            known = tile is not None and picture.loadFromData(tile)
            self._tiles[key] = picture if known else None
            while len(self._tiles) > KEPT_TILES:
                self._tiles.popitem(last=False)
            self.update()

        self._asked[key] = self._reader.ask(self._ground.basemap.path, key, keep)

    def _paint_areas(self, painter: QPainter) -> None:
        area = self._ground.area
        if area is not None:
            box = QRectF(
                self.to_pixel(LatLon(area.north, area.west)),
                self.to_pixel(LatLon(area.south, area.east)),
            )
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(QColor(0, 0, 0, 128), 3))
            painter.drawRect(box)
            painter.setPen(QPen(QColor("#f0e442"), 1.5, Qt.PenStyle.DashLine))
            painter.drawRect(box)
        chosen = self._chosen()
        if chosen is None:
            return
        colour = QColor(rank_colour(chosen.rank, len(self._candidates)))
        footprint = QPolygonF([self.to_pixel(corner) for corner in chosen.footprint])
        for pen in (QPen(QColor("#ffffff"), 5), QPen(colour, 2.5)):
            painter.setPen(pen)
            painter.drawPolygon(footprint)
        painter.setPen(QPen(QColor("#ffffff"), 1.5))
        colour.setAlphaF(0.5)
        painter.setBrush(colour)
        painter.drawPolygon(QPolygonF([self.to_pixel(p) for p in heading_wedge(chosen)]))

    def _paint_pins(self, painter: QPainter) -> None:
        if self._claim is not None:
            self._paint_claim(painter, self.to_pixel(self._claim.position))
        font = painter.font()
        font.setBold(True)
        for candidate in self._bottom_up():
            radius, middle = self._radius(candidate), self.to_pixel(candidate.position)
            colour = rank_colour(candidate.rank, len(self._candidates))
            if candidate.rank == self._selected:
                self._paint_arrow(painter, middle, radius, candidate.heading_deg)
                painter.setPen(QPen(QColor("#101214"), 5))
                painter.drawEllipse(middle, radius, radius)
            painter.setPen(QPen(QColor("#ffffff"), 2))
            painter.setBrush(QColor(colour))
            painter.drawEllipse(middle, radius, radius)
            painter.setPen(QColor(ink_on(colour)))
            font.setPixelSize(round(radius))
            painter.setFont(font)
            box = QRectF(middle.x() - radius, middle.y() - radius, 2 * radius, 2 * radius)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, str(candidate.rank))

    def _paint_arrow(
        self, painter: QPainter, middle: QPointF, radius: float, heading_deg: float
    ) -> None:
        """Seen at every zoom, unlike the wedge on the ground."""
        if not math.isfinite(heading_deg):
            return
        painter.save()
        painter.translate(middle)
        painter.rotate(heading_deg)
        painter.setPen(QPen(QColor("#000000"), 1))
        painter.setBrush(QColor("#ffffff"))
        tip, base = -radius - 18, -radius - 5
        painter.drawPolygon(QPolygonF([QPointF(0, tip), QPointF(9, base), QPointF(-9, base)]))
        painter.restore()

    def _paint_claim(self, painter: QPainter, at: QPointF) -> None:
        steps = (QPointF(0, -1), QPointF(1, 0), QPointF(0, 1), QPointF(-1, 0))
        diamond = QPolygonF([at + step * CLAIM_PX for step in steps])
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for pen in (QPen(QColor(0, 0, 0, 190), 6), QPen(QColor(DARK.claim), 3)):
            painter.setPen(pen)
            painter.drawPolygon(diamond)
        self._label(painter, at + QPointF(-19, CLAIM_PX + 4), "claim")

    def _paint_scale(self, painter: QPainter) -> None:
        """A bar of 1, 2 or 5 times a power of ten metres, and the imagery's licence."""
        across = 2 * math.pi * EARTH_RADIUS_M * math.cos(math.radians(to_latlon(self._centre).lat))
        per_px = across / self._world_px()
        power = 10.0 ** math.floor(math.log10(per_px * 100))
        metres = max(m * power for m in (1, 2, 5) if m * power <= per_px * 100)
        width, base = metres / per_px, self.height() - 12
        box = self._label(painter, QPointF(8, base - 22), length_text(metres), width)
        painter.setPen(QPen(QColor(self._colours.text), 2))
        painter.drawPolyline([box.topLeft(), box.bottomLeft(), box.bottomRight(), box.topRight()])
        if self._ground.attribution:
            room = max(0, self.width() - int(width) - 48)
            text = painter.fontMetrics().elidedText(
                self._ground.attribution, Qt.TextElideMode.ElideRight, room
            )
            across_px = painter.fontMetrics().horizontalAdvance(text) + 10
            self._label(painter, QPointF(self.width() - across_px - 4, base - 10), text)

    def _label(
        self, painter: QPainter, at: QPointF, text: str, width: float | None = None
    ) -> QRectF:
        font = painter.font()
        font.setBold(False)
        font.setPixelSize(11)
        painter.setFont(font)
        wide = width or painter.fontMetrics().horizontalAdvance(text) + 10
        box = QRectF(at, QSizeF(math.ceil(wide), 18))
        painter.fillRect(box, QColor(self._colours.raised))
        painter.setPen(QColor(self._colours.text))
        painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextDontClip), text)
        return box

    # --- the hand -------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._grip, self._moved = event.position(), False

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._grip is not None:
            away = event.position() - self._grip
            if self._moved or away.manhattanLength() > 4:
                self._centre -= away / self._world_px()
                self._grip, self._moved, self._wanted = event.position(), True, None
                self.update()
        self.hovered.emit(to_latlon(self._world(event.position())))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        at = event.position()
        clicked = self._grip is not None and not self._moved
        self._grip = None
        hit = self._candidate_at(at)
        if clicked and hit is not None:
            self.select(hit.rank)
            self.picked.emit(hit.rank)

    def leaveEvent(self, event: QEvent) -> None:
        self.hovered.emit(None)

    def wheelEvent(self, event: QWheelEvent) -> None:
        self._zoom_at(event.position(), event.angleDelta().y() / 240)

    def resizeEvent(self, event: QResizeEvent) -> None:
        if self._wanted is not None:
            self._fit_to(self._wanted)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        middle = QPointF(self.width() / 2, self.height() / 2)
        step = 80 / self._world_px()
        match event.key():
            case Qt.Key.Key_Plus | Qt.Key.Key_Equal:
                self._zoom_at(middle, 1)
            case Qt.Key.Key_Minus:
                self._zoom_at(middle, -1)
            case Qt.Key.Key_Left:
                self._pan(QPointF(-step, 0))
            case Qt.Key.Key_Right:
                self._pan(QPointF(step, 0))
            case Qt.Key.Key_Up:
                self._pan(QPointF(0, -step))
            case Qt.Key.Key_Down:
                self._pan(QPointF(0, step))
            case Qt.Key.Key_C:
                self.fit_candidates()
            case Qt.Key.Key_G:
                self.fit_gallery()
            case _:
                super().keyPressEvent(event)

    def _pan(self, step: QPointF) -> None:
        self._centre += step
        self._wanted = None
        self.update()

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent):
            lines = self._lines_at(QPointF(event.pos()))
            # Escaped and marked as rich text: Qt would else guess, and a tile's name is not ours.
            text = "<br>".join(html.escape(line) for line in lines)
            QToolTip.showText(event.globalPos(), f"<qt>{text}</qt>" if lines else "", self)
            return True
        return super().event(event)

    def _lines_at(self, at: QPointF) -> tuple[str, ...]:
        for mark in self._objects:
            if object_box(self.to_pixel(mark.centre)).contains(at):
                return mark.lines
        hit = self._candidate_at(at)
        if hit is not None:
            return candidate_lines(hit)
        if self._claim is not None:
            away = at - self.to_pixel(self._claim.position)
            if away.manhattanLength() <= CLAIM_PX:
                return claim_lines(self._claim, self._candidates)
        return ()

    def _chosen(self) -> Candidate | None:
        return next((c for c in self._candidates if c.rank == self._selected), None)

    def _bottom_up(self) -> list[Candidate]:
        """The order of painting: the best on top, the selected one above all."""
        return sorted(self._candidates, key=lambda c: (c.rank == self._selected, -c.rank))

    def _candidate_at(self, at: QPointF) -> Candidate | None:
        for candidate in reversed(self._bottom_up()):
            away = at - self.to_pixel(candidate.position)
            if QPointF.dotProduct(away, away) <= self._radius(candidate) ** 2:
                return candidate
        return None

    def _radius(self, candidate: Candidate) -> float:
        radius = 15.0 if candidate.rank == 1 else 12.0
        return radius * 1.4 if candidate.rank == self._selected else radius
