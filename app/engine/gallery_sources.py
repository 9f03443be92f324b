"""Where the tiles of a gallery come from: a raster, or a folder of pictures with positions."""

import contextlib
import csv
import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, UInt8

from app.engine.gallery import centred_square
from app.engine.photos import Query, list_photos, read_query
from app.engine.raster_files import MAX_WIDTH_DEG, utm_of
from app.engine.rasters import Imagery, open_imagery, to_latlon, to_xy
from app.engine.tile_grid import TileGrid, tile_grid, tile_name
from app.engine.tiles_gpkg import Tile
from app.errors import UserError
from app.geo import Area, LatLon

MIN_VALID = 0.5  # share of a tile's pixels below which it is not described
MIN_TILE_PX = 8  # of the imagery itself: less shows nothing
RUN_PX = 8192  # width of a band in memory


@dataclass(frozen=True, slots=True)
class Cut:
    """A tile ready to be described."""

    tile: Tile
    picture: UInt8[np.ndarray, "h w 3"]  # of the network's input size


@dataclass(frozen=True, slots=True)
class Skip:
    tile: str
    reason: str


class RasterSource:
    """Tiles of a raster, cut from bands that are read once, at the network's resolution."""

    kind: Literal["raster"] = "raster"

    def __init__(
        self, path: Path, *, tile_size_m: float, overlap: float, size: tuple[int, int]
    ) -> None:
        self._path = path
        with open_imagery(path) as imagery:
            self.crs, self.gsd_m, self._area = imagery.crs, imagery.gsd_m, imagery.area
            self.grid: TileGrid = tile_grid(
                imagery.bounds, tile_size_m=tile_size_m, overlap=overlap, size=size
            )
        if tile_size_m < MIN_TILE_PX * self.gsd_m:
            raise UserError(
                f"A tile of {tile_size_m:g} m is less than {MIN_TILE_PX} pixels of {path.name}, "
                f"whose pixels are {self.gsd_m:.3g} m",
                "Choose sharper imagery, or a checkpoint and tile size for this imagery.",
            )

    def __len__(self) -> int:
        return len(self.grid)

    def stamp(self) -> Any:
        """Changes when the source does."""
        found = self._path.stat()
        return [found.st_size, found.st_mtime_ns]

    def area(self, tiles: Iterable[Tile]) -> Area:
        """The box of the whole raster, whatever its tiles."""
        return self._area

    def cuts(self, done: Set[str]) -> Iterator[Cut | Skip]:
        """All tiles that are not ``done``."""
        with open_imagery(self._path) as imagery:
            for columns in self.grid.column_runs(RUN_PX):
                band = _Band(imagery, self.grid, columns)
                for row in range(len(self.grid.tops)):
                    wanted = [c for c in columns if tile_name(row, c) not in done]
                    if wanted:
                        yield from self._cut_row(band, row, wanted, imagery)

    def _cut_row(
        self, band: "_Band", row: int, wanted: list[int], imagery: Imagery
    ) -> Iterator[Cut | Skip]:
        try:
            band.move_to(row)
        except UserError:  # somewhere in it; the other tiles of the row can still be had
            for col in wanted:
                yield self._cut_alone(imagery, row, col)
            return
        for col in wanted:
            yield self._judge(imagery, row, col, *band.tile(col))

    def _cut_alone(self, imagery: Imagery, row: int, col: int) -> Cut | Skip:
        grid = self.grid
        try:
            pixels, valid = imagery.read(
                left=grid.left + grid.lefts[col] * grid.pixel_w,
                top=grid.top - grid.tops[row] * grid.pixel_h,
                width_m=grid.size[1] * grid.pixel_w,
                height_m=grid.size[0] * grid.pixel_h,
                size=grid.size,
            )
        except UserError as error:
            return Skip(tile_name(row, col), str(error))
        return self._judge(imagery, row, col, pixels, valid)

    def _judge(
        self,
        imagery: Imagery,
        row: int,
        col: int,
        pixels: UInt8[np.ndarray, "h w 3"],
        valid: Bool[np.ndarray, "h w"],
    ) -> Cut | Skip:
        name, share = tile_name(row, col), np.count_nonzero(valid) / valid.size
        if share < MIN_VALID:
            part = f"only {share:.0%} of it has data" if share else "no data"
            return Skip(name, part)
        picture = pixels.copy()
        if share < 1:  # a black wedge would be the strongest edge in the picture
            picture[~valid] = pixels[valid].mean(axis=0).astype(np.uint8)
        x, y = self.grid.centre(row, col)
        place = imagery.latlon(x, y)
        return Cut(Tile(name, row, col, x, y, place.lat, place.lon, share), picture)


