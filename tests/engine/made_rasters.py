"""Tiny rasters whose colours say where they lie: red counts metres east, green metres north."""

from pathlib import Path

import numpy as np
import pyproj
import rasterio
from rasterio.transform import Affine

UTM = "EPSG:32631"
WEST, NORTH = 500_000.0, 5_316_000.0  # of the place, in UTM
EXTENT_M = 400.0


def colours_at(x, y):
    """RGB of points in UTM; blue is 128 throughout."""
    red = (np.asarray(x) - WEST) / EXTENT_M * 200 + 20
    green = (NORTH - np.asarray(y)) / EXTENT_M * 200 + 20
    return np.stack((red, green, np.full_like(red, 128.0)), axis=-1)


def write_raster(path: Path, bands: np.ndarray, crs: str | None, transform: Affine, **options):
    """``bands`` is [c, h, w]. Options of rasterio; ``interpretation`` names the bands."""
    names = options.pop("interpretation", None)
    overviews = options.pop("overviews", ())
    profile = {"driver": "GTiff", "crs": crs, "transform": transform, "dtype": bands.dtype}
    count, height, width = bands.shape
    size = {"count": count, "height": height, "width": width}
    with rasterio.open(path, "w", **profile, **size, **options) as target:
        if names:
            target.colorinterp = names
        target.write(bands)
        if overviews:
            target.build_overviews(list(overviews), rasterio.enums.Resampling.average)
    return path


def write_place(
    path: Path,
    crs: str = UTM,
    *,
    pixel_m: float = 1.0,
    turn_deg: float = 0,
    colours=colours_at,
    **more,
):
    """The place as a raster of ``crs``: colours computed for each of its pixels."""
    to_crs = pyproj.Transformer.from_crs(UTM, crs, always_xy=True)
    corners = np.array([(0, 0), (1, 0), (0, -1), (1, -1)]) * EXTENT_M + (WEST, NORTH)
    x, y = to_crs.transform(*corners.T)
    left, right, bottom, top = min(x), max(x), min(y), max(y)
    pixels = round(EXTENT_M / pixel_m)
    step_x, step_y = (right - left) / pixels, (top - bottom) / pixels
    transform = Affine(step_x, 0, left, 0, -step_y, top)
    if turn_deg:
        c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
        transform = Affine(step_x * c, -step_x * s, left, -step_y * s, -step_y * c, top)
    columns, rows = np.meshgrid(np.arange(pixels) + 0.5, np.arange(pixels) + 0.5)
    px = transform.a * columns + transform.b * rows + transform.c
    py = transform.d * columns + transform.e * rows + transform.f
    ux, uy = pyproj.Transformer.from_crs(crs, UTM, always_xy=True).transform(px, py)
    bands = colours(ux, uy).clip(0, 255).round().astype(np.uint8).transpose(2, 0, 1)
    return write_raster(path, bands, crs, transform, **more)
