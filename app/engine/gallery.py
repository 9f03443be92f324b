"""A finished gallery folder, opened and verified. Building one is ``gallery_build``."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float16, Shaped, UInt8

from app.engine.photos import read_rgb
from app.engine.rasters import Imagery, open_imagery, to_latlon
from app.engine.tiles_gpkg import Tile, read_tiles
from app.errors import UserError
from app.geo import LatLon
from app.manifest import Manifest, read_manifest

DESCRIPTORS, TILES, BASEMAP, THUMBNAILS = (
    "descriptors.npy",
    "tiles.gpkg",
    "basemap.mbtiles",
    "thumbnails",
)
THUMBNAIL_SIDE = 128
MOSAIC_PICTURES = 16  # read for one cut, at most
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, eq=False)
class Gallery:
    """The tiles of an area and their descriptors; index i is one tile everywhere.

    Made by ``open_gallery``. For one thread at a time.
    """

    folder: Path
    manifest: Manifest
    tiles: tuple[Tile, ...]
    descriptors: Float16[np.ndarray, "n d"]  # memory-mapped, unit rows
    _imagery: list[Imagery] = field(default_factory=list)  # opened on first use; at most one

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(tile.tile for tile in self.tiles)

    @cached_property
    def xy(self) -> Float[np.ndarray, "n 2"]:
        """Centres: easting and northing in metres of ``manifest.crs``."""
        return np.array([(tile.x, tile.y) for tile in self.tiles])

    @cached_property
    def latlon(self) -> Float[np.ndarray, "n 2"]:
        """Centres: latitude and longitude in degrees."""
        return np.array([(tile.lat, tile.lon) for tile in self.tiles])

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {name: i for i, name in enumerate(self.ids)}

    @property
    def source(self) -> Path:
        """The imagery it was built from; it may have moved."""
        return self.manifest.source_in(self.folder)

    @property
    def note(self) -> str:
        if self.source.exists():
            return ""
        return f"Its imagery {self.source} has moved: pictures come from the thumbnails."

    def index_of(self, tile_id: str) -> int:
        try:
            return self._index[tile_id]
        except KeyError:
            raise UserError(
                f"The gallery {self.manifest.name} has no tile {tile_id}", "Locate the photo again."
            ) from None

    def footprint(self, i: int) -> tuple[LatLon, ...]:
        """Corners, clockwise from north-west."""
        return self.footprints([i])[0]

    def footprints(self, indices: Sequence[int]) -> tuple[tuple[LatLon, ...], ...]:
        """Those of several tiles at once: many times as fast as one by one."""
        half = self.manifest.tile_size_m / 2
        signs = np.array([(-1, 1), (1, 1), (1, -1), (-1, -1)], np.float64)
        corners = (self.xy[list(indices), None] + signs * half).reshape(-1, 2)
        places = [
            LatLon(float(lat), float(lon)) for lat, lon in to_latlon(self.manifest.crs, corners)
        ]
        return tuple(tuple(places[start : start + 4]) for start in range(0, len(places), 4))

    def thumbnail(self, i: int) -> Path:
        """A JPEG of at most ``THUMBNAIL_SIDE`` px a side."""
        return self.folder / THUMBNAILS / f"{self.tiles[i].tile}.jpg"

    def picture(self, i: int, *, size_px: int) -> UInt8[np.ndarray, "size_px size_px 3"]:
        """From the source imagery; from the thumbnail where that has gone or cannot be read."""
        with contextlib.suppress(UserError):
            if self.manifest.source_kind == "pictures":
                return centred_square(read_rgb(self._picture_file(i)), (size_px, size_px))
            return self._read_raster(i, size_px)
        thumbnail = read_rgb(self.thumbnail(i))
        return cv2.resize(thumbnail, (size_px, size_px), interpolation=cv2.INTER_CUBIC).astype(
            np.uint8, copy=False
        )

    def cut(
        self, *, x: float, y: float, size_m: float, size_px: int
    ) -> tuple[UInt8[np.ndarray, "size_px size_px 3"], Bool[np.ndarray, "size_px size_px"]]:
        """A square of the source imagery centred at x, y of ``manifest.crs``; where it is valid.

        Any place and size, unlike ``picture``; black where there is no imagery. Raises UserError
        where the imagery has moved or another has taken its place: thumbnails will not do here.
        """
        if not self.source.exists():
            raise UserError(
                f"The imagery {self.source} of the gallery {self.manifest.name} has moved",
                "Put it back, or build the gallery again from where it is now.",
            )
        if self.manifest.source_kind == "pictures":
            return self._mosaic(x, y, size_m, size_px)
        return self._source_imagery().read(
            left=x - size_m / 2,
            top=y + size_m / 2,
            width_m=size_m,
            height_m=size_m,
            size=(size_px, size_px),
        )

    def require(self, checkpoint: str, title: str) -> None:
        """Raise UserError unless its descriptors are by the checkpoint of this SHA-256."""
        if checkpoint != self.manifest.checkpoint:
            raise UserError(
                f"The gallery {self.manifest.name} was built with the checkpoint "
                f"{self.manifest.checkpoint_title} ({self.manifest.checkpoint[:8]}), "
                f"not with {title} ({checkpoint[:8]})",
                f"Choose {self.manifest.checkpoint_title}, or build the gallery again with "
                f"{title}.",
            )

    def close(self) -> None:
        """Let go of the source imagery; it is opened again when needed."""
        for imagery in self._imagery:
            imagery.close()
        self._imagery.clear()

    def _picture_file(self, i: int) -> Path:
        return self.source / (self.tiles[i].file or "")

    def _read_raster(self, i: int, size_px: int) -> UInt8[np.ndarray, "size_px size_px 3"]:
        tile, side = self.tiles[i], self.manifest.tile_size_m
        pixels, _ = self.cut(x=tile.x, y=tile.y, size_m=side, size_px=size_px)
        return pixels

    def _source_imagery(self) -> Imagery:
        if not self._imagery:
            imagery = open_imagery(self.source)
            if imagery.crs != self.manifest.crs:  # another file has taken its place
                imagery.close()
                raise UserError(
                    f"{self.source} is no longer the imagery of the gallery {self.manifest.name}",
                    "Put that back, or build the gallery again.",
                )
            self._imagery.append(imagery)
        return self._imagery[0]

    def _mosaic(
        self, x: float, y: float, size_m: float, size_px: int
    ) -> tuple[UInt8[np.ndarray, "size_px size_px 3"], Bool[np.ndarray, "size_px size_px"]]:
        """Of the pictures around a point, the nearest on top."""
        pixels = np.zeros((size_px, size_px, 3), np.uint8)
        valid = np.zeros((size_px, size_px), bool)
        gsd, side = size_m / size_px, self.manifest.tile_size_m
        part = max(1, round(side / gsd))
        away = self.xy - (x, y)
        near = np.flatnonzero((np.abs(away) < (size_m + side) / 2).all(axis=1))
        order = near[np.argsort(np.hypot(*away[near].T), kind="stable")][:MOSAIC_PICTURES]
        for i in order[::-1]:
            left = round((away[i, 0] - side / 2) / gsd + size_px / 2)
            top = round(size_px / 2 - (away[i, 1] + side / 2) / gsd)
            picture = centred_square(read_rgb(self._picture_file(int(i))), (part, part))
            below, right = max(0, size_px - top), max(0, size_px - left)
            inside = picture[max(0, -top) : below, max(0, -left) : right]
            rows = slice(max(0, top), max(0, top) + inside.shape[0])
            columns = slice(max(0, left), max(0, left) + inside.shape[1])
            pixels[rows, columns] = inside
            valid[rows, columns] = True
        return pixels, valid


def open_gallery(folder: Path, *, verify: bool = True) -> Gallery:
    """Raises UserError naming the file that is missing or altered and what to do.

    With ``verify`` the hash of every file that the manifest lists is computed (about a second
    for a gigabyte); without, only that they are there and fit each other is checked.
    """
    manifest = read_manifest(folder)
    for name, digest in manifest.files.items():
        path = folder / name
        if Path(name).name != name:
            raise _damaged(folder, f"its manifest names {name}, outside the folder")
        if not path.is_file():
            raise _damaged(folder, f"{name} is missing")
        if verify and sha256_of(path) != digest:
            raise _damaged(folder, f"{name} has been changed since the gallery was built")
    for name in (DESCRIPTORS, TILES):
        if name not in manifest.files:
            raise _damaged(folder, f"its manifest does not list {name}")
    tiles = tuple(read_tiles(folder / TILES))
    descriptors = _map_descriptors(folder)
    wanted = (manifest.tiles, manifest.descriptor)
    if descriptors.shape != wanted or descriptors.dtype != np.float16:
        found = f"{descriptors.dtype} {descriptors.shape}"
        raise _damaged(folder, f"{DESCRIPTORS} holds {found}, not float16 {wanted}")
    if len(tiles) != manifest.tiles:
        raise _damaged(folder, f"{TILES} holds {len(tiles)} tiles, not {manifest.tiles}")
    return Gallery(folder, manifest, tiles, descriptors)


def centred_square(
    image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The largest centred square, resized to ``size`` (height, width)."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    smooth = cv2.INTER_AREA if side > min(size) else cv2.INTER_LINEAR
    return cv2.resize(square, size[::-1], interpolation=smooth).astype(np.uint8, copy=False)


def sha256_of(path: Path, between: Callable[[], None] = lambda: None) -> str:
    """``between`` is called now and then: a large file takes seconds."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                between()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
    return digest.hexdigest()


def _map_descriptors(folder: Path) -> Shaped[np.ndarray, "..."]:
    try:
        mapped: Shaped[np.ndarray, ...] = np.load(
            folder / DESCRIPTORS, mmap_mode="r", allow_pickle=False
        )
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{DESCRIPTORS} cannot be read ({error})") from error
    return mapped


def _damaged(folder: Path, what: str) -> UserError:
    return UserError(
        f"The gallery {folder.name} is damaged: {what} ({folder})",
        "Restore the file from a copy, or build the gallery again.",
    )
