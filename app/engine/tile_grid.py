"""Where the tiles of a raster lie: a regular grid in pixels of the network's input."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from app.errors import UserError

MAX_TILES = 5_000_000
MAX_OVERLAP = 0.95


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Square tiles that cover a box on the ground, from its north-west corner on.

    Counted in pixels of which a tile has exactly the network's input size, so that a tile is a
    slice of a band read at that resolution. The last row and column are moved back inside; the
    pixel grid, whole pixels, is centred on the box and leaves it by less than a pixel.
    """

    left: float  # metres, of pixel 0
    top: float
    pixel_w: float  # metres
    pixel_h: float
    size: tuple[int, int]  # height and width of a tile in pixels
    tops: tuple[int, ...]  # first pixel of each row of tiles
    lefts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def centre(self, row: int, col: int) -> tuple[float, float]:
        """Easting and northing of a tile's centre."""
        x = self.left + (self.lefts[col] + self.size[1] / 2) * self.pixel_w
        return x, self.top - (self.tops[row] + self.size[0] / 2) * self.pixel_h

    def column_runs(self, max_px: int) -> Iterator[range]:
        """Columns in groups that are at most ``max_px`` pixels wide together (at least one)."""
        first = 0
        for col in range(len(self.lefts)):
            if self.lefts[col] + self.size[1] - self.lefts[first] > max_px and col > first:
                yield range(first, col)
                first = col
        yield range(first, len(self.lefts))


def tile_grid(
    bounds: tuple[float, float, float, float],
    *,
    tile_size_m: float,
    overlap: float,
    size: tuple[int, int],
) -> TileGrid:
    """``bounds``: left, bottom, right, top in metres. ``overlap``: the least share in common.

    A box smaller than a tile gets one tile, centred on it.
    """
    if not (math.isfinite(tile_size_m) and tile_size_m > 0):
        raise UserError(f"A tile size of {tile_size_m} m is no size", "Choose one above 0 m.")
    if not 0 <= overlap <= MAX_OVERLAP:
        raise UserError(
            f"An overlap of {overlap} cannot be had", f"Choose one from 0 to {MAX_OVERLAP}."
        )
    left, bottom, right, top = bounds
    pixel_w, pixel_h = tile_size_m / size[1], tile_size_m / size[0]
    width, lefts = _axis(right - left, pixel_w, size[1], overlap)
    height, tops = _axis(top - bottom, pixel_h, size[0], overlap)
    if len(lefts) * len(tops) > MAX_TILES:
        raise UserError(
            f"That would be {len(lefts) * len(tops):,} tiles, more than {MAX_TILES:,}",
            "Choose larger tiles or less overlap, or cut the imagery into parts.",
        )
    return TileGrid(
        left=(left + right - width * pixel_w) / 2,
        top=(top + bottom + height * pixel_h) / 2,
        pixel_w=pixel_w,
        pixel_h=pixel_h,
        size=size,
        tops=tops,
        lefts=lefts,
    )


def tile_name(row: int, col: int) -> str:
    return f"r{row:03d}c{col:03d}"


def _axis(
    length_m: float, pixel_m: float, tile: int, overlap: float
) -> tuple[int, tuple[int, ...]]:
    """Length in whole pixels, and the first pixel of each tile."""
    length = max(tile, math.ceil(length_m / pixel_m - 1e-6))
    step = max(1, math.floor(tile * (1 - overlap) + 1e-6))
    count = 1 + math.ceil((length - tile) / step)
    return length, tuple(min(i * step, length - tile) for i in range(count))
