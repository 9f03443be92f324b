"""Changes of a training picture's looks: colour, sharpness, compression, holes.

Sample4Geo's set (ICCV 2023, supplement), in numpy and OpenCV. What moves pixels (turn, flip,
zoom) concerns both views at once and is in ``pairs``.
"""

import cv2
import numpy as np
from jaxtyping import UInt8

Picture = UInt8[np.ndarray, "h w 3"]

COLOUR = 0.15  # brightness, contrast, saturation, hue: share by which each may change
COLOUR_CHANCE = 0.5
SHARPNESS_CHANCE = 0.3
HOLES_CHANCE = 0.3
JPEG_CHANCE = 0.3
JPEG_WORST = 60  # quality
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_QUARTERS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)


def turned_by_quarters(picture: Picture, quarters: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Counter-clockwise, as ``np.rot90`` does it, whose copy takes ten times as long."""
    quarters %= 4
    return np.asarray(cv2.rotate(picture, _QUARTERS[quarters - 1])) if quarters else picture


def mirrored(picture: Picture) -> Picture:
    """Left is right; ten times as fast as a copy of ``picture[:, ::-1]``."""
    return np.asarray(cv2.flip(picture, 1))


def change_looks(picture: Picture, rng: np.random.Generator, *, strength: float = 1.0) -> Picture:
    """A picture of the same size. ``strength`` scales chances and colour; 0 changes nothing."""
    if rng.random() < JPEG_CHANCE * strength:
        picture = compress(picture, int(rng.integers(JPEG_WORST, 100)))
    if rng.random() < COLOUR_CHANCE * strength:
        picture = change_colour(picture, rng, COLOUR * strength)
    if rng.random() < SHARPNESS_CHANCE * strength:
        picture = change_sharpness(picture, rng)
    if rng.random() < HOLES_CHANCE * strength:
        picture = grid_holes(picture, rng) if rng.random() < 0.5 else coarse_holes(picture, rng)
    return picture


def compress(picture: Picture, quality: int) -> Picture:
    _, code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    # Channels go in and come out in one order, so it does not matter which that is.
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))


def change_colour(picture: Picture, rng: np.random.Generator, most: float) -> Picture:
    """One linear map of RGB: brightness, contrast, saturation and hue at once."""
    brightness, contrast, saturation = 1 + rng.uniform(-most, most, 3)
    grey = np.tile(LUMA, (3, 1))
    turn = _hue_turn(rng.uniform(-most, most) * 180)
    colour = (saturation * np.eye(3) + (1 - saturation) * grey) @ turn
    matrix = brightness * contrast * colour
    offset = np.full((3, 1), brightness * (1 - contrast) * float(picture.mean()))
    changed: Picture = cv2.transform(picture, np.hstack([matrix, offset]).astype(np.float32))
    return changed  # rounded and clipped to 0..255 by OpenCV


def _hue_turn(degrees: float) -> np.ndarray:
    """RGB turned about the grey axis (Rodrigues)."""
    axis = np.full(3, 1 / np.sqrt(3))
    return np.asarray(cv2.Rodrigues(axis * np.radians(degrees))[0])


def change_sharpness(picture: Picture, rng: np.random.Generator) -> Picture:
    if rng.random() < 0.5:
        blurred: Picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.6)))
        return blurred
    soft = cv2.GaussianBlur(picture, (0, 0), 1.0)
    amount = float(rng.uniform(0.2, 1.0))
    sharp: Picture = cv2.addWeighted(picture, 1 + amount, soft, -amount, 0)
    return sharp


def grid_holes(picture: Picture, rng: np.random.Generator) -> Picture:
    """Black squares on a grid, each with 0.4 of its cell's side."""
    h, w = picture.shape[:2]
    cell = int(rng.integers(max(2, min(h, w) // 10), max(3, min(h, w) // 2)))
    dy, dx = rng.integers(0, cell, 2)
    hole_y = (np.arange(h) + dy) % cell < 0.4 * cell
    hole_x = (np.arange(w) + dx) % cell < 0.4 * cell
    holed = picture.copy()
    holed[np.ix_(hole_y, hole_x)] = 0
    return holed


def coarse_holes(picture: Picture, rng: np.random.Generator) -> Picture:
    """10 to 25 black rectangles of 0.1 to 0.2 of the picture's sides."""
    h, w = picture.shape[:2]
    holed = picture.copy()
    for _ in range(int(rng.integers(10, 26))):
        hole_h = int(rng.integers(max(1, h // 10), h // 5 + 2))
        hole_w = int(rng.integers(max(1, w // 10), w // 5 + 2))
        top = int(rng.integers(0, max(1, h - hole_h)))
        left = int(rng.integers(0, max(1, w - hole_w)))
        holed[top : top + hole_h, left : left + hole_w] = 0
    return holed
