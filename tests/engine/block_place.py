"""A place of one coloured block after another on grey ground, its gallery, and photos of it."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pyproj

from app.engine.gallery_build import build_gallery
from app.messages import BuildGallery
from tests.engine.made_rasters import NORTH, UTM, WEST, write_place
from tests.engine.pair_folder import save
from tests.engine.stand_in import StandIn, card

BLOCK_M = 24.0
# Colour and centre, metres east and south of the place's north-west corner.
BLOCKS = {
    "red": ((255, 0, 0), (130.0, 150.0)),
    "green": ((0, 255, 0), (250.0, 130.0)),
    "blue": ((0, 0, 255), (200.0, 330.0)),
    "yellow": ((255, 255, 0), (12.0, 200.0)),  # at the western edge
}
GREY = 120


def colours(x, y):
    """RGB of points in UTM."""
    east, south = np.asarray(x) - WEST, NORTH - np.asarray(y)
    rgb = np.full((*east.shape, 3), float(GREY))
    for colour, (at_east, at_south) in BLOCKS.values():
        inside = (np.abs(east - at_east) < BLOCK_M / 2) & (np.abs(south - at_south) < BLOCK_M / 2)
        rgb[inside] = colour
    return rgb


def latlon_of(name: str) -> tuple[float, float]:
    """Where a block's centre lies."""
    east, south = BLOCKS[name][1]
    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(
        WEST + east, NORTH - south
    )
    return lat, lon


def make_gallery(folder: Path, **raster) -> Path:
    """Tiles of 80 m that overlap by half, in the raster's own or a made-up CRS."""
    folder.mkdir(parents=True, exist_ok=True)
    source = write_place(folder / "place.tif", **{"colours": colours, **raster})
    request = BuildGallery(source, Path("stand-in.safetensors"), folder / "gallery")
    build_gallery(request, StandIn(card()))
    return folder / "gallery"


@cache
def painted(width: int = 64, height: int = 64) -> np.ndarray:
    """A photo with a patch of each block's colour, from left to right; see ``patch_at``."""
    photo = np.full((height, width, 3), GREY, np.uint8)
    for i, (colour, _) in enumerate(BLOCKS.values()):
        x = width * (2 * i + 1) // (2 * len(BLOCKS))
        side = max(2, min(width, height) // 12)
        cv2.rectangle(
            photo, (x - side, height // 2 - side), (x + side, height // 2 + side), colour, -1
        )
    return photo


def patch_at(name: str, width: int = 64, height: int = 64) -> tuple[float, float]:
    i = list(BLOCKS).index(name)
    return width * (2 * i + 1) // (2 * len(BLOCKS)) + 0.5, height / 2 + 0.5


def write_photo(folder: Path, width: int = 64, height: int = 64) -> Path:
    path = folder / f"photo-{width}x{height}.png"
    save(path, painted(width, height))
    return path
