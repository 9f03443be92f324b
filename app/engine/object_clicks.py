"""Which clicks make sense: on the photo, not on its black bars, not on a panorama's sky."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from app.engine.photos import Query
from app.errors import UserError

BLACK = 16  # a bar's brightest value: JPEG leaves black not quite black
LEAST_BAR = 0.01  # share of a side; thinner is an edge, not a bar
SKY_FROM_DEG = 10.0  # of elevation: what stands on the ground mostly ends below
SKY_STEP = 14.0  # grey levels between rows a degree apart: more is an edge, and no sky
STRIP_DEG = 2.0  # width of the strip above a click that must be sky too
_FORCE = "Click the object itself; if this is it, look anyway (command line: --force)."


def check_clicks(query: Query, clicks: Sequence[tuple[float, float]], *, force: bool) -> None:
    """Raises UserError for the first click that can have no answer.

    ``clicks`` are x, y in pixels of the file. With ``force`` only those outside are refused.
    """
    if not clicks:
        raise UserError("There is no click to find an object for", "Click an object in the photo.")
    for x, y in clicks:
        told = f"The click {x:g}, {y:g}"
        if not (math.isfinite(x) and math.isfinite(y)):
            raise UserError(f"{told} is no place", "Give two numbers, such as 120,80.")
        if not (0 <= x <= query.width and 0 <= y <= query.height):
            raise UserError(
                f"{told} lies outside {query.path.name} ({query.width} x {query.height} pixels)",
                "Count pixels from the photo's upper left corner, as a viewer shows it.",
            )
    if force:
        return
    left, top, right, bottom = picture_without_bars(query.image)
    scale_x, scale_y = query.image.shape[1] / query.width, query.image.shape[0] / query.height
    for x, y in clicks:
        told = f"The click {x:g}, {y:g} in {query.path.name}"
        column, row = x * scale_x, y * scale_y
        if not (left <= column <= right and top <= row <= bottom):
            raise UserError(f"{told} lies on a black bar at the photo's edge", _FORCE)
        if query.kind == "panorama" and _is_sky(query.image, column, row):
            raise UserError(f"{told} lies on the sky: nothing of it is on the ground", _FORCE)


def picture_without_bars(image: UInt8[np.ndarray, "h w 3"]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is not a uniform black bar."""
    # Not over the channels first: these two run along memory, some twenty times as fast.
    top, bottom = _inside(image.reshape(len(image), -1).max(axis=1))
    left, right = _inside(image.max(axis=0).max(axis=1))
    return left, top, right, bottom


def _inside(lines: UInt8[np.ndarray, " n"]) -> tuple[int, int]:
    """First line and end line of what is not bars; a bar needs some thickness."""
    count = len(lines)
    lit = np.flatnonzero(lines > BLACK)
    if not len(lit):
        return 0, count  # a black picture has no bars
    first, end = int(lit[0]), int(lit[-1]) + 1
    least = max(2.0, LEAST_BAR * count)
    return (first if first >= least else 0), (end if count - end >= least else count)


def elevation_deg(image_size: tuple[int, int], row: float) -> float:
    """Of a row of a panorama of (height, width); all of its columns are 360 degrees."""
    height, width = image_size
    return (height / 2 - row) * 360.0 / width


def _is_sky(image: UInt8[np.ndarray, "h w 3"], column: float, row: float) -> bool:
    """Above the horizon, and no edge between here and the upper end of the picture.

    A roof's edge, a crown or a wire above a click makes it no sky: rather a click on nothing is
    let through than one on a tower refused.
    """
    height, width = image.shape[:2]
    if elevation_deg((height, width), row) < SKY_FROM_DEG:
        return False
    degree = width / 360.0
    reach = max(1, round(STRIP_DEG / 2 * degree))
    columns = np.arange(round(column) - reach, round(column) + reach + 1) % width
    strip = image[: math.ceil(row) + 1][:, columns].mean(axis=2, dtype=np.float32)
    rows = max(2, round(len(strip) / degree))
    steps: Float32[np.ndarray, "r c"] = cv2.resize(
        strip, (3, rows), interpolation=cv2.INTER_AREA
    ).reshape(rows, 3)
    down = np.abs(np.diff(steps, axis=0)).max(initial=0.0)
    across = np.abs(np.diff(steps, axis=1)).max(initial=0.0)
    return float(max(down, across)) < SKY_STEP
