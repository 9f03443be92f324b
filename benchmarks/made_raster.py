"""Large rasters made quickly, for the benchmarks of galleries."""

from pathlib import Path

import cv2
import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

BLOCK = 512


def write_raster(path: Path, side: int, *, gsd_m: float = 0.2, seed: int = 0) -> Path:
    """A tiled JPEG GeoTIFF with overviews, ``side`` pixels square, of blurred noise, in UTM.

    One square of ground is drawn and repeated, turned and shaded, so that making it costs
    little more than compressing it.
    """
    ground = _ground(seed)
    rows = range(0, side, BLOCK)
    profile = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32631",
        "transform": Affine(gsd_m, 0, 500_000, 0, -gsd_m, 5_316_000),
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "jpeg",
        "photometric": "ycbcr",
        "BIGTIFF": "IF_SAFER",
    }
    with rasterio.open(path, "w", **profile) as target:
        for top in rows:
            height = min(BLOCK, side - top)
            band = [np.rot90(ground, (top + left) // BLOCK * 7 % 4) for left in rows]
            line = np.concatenate(band, axis=1)[:height, :side]
            target.write(line.transpose(2, 0, 1), window=Window(0, top, side, height))
    options = {"COMPRESS_OVERVIEW": "JPEG", "PHOTOMETRIC_OVERVIEW": "YCBCR"}
    with rasterio.Env(**options), rasterio.open(path, "r+") as target:
        levels = [2**n for n in range(1, 8) if side >> n >= 256]
        target.build_overviews(levels, rasterio.enums.Resampling.nearest)
    return path


def _ground(seed: int) -> np.ndarray:
    dice = np.random.default_rng(seed)
    mixed = np.zeros((BLOCK, BLOCK, 3), np.float32)
    for cell in (4, 16, 64):
        noise = dice.random((BLOCK // cell, BLOCK // cell, 3), np.float32)
        mixed += cv2.resize(noise, (BLOCK, BLOCK), interpolation=cv2.INTER_CUBIC) / 3
    return (mixed * 255).clip(0, 255).astype(np.uint8)
