"""Clicked objects on the plain map: the outline on the ground and a numbered square.

Discs are candidates. The web map draws the same in its own way.
"""

from collections.abc import Callable

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPolygonF

from app.geo import LatLon
from app.ui.map_marks import ObjectMark, ink_on

SIDE_PX = 18


def paint_objects(
    painter: QPainter, marks: tuple[ObjectMark, ...], to_pixel: Callable[[LatLon], QPointF]
) -> None:
    font = painter.font()
    font.setBold(True)
    font.setPixelSize(11)
    painter.setFont(font)
    for mark in sorted(marks, key=lambda mark: mark.is_selected):
        outline = QPolygonF([to_pixel(corner) for corner in mark.polygon])
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for pen in (QPen(QColor(0, 0, 0, 170), 4.5), QPen(QColor(mark.colour), 2.5)):
            painter.setPen(pen)
            painter.drawPolygon(outline)
        painter.setPen(QPen(QColor("#101214"), 1.5))
        painter.setBrush(QColor(mark.colour))
        box = object_box(to_pixel(mark.centre))
        painter.drawRoundedRect(box, 3, 3)
        painter.setPen(QColor(ink_on(mark.colour)))
        painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), str(mark.number))


def object_box(middle: QPointF) -> QRectF:
    """The numbered square round the centre's pixel."""
    half = SIDE_PX / 2
    return QRectF(middle.x() - half, middle.y() - half, SIDE_PX, SIDE_PX)
