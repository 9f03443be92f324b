"""A town of coloured blocks with its gallery, a small network, and drone photos of known truth."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import rasterio
import torch
from PIL import Image
from rasterio.transform import from_origin

from app.card import Calibration, Card
from app.engine.checkpoints import load_checkpoint, save_checkpoint
from app.engine.framing import square_to_photo
from app.engine.gallery import Gallery, open_gallery
from app.engine.gallery_build import build_gallery
from app.messages import BuildGallery
from app.models.build import create

TILE_M, GSD_M, SIDE_PX = 64.0, 1.0, 384
INPUT = (64, 64)
_LEFT, _TOP = 500_000.0, 5_500_000.0  # EPSG:32631


@dataclass(frozen=True)
class Town:
    """Gallery and checkpoint on disk; ``ground`` is north up, one metre a pixel."""

    folder: Path
    checkpoint: Path
    gallery: Path
    ground: np.ndarray

    def open(self) -> Gallery:
        return open_gallery(self.gallery)

    def photo(self, tile: int, heading_deg: float, name: str = "photo.png", **options) -> Path:
        """What a camera straight above a tile's centre sees, its top facing ``heading_deg``."""
        gallery = self.open()
        x, y = gallery.xy[tile]
        gallery.close()
        side = int(TILE_M)
        # A margin, since the corners of a turned photo lie outside the tile.
        wide = self._around(x, y, 2 * side)
        matrix = square_to_photo((2 * side, 2 * side), (2 * side, 2 * side), heading_deg)
        turned = cv2.warpAffine(wide, matrix, (2 * side, 2 * side), flags=cv2.INTER_CUBIC)
        half = side // 2
        seen = turned[half : half + side, half : half + side]
        path = self.folder / name
        Image.fromarray(cv2.resize(seen, (4 * side, 4 * side))).save(path, **options)
        return path

    def _around(self, x: float, y: float, side: int) -> np.ndarray:
        column, row = round(x - _LEFT), round(_TOP - y)
        padded = cv2.copyMakeBorder(self.ground, side, side, side, side, cv2.BORDER_REFLECT)
        top, left = row + side - side // 2, column + side - side // 2
        return padded[top : top + side, left : left + side]


def make_town(folder: Path) -> Town:
    """Built once in a folder; a second call finds it there."""
    dice = np.random.default_rng(7)
    blocks = dice.integers(0, 255, (SIDE_PX // 16, SIDE_PX // 16, 3), dtype=np.uint8)
    ground = cv2.resize(blocks, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    path, gallery, raster = (folder / n for n in ("drone.safetensors", "gallery", "town.tif"))
    town = Town(folder, path, gallery, ground)
    if (gallery / "manifest.json").is_file():
        return town
    folder.mkdir(exist_ok=True)
    with rasterio.open(
        raster, "w", driver="GTiff", width=SIDE_PX, height=SIDE_PX, count=3, dtype="uint8",
        crs="EPSG:32631", transform=from_origin(_LEFT, _TOP, GSD_M, GSD_M),
    ) as file:  # fmt: skip
        file.write(np.moveaxis(ground, 2, 0))
    make_checkpoint(path, "drone", INPUT)
    request = BuildGallery(raster, path, gallery, tile_size_m=TILE_M, overlap=0.5)
    build_gallery(request, load_checkpoint(path, device="cpu"))
    return town


def make_checkpoint(
    path: Path, view: str, size: tuple[int, int], *, calibration: Calibration | None = None
) -> Path:
    """Fresh weights: enough to match a photo with the ground it was cut from."""
    torch.manual_seed(0)
    config = {
        "backbone": "resnet10t",
        "query_view": view,
        "query_size": size,
        "satellite_size": INPUT,
    }
    network = create("sample4geo", config)
    card = Card(
        network="sample4geo",
        config=config,
        title=f"small {view} network",
        task="retrieval",
        query_view=view,
        sizes={view: size, "satellite": INPUT},
        descriptor=network.descriptor,
        tile_size_m=TILE_M,
        turns=12,
    )
    save_checkpoint(path, network, replace(card, calibration=calibration))
    return path
