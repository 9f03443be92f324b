"""The one way in which a clicked query is put before an object network, and its click with it.

The networks were published on queries that are not turned to north, so these are not either: a
photo is cut to the shape of the network's input around the click, a panorama is kept whole.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from app.messages import PhotoKind

INSIDE = 0.05  # share of the frame's height that lies above and below a panorama's click
SAME_SHAPE = 1.02  # shapes that differ by less are squeezed into each other


@dataclass(frozen=True, slots=True)
class ClickFrame:
    """Which part of a photo fills a network's input. Pixels count from upper left corners."""

    left: float  # of the part, in pixels of the photo; beyond it where rows are made up
    top: float
    width: float
    height: float
    size: tuple[int, int]  # height, width of the input

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """From pixels of the photo."""
        rows, columns = self.size
        return (x - self.left) / self.width * columns, (y - self.top) / self.height * rows

    def cut(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
        """The part, resized; rows beyond the photo repeat its first and last."""
        height, width = image.shape[:2]
        left, top = round(self.left), round(self.top)
        right, bottom = left + round(self.width), top + round(self.height)
        above, below = max(0, -top), max(0, bottom - height)
        part = image[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
        if above or below:
            part = cv2.copyMakeBorder(part, above, below, 0, 0, cv2.BORDER_REPLICATE)
        if part.shape[:2] == self.size:
            return part
        way = cv2.INTER_AREA if part.shape[0] > self.size[0] else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(part, self.size[::-1], interpolation=way))


def frame_click(
    photo_size: tuple[int, int],
    click: tuple[float, float],
    *,
    kind: PhotoKind,
    size: tuple[int, int],
) -> ClickFrame:
    """The frame for a click (x, y in pixels of the photo); sizes are (height, width).

    A photo of another shape than the input loses what is furthest from the click. A panorama's
    horizon lies where the network has learnt it, in the middle: a strip of the sphere is given
    rows above and below, as many on either side; of one with more rows than the input shows the
    middle ones are taken, and others only as far as the click needs them.
    """
    height, width = photo_size
    wider = width / height / (size[1] / size[0])
    if 1 / SAME_SHAPE <= wider <= SAME_SHAPE:
        return ClickFrame(0, 0, width, height, size)
    if wider > 1 and kind == "panorama":
        rows = round(width * size[0] / size[1])
        return ClickFrame(0, -((rows - height) // 2), width, rows, size)
    part_w = width if wider < 1 else max(1, round(height * size[1] / size[0]))
    part_h = height if wider > 1 else max(1, round(width * size[0] / size[1]))
    wanted = click[1] - part_h / 2
    if kind == "panorama":
        middle = (height - part_h) / 2
        wanted = min(max(middle, click[1] - (1 - INSIDE) * part_h), click[1] - INSIDE * part_h)
    left = min(max(round(click[0] - part_w / 2), 0), width - part_w)
    top = min(max(round(wanted), 0), height - part_h)
    return ClickFrame(left, top, part_w, part_h, size)