class _Band:
    """One row of tiles of a run of columns; moving on keeps the lines that overlap."""

    def __init__(self, imagery: Imagery, grid: TileGrid, columns: range) -> None:
        self._imagery, self._grid = imagery, grid
        self._first = grid.lefts[columns[0]]
        self._width = grid.lefts[columns[-1]] + grid.size[1] - self._first
        self._top = self._bottom = 0  # lines held, of the grid's
        self._pixels = np.empty((0, self._width, 3), np.uint8)
        self._valid = np.empty((0, self._width), bool)

    def move_to(self, row: int) -> None:
        """Raises UserError where the imagery cannot be read; the next call starts anew."""
        top = self._grid.tops[row]
        bottom = top + self._grid.size[0]
        start = self._bottom if self._top <= top < self._bottom else top
        kept = slice(top - self._top, None) if start > top else slice(0, 0)
        old_pixels, old_valid = self._pixels[kept], self._valid[kept]
        self._top = self._bottom = 0
        pixels, valid = self._read(start, bottom)
        self._pixels = np.concatenate((old_pixels, pixels))
        self._valid = np.concatenate((old_valid, valid))
        self._top, self._bottom = top, bottom

    def tile(self, col: int) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
        left = self._grid.lefts[col] - self._first
        across = slice(left, left + self._grid.size[1])
        return self._pixels[:, across], self._valid[:, across]

    def _read(
        self, start: int, bottom: int
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
        grid = self._grid
        return self._imagery.read(
            left=grid.left + self._first * grid.pixel_w,
            top=grid.top - start * grid.pixel_h,
            width_m=self._width * grid.pixel_w,
            height_m=(bottom - start) * grid.pixel_h,
            size=(bottom - start, self._width),
        )


class PicturesSource:
    """Each picture with a position is one tile, its centred square ``tile_size_m`` wide.

    The position is what a CSV file in the folder says (columns file, lat, lon), else the
    picture's own metadata, else two decimal degrees in its name ("satellite_37.7750_-122.4190").
    """

    kind: Literal["pictures"] = "pictures"

    def __init__(self, folder: Path, *, tile_size_m: float, size: tuple[int, int]) -> None:
        self._folder, self._size, self._half_m = folder, size, tile_size_m / 2
        self._files = list_photos([folder]).photos
        if not self._files:
            raise UserError(f"There are no pictures in {folder}", "Choose another folder.")
        self._listed = _positions_listed(folder)
        anchor = self._first_position()
        if anchor is None:
            raise UserError(
                f"None of the {len(self._files)} pictures in {folder} says where it lies",
                "Choose pictures with GPS data, or put a CSV file with the columns "
                "file, lat, lon beside them.",
            )
        self._anchor, self.crs = anchor, utm_of(anchor)
        self.gsd_m = tile_size_m / size[1]

    def __len__(self) -> int:
        return len(self._files)

    def stamp(self) -> Any:
        """Changes when the source does."""
        found = [(path, path.stat()) for path in self._files]
        return [[str(p.relative_to(self._folder)), s.st_size, s.st_mtime_ns] for p, s in found]

    def cuts(self, done: Set[str]) -> Iterator[Cut | Skip]:
        """All pictures that are not ``done``."""
        for number, path in enumerate(self._files):
            name = f"p{number:05d}"
            if name not in done:
                yield self._cut(name, number, path)

    def area(self, tiles: Iterable[Tile]) -> Area:
        """The box of footprints."""
        xy = np.array([(t.x, t.y) for t in tiles])
        low, high = xy.min(axis=0) - self._half_m, xy.max(axis=0) + self._half_m
        box = np.array([low, (low[0], high[1]), high, (high[0], low[1])])
        corners = to_latlon(self.crs, box)
        (south, west), (north, east) = corners.min(axis=0), corners.max(axis=0)
        return Area(float(south), float(west), float(north), float(east))

    def _cut(self, name: str, number: int, path: Path) -> Cut | Skip:
        file = path.relative_to(self._folder).as_posix()
        try:
            query = read_query(path)
        except UserError as error:
            return Skip(name, str(error))
        place = self._position(path, query)
        if place is None:
            return Skip(name, f"{file} says no position")
        if abs(place.lon - self._anchor.lon) > MAX_WIDTH_DEG / 2:
            return Skip(name, f"{file} lies too far from the others, at {place}")
        x, y = to_xy(self.crs, place)
        tile = Tile(name, number, 0, x, y, place.lat, place.lon, 1.0, file)
        return Cut(tile, centred_square(query.image, self._size))

    def _first_position(self) -> LatLon | None:
        for path in self._files:
            with contextlib.suppress(UserError):  # told when its turn comes
                place = self._position(path, read_query(path))
                if place is not None:
                    return place
        return None

    def _position(self, path: Path, query: Query) -> LatLon | None:
        listed = self._listed.get(path.relative_to(self._folder).as_posix())
        listed = listed or self._listed.get(path.name)
        if listed is not None:
            return listed
        return query.claim.position if query.claim is not None else _position_named(path.stem)


def _positions_listed(folder: Path) -> dict[str, LatLon]:
    """By file, from all CSV files of the folder that have the columns."""
    found: dict[str, LatLon] = {}
    for path in sorted(folder.glob("*.csv")):
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                for number, row in enumerate(csv.DictReader(file), 2):
                    if {"file", "lat", "lon"} <= row.keys():
                        found[row["file"]] = _position_of(row, path, number)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path} cannot be read ({error})", "Save it as UTF-8.") from error
    return found


def _position_of(row: dict[str, str], path: Path, line: int) -> LatLon:
    try:
        return LatLon(float(row["lat"]), float(row["lon"]))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}, line {line}: {error}", "Write lat and lon in degrees, as 37.7750."
        ) from error


_NAMED = re.compile(r"(?<![\d.])(-?\d{1,2}\.\d{4,})[ _,@]+(-?\d{1,3}\.\d{4,})(?!\d)")


def _position_named(stem: str) -> LatLon | None:
    """Two numbers of at least four decimals, latitude first."""
    match = _NAMED.search(stem)
    if match is None or abs(float(match[1])) > 90 or abs(float(match[2])) > 180:
        return None
    return LatLon(float(match[1]), float(match[2]))
