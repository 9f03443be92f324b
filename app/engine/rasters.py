"""Georeferenced imagery, read by window, in metres, north up, whatever the file's CRS.

The *grid CRS* of a raster is its own where that is north up, in metres and true to scale; else
the UTM zone of its centre, into which windows are warped as they are read. So a length in the
grid CRS is a length on the ground within 0.5 %, and memory does not grow with the raster.
Which files are opened, and how, is decided in ``raster_files``.
"""

import contextlib
import math
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import pyproj
from jaxtyping import Bool, Float, Shaped, UInt8

from app.engine import raster_files as files  # before rasterio: it sets PROJ right
from app.errors import UserError
from app.geo import LatLon

import rasterio  # isort: skip
from rasterio._err import CPLE_BaseError  # isort: skip
from rasterio.crs import CRS  # isort: skip
from rasterio.enums import ColorInterp, Resampling  # isort: skip
from rasterio.errors import RasterioError  # isort: skip
from rasterio.transform import Affine  # isort: skip
from rasterio.vrt import WarpedVRT  # isort: skip
from rasterio.windows import Window  # isort: skip

_Box = tuple[float, float, float, float]  # left, bottom, right, top

_MERCATOR = CRS.from_epsg(3857)
_FAR = 1e-9
_NEARLY = 1.05  # an overview this much coarser than what is wanted will do


