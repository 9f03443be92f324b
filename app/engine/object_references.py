"""References: squares of a gallery's imagery of the ground size that an object network learnt."""

from collections.abc import Hashable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from app.card import Card
from app.engine.gallery import Gallery
from app.engine.rasters import to_latlon
from app.engine.shelf import Shelf, cache_name
from app.errors import UserError
from app.geo import LatLon
from app.object_messages import Reference

QUALITY = 92


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A reference's pixels; made by ``cut_reference``."""

    tile: str
    x: float
    y: float
    size_m: float
    pixels: UInt8[np.ndarray, "s s 3"]
    valid: Bool[np.ndarray, "s s"]

    @property
    def size_px(self) -> int:
        return len(self.pixels)


def reference_px(card: Card) -> int:
    """Side of a checkpoint's satellite input. Raises UserError where it is no square."""
    height, width = card.sizes["satellite"]
    if height != width:
        raise UserError(
            f"{card.title} takes satellite pictures of {width} x {height} pixels",
            "Objects are found in squares; choose another checkpoint.",
        )
    return height


def cut_key(gallery: Gallery, x: float, y: float, size_m: float, size_px: int) -> Hashable:
    """Stands for a cut, as long as the gallery is the same."""
    return (
        gallery.folder.absolute(), gallery.manifest.created, round(x, 3), round(y, 3), size_m,
        size_px,
    )  # fmt: skip


def cut_reference(gallery: Gallery, tile: str, x: float, y: float, card: Card) -> Cut:
    """Raises UserError where the imagery has moved, or none of it lies there."""
    size_m, size_px = card.tile_size_m, reference_px(card)
    pixels, valid = gallery.cut(x=x, y=y, size_m=size_m, size_px=size_px)
    if not valid.any():
        raise UserError(
            f"There is no imagery around tile {tile} of {gallery.manifest.name}",
            "Choose another candidate.",
        )
    return Cut(tile, x, y, size_m, pixels, valid)


def told(cut: Cut, gallery: Gallery, shelf: Shelf) -> Reference:
    """What the window and the files are told of a cut; writes its picture."""
    half = cut.size_m / 2
    corners = [
        (cut.x + east * half, cut.y + north * half)
        for east, north in ((-1, 1), (1, 1), (1, -1), (-1, -1))
    ]
    key = cut_key(gallery, cut.x, cut.y, cut.size_m, cut.size_px)
    name = cache_name("reference", ".jpg", key)
    return Reference(
        tile=cut.tile,
        x=cut.x,
        y=cut.y,
        size_m=cut.size_m,
        size_px=cut.size_px,
        valid_share=float(cut.valid.mean()),
        footprint=latlons(gallery.manifest.crs, corners),
        picture=shelf.kept(name) or shelf.keep(name, jpeg(cut.pixels)),
    )


def latlons(crs: str, points: list[tuple[float, float]]) -> tuple[LatLon, ...]:
    """Of eastings and northings."""
    return tuple(LatLon(float(lat), float(lon)) for lat, lon in to_latlon(crs, np.array(points)))


def jpeg(picture: UInt8[np.ndarray, "h w 3"], *, quality: int = QUALITY) -> bytes:
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()
