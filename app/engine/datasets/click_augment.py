"""Changes of a clicked training pair: what moves pixels moves click and box with them.

Those of DetGeo (TGRS 2023, its code) on the satellite picture, and two that use that the
query's heading is unknown: a panorama is rolled, and both pictures are mirrored at once.
Boxes are left, top, right, bottom; pixels count from upper left corners.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from app.engine.datasets.augment import mirrored, turned_by_quarters

Picture = UInt8[np.ndarray, "h w 3"]
Changed = UInt8[np.ndarray, "h2 w2 3"]
Box = tuple[float, float, float, float]
Click = tuple[float, float]

# DetGeo's chances, and albumentations' own strengths, which it leaves as they are.
NOISE_CHANCE, NOISE_VARIANCE = 0.5, (10.0, 50.0)
TINT_CHANCE, TINT_MOST = 0.3, (20, 30, 20)  # hue (of 180), saturation, value
BLUR_CHANCE, BLUR_SIDES = 0.5, (3, 5, 7)
CONTRAST_CHANCE, CONTRAST_MOST = 0.5, 0.2
GREY_CHANCE = 0.2
GAMMA_CHANCE, GAMMA_MOST = 0.3, 0.2
CLAHE_TILES = (8, 8)
CLAHE_LIMIT = (1.0, 4.0)


@dataclass(frozen=True, slots=True)
class ClickAugment:
    crop: float = 0.2  # chance of a random part of the satellite picture that keeps the box
    erosion: float = 0.2  # share of the box's sides that this part may cut off
    quarter_turns: bool = True  # of the satellite picture alone: the query's heading is unknown
    mirror: bool = True  # both pictures at once
    roll: bool = True  # panoramas, by any angle
    looks: float = 1.0  # strength of the changes of the satellite picture's looks
    query_looks: float = 0.0  # the same of the query's


def box_safe_crop(
    picture: Picture, box: Box, rng: np.random.Generator, *, erosion: float
) -> tuple[Changed, Box]:
    """A random part that keeps the box but for ``erosion`` of its sides, which are cut then."""
    height, width = picture.shape[:2]
    spare_x, spare_y = erosion * (box[2] - box[0]), erosion * (box[3] - box[1])
    low_x, low_y = max(0.0, box[0] + spare_x), max(0.0, box[1] + spare_y)
    high_x, high_y = min(float(width), box[2] - spare_x), min(float(height), box[3] - spare_y)
    left, top = int(low_x * rng.random()), int(low_y * rng.random())
    right = int(np.ceil(high_x + (width - high_x) * rng.random()))
    bottom = int(np.ceil(high_y + (height - high_y) * rng.random()))
    moved = (
        max(0.0, box[0] - left),
        max(0.0, box[1] - top),
        min(float(right - left), box[2] - left),
        min(float(bottom - top), box[3] - top),
    )
    return picture[top:bottom, left:right], moved


def quarter_turned(picture: Picture, box: Box, quarters: int) -> tuple[Changed, Box]:
    """Counter-clockwise."""
    height, width = picture.shape[:2]
    for _ in range(quarters % 4):
        left, top, right, bottom = box
        box = (top, width - right, bottom, width - left)
        height, width = width, height
    return turned_by_quarters(picture, quarters), box


def mirrored_box(picture: Picture, box: Box) -> tuple[Picture, Box]:
    width = picture.shape[1]
    return mirrored(picture), (width - box[2], box[1], width - box[0], box[3])


def mirrored_click(picture: Picture, click: Click) -> tuple[Picture, Click]:
    return mirrored(picture), (picture.shape[1] - click[0], click[1])


def rolled(picture: Picture, click: Click, columns: int) -> tuple[Picture, Click]:
    """To the right by whole columns; what leaves there comes in on the left."""
    width = picture.shape[1]
    return np.roll(picture, columns, axis=1), ((click[0] + columns) % width, click[1])


def object_looks(picture: Picture, rng: np.random.Generator, *, strength: float = 1.0) -> Picture:
    """A picture of the same size. ``strength`` scales the chances; 0 changes nothing.

    Unlike ``change_looks`` it makes no holes: one could swallow the object.
    """
    if rng.random() < NOISE_CHANCE * strength:
        spread = np.float32(np.sqrt(rng.uniform(*NOISE_VARIANCE)))
        noisy = picture + rng.standard_normal(picture.shape, dtype=np.float32) * spread
        picture = np.clip(noisy, 0, 255).astype(np.uint8)
    if rng.random() < TINT_CHANCE * strength:
        picture = _tinted(picture, rng)
    if rng.random() < BLUR_CHANCE * strength:
        side = int(rng.choice(BLUR_SIDES))
        soft = cv2.blur(picture, (side, side)) if rng.random() < 4 / 7 else None
        picture = np.asarray(cv2.medianBlur(picture, side) if soft is None else soft)
    if rng.random() < CONTRAST_CHANCE * strength:
        picture = _contrasted(picture, rng)
    if rng.random() < GREY_CHANCE * strength:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        picture = np.asarray(cv2.merge([grey, grey, grey]))
    if rng.random() < GAMMA_CHANCE * strength:
        gamma = rng.uniform(1 - GAMMA_MOST, 1 + GAMMA_MOST)
        table = (np.linspace(0, 1, 256) ** gamma * 255).round().astype(np.uint8)
        picture = np.asarray(cv2.LUT(picture, table))
    return picture


def _tinted(picture: Picture, rng: np.random.Generator) -> Picture:
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.int16)
    hsv += np.array([rng.integers(-most, most + 1) for most in TINT_MOST], np.int16)
    hsv[..., 0] %= 180
    changed = np.clip(hsv, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(changed, cv2.COLOR_HSV2RGB))


def _contrasted(picture: Picture, rng: np.random.Generator) -> Picture:
    """Brightness and contrast, or contrast evened out over the picture (CLAHE)."""
    if rng.random() < 4 / 7:
        contrast, brightness = 1 + rng.uniform(-CONTRAST_MOST, CONTRAST_MOST, 2)
        offset = (brightness - 1) * 255
        return np.asarray(cv2.convertScaleAbs(np.maximum(picture * contrast + offset, 0)))
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    even = cv2.createCLAHE(float(rng.uniform(*CLAHE_LIMIT)), CLAHE_TILES)
    lab[..., 0] = even.apply(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))