class Imagery:
    """One raster, open for reading; made by ``open_imagery``.

    ``crs`` is the grid CRS as "EPSG:n", or WKT where it has no code. ``bounds`` are left,
    bottom, right, top in it. ``gsd_m`` is the ground size of the file's own pixels. Several
    threads may read: each has its own GDAL handles.

    Bands: those marked red, green, blue; else a palette's colours; else the first three; else
    the first, as grey. What is not 8-bit is stretched: ``stretch`` = the 2nd and the 98th
    percentile of valid samples become 0 and 255, the same for all bands (so colours keep their
    balance) and for every window of the raster.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._lock = threading.Lock()
        self._opened: list[Any] = []
        with contextlib.ExitStack() as on_error:
            on_error.callback(self.close)
            self._survey(self._source(None))
            on_error.pop_all()

    def _survey(self, source: Any) -> None:
        path = self.path
        self._own_crs = files.source_crs(source, path)
        self._levels: tuple[int, ...] = tuple(source.overviews(1))
        self._channels, self._palette = files.channels(source, path)
        self._has_mask = files.has_mask(source)
        self.stretch = self._choose_stretch(source)
        own = pyproj.CRS.from_wkt(self._own_crs.to_wkt())
        lonlat = _transform(own, "EPSG:4326", files.edge(source))
        self.area = files.area_of(lonlat, path)
        native = files.grid_crs(source, self._own_crs, path)
        self._native = native is not None
        self.crs = native or self._utm()
        self._grid = CRS.from_user_input(self.crs)
        self._to_wgs84 = pyproj.Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)
        ring = _transform(own, self.crs, files.edge(source))
        (left, bottom), (right, top) = ring.min(axis=0), ring.max(axis=0)
        self.bounds = (float(left), float(bottom), float(right), float(top))
        t, (x, y) = source.transform, files.centre(source)
        at, right_of, below = _transform(
            own, self.crs, np.array([(x, y), (x + t.a, y + t.d), (x + t.b, y + t.e)])
        )
        self.gsd_m = math.sqrt(abs(np.linalg.det(np.stack((right_of - at, below - at)))))

    def _choose_stretch(self, source: Any) -> tuple[float, float] | None:
        needed = source.dtypes[0] != "uint8"
        if not needed and not self._has_mask:
            return None
        samples = files.sample(source, self._channels, masked=self._has_mask)
        if samples.size == 0:
            raise UserError(
                f"{self.path.name} holds no imagery: none of its pixels is valid",
                "Choose another raster, or correct its nodata value with gdal_edit.",
            )
        if not needed:
            return None
        low, high = (float(v) for v in np.percentile(samples, (2, 98)))
        return low, high if high > low else low + 1.0

    def _utm(self) -> str:
        width_deg = self.area.east - self.area.west
        if width_deg > files.MAX_WIDTH_DEG:
            raise UserError(
                f"{self.path.name} spans {width_deg:.0f} degrees of longitude",
                "Cut it into parts: gdal_translate -projwin west north east south in.tif out.tif",
            )
        return files.utm_of(self.area.centre)

    def __enter__(self) -> "Imagery":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            for source in self._opened:
                source.close()
            self._opened.clear()
            self._local = threading.local()

    def latlon(self, x: float, y: float) -> LatLon:
        """Of a point in the grid CRS."""
        lon, lat = self._to_wgs84.transform(x, y)
        return LatLon(lat, lon)

    def read(
        self, *, left: float, top: float, width_m: float, height_m: float, size: tuple[int, int]
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
        """A window of the grid CRS as RGB of ``size`` (height, width), and where it is valid.

        The window may leave the raster: not valid, and black, there. Shrinking averages, from
        the overview next finer than what is wanted; else bilinear. Raises UserError if the
        file cannot be decoded here.
        """
        box = (left, top - height_m, left + width_m, top)
        pixel_m = math.sqrt(width_m / size[1] * height_m / size[0])
        return self._read(box, size, pixel_m, None if self._native else self._grid)

    def read_mercator(
        self, *, left: float, top: float, side: float, size_px: int
    ) -> tuple[UInt8[np.ndarray, "size_px size_px 3"], Bool[np.ndarray, "size_px size_px"]]:
        """As ``read``, of a square of web Mercator (EPSG:3857), in its units."""
        pixel_m = side / size_px * math.cos(math.radians(self.area.centre.lat))
        box = (left, top - side, left + side, top)
        return self._read(box, (size_px, size_px), pixel_m, _MERCATOR)

    def _read(
        self, box: _Box, size: tuple[int, int], pixel_m: float, crs: CRS | None
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
        """``pixel_m``: what a pixel of the answer is on the ground. ``crs`` None: the file's."""
        shrink = pixel_m / self.gsd_m
        level = max((n for n in self._levels if n <= shrink * _NEARLY), default=0)
        shrink /= max(level, 1)
        resampling = Resampling.average if shrink > 1 else Resampling.bilinear
        source = self._source(self._levels.index(level) if level else None)
        try:
            with rasterio.Env(**files.OPTIONS):
                if self._palette is not None:
                    return self._read_palette(source, box, size, crs, shrink)
                window = self._window_inside(source, box, size) if crs is None else None
                if window is not None:
                    return self._finish(*self._read_direct(source, window, size, resampling))
                return self._finish(*self._read_warped(source, box, size, crs, resampling))
        except (RasterioError, CPLE_BaseError) as error:
            with contextlib.suppress(CPLE_BaseError):
                _ = source.colorinterp  # GDAL keeps the error, and tells it once more: now
            why = files.first_line(error)
            raise UserError(
                f"{self.path.name} cannot be read at {self._place(box, crs)} ({why})",
                "The file is damaged there: copy it again from its source.",
            ) from error

    def _place(self, box: _Box, crs: CRS | None) -> str:
        name = self.crs if crs is not _MERCATOR else "EPSG:3857"
        middle = np.array([((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)])
        lat, lon = to_latlon(name, middle)[0]
        return f"{lat:.5f}, {lon:.5f}"

    def _source(self, overview: int | None) -> Any:
        """This thread's handle of the file, or of its nth overview."""
        key = (os.getpid(), overview)
        handles: dict[tuple[int, int | None], Any] = self._local.__dict__.setdefault("handles", {})
        if key not in handles:
            handles[key] = files.open_source(self.path, overview)
            with self._lock:
                self._opened.append(handles[key])
        return handles[key]

    def _window_inside(self, source: Any, box: _Box, size: tuple[int, int]) -> Window | None:
        """The box in pixels of ``source`` if it lies in it, give or take one pixel of ``size``."""
        inverse = ~source.transform
        (x0, y0) = files.along(inverse, box[0], box[3])
        (x1, y1) = files.along(inverse, box[2], box[1])
        spare_x, spare_y = (x1 - x0) / size[1] + _FAR, (y1 - y0) / size[0] + _FAR
        if x0 < -spare_x or y0 < -spare_y:
            return None
        if x1 > source.width + spare_x or y1 > source.height + spare_y:
            return None
        x0, y0 = max(x0, 0.0), max(y0, 0.0)
        x1, y1 = min(x1, float(source.width)), min(y1, float(source.height))
        return Window(x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None

    def _read_direct(
        self, source: Any, window: Window, size: tuple[int, int], resampling: Resampling
    ) -> tuple[Shaped[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        """Same CRS, all inside: GDAL's own resampling, about three times as fast as warping."""
        count = len(self._channels)
        bands = source.read(
            list(self._channels), window=window, out_shape=(count, *size), resampling=resampling
        )
        if not self._has_mask:
            return bands, np.ones(size, bool)
        return bands, source.dataset_mask(
            window=window, out_shape=size, resampling=Resampling.nearest
        ).astype(bool)

    def _read_warped(
        self,
        source: Any,
        box: _Box,
        size: tuple[int, int],
        crs: CRS | None,
        resampling: Resampling,
    ) -> tuple[Shaped[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        height, width = size
        has_alpha = ColorInterp.alpha in source.colorinterp
        options = {
            "src_crs": self._own_crs,
            "crs": crs or self._own_crs,
            "transform": Affine(
                (box[2] - box[0]) / width, 0, box[0], 0, (box[1] - box[3]) / height, box[3]
            ),
            "width": width,
            "height": height,
            "resampling": resampling,
            "add_alpha": not has_alpha,
        }
        with WarpedVRT(source, **options) as warped:
            alpha = warped.colorinterp.index(ColorInterp.alpha) + 1
            read = warped.read([*self._channels, alpha])
        return read[:-1], read[-1] > 0

    def _read_palette(
        self,
        source: Any,
        box: _Box,
        size: tuple[int, int],
        crs: CRS | None,
        shrink: float,
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
        """Indices must not be averaged: read them finer, then average their colours."""
        assert self._palette is not None
        finer = min(8, max(1, math.ceil(shrink)))
        fine = (size[0] * finer, size[1] * finer)
        bands, valid = self._read_warped(source, box, fine, crs, Resampling.nearest)
        colours = self._palette[bands[0]]
        valid = valid & (colours[..., 3] > 0)
        pixels = np.where(valid[..., None], colours[..., :3], np.uint8(0))
        if finer > 1:
            pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
            share = cv2.resize(valid.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
            pixels = (pixels / np.maximum(share, 1e-6)[..., None]).clip(0, 255).astype(np.uint8)
            valid = share > 0
        return pixels, valid

    def _finish(
        self, bands: Shaped[np.ndarray, "c h w"], valid: Bool[np.ndarray, "h w"]
    ) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
        """Stretched, in pixel order, grey repeated, black where it is not valid."""
        if self.stretch is not None:
            if bands.dtype.kind == "f":
                valid = valid & np.isfinite(bands).all(axis=0)
            low, high = self.stretch
            scaled = (bands.astype(np.float32) - low) * (255 / (high - low)) + 0.5
            scaled[:, ~valid] = 0
            bands = scaled.clip(0, 255).astype(np.uint8)
        red, *others = bands
        pixels = cv2.merge([red, *(others or (red, red))])  # thrice as fast as numpy's transpose
        if not valid.all():
            pixels[~valid] = 0
        return pixels, valid


def open_imagery(path: Path) -> Imagery:
    """Any georeferenced raster of ``DRIVERS``. Use as a context manager.

    Raises UserError, naming the file, where it is no raster, has no CRS, holds only nodata, lies
    on a network path of GDAL, or cannot serve as a map (crosses the date line, spans a continent
    in degrees, is stored in one huge block).
    """
    with rasterio.Env(**files.OPTIONS):
        return Imagery(path)


def to_latlon(crs: str, xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Latitude and longitude in degrees of points of ``crs`` (easting, northing)."""
    return _transform(crs, "EPSG:4326", xy)[:, ::-1]


def to_xy(crs: str, place: LatLon) -> tuple[float, float]:
    """Easting and northing in ``crs``."""
    ((x, y),) = _transform("EPSG:4326", crs, np.array([(place.lon, place.lat)]))
    return float(x), float(y)


def _transform(
    source: Any, target: Any, points: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """``source`` and ``target`` are whatever pyproj takes for a CRS; x before y."""
    transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
    return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))
