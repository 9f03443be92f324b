"""Opening a raster file: which files, which of their bands, where they lie. See ``rasters``.

GDAL opens a local file with one of ``DRIVERS`` and nothing else: no VRT, no network.
"""

import contextlib
import importlib.util
import math
import os
import warnings
from pathlib import Path
from typing import Any


def _use_own_proj_data() -> None:
    """PROJ_DATA and the like, set for another program, would replace rasterio's own database.

    rasterio and pyproj each carry the database of their own PROJ; a database of another version
    breaks both ("Cannot find proj.db", or an unknown layout). Must run before rasterio is loaded.
    """
    spec = importlib.util.find_spec("rasterio")
    folders = spec.submodule_search_locations if spec else None
    if folders and (Path(folders[0]) / "proj_data" / "proj.db").is_file():
        for name in ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "GDAL_DRIVER_PATH"):
            os.environ.pop(name, None)


_use_own_proj_data()

import numpy as np  # noqa: E402
import pyproj  # noqa: E402
import rasterio  # noqa: E402
from jaxtyping import Float, Shaped, UInt8  # noqa: E402
from rasterio.crs import CRS  # noqa: E402
from rasterio.enums import ColorInterp, MaskFlags  # noqa: E402
from rasterio.errors import NotGeoreferencedWarning, RasterioError  # noqa: E402
from rasterio.io import DatasetReader  # noqa: E402
from rasterio.windows import Window  # noqa: E402

from app.errors import UserError  # noqa: E402
from app.geo import Area, LatLon  # noqa: E402

DRIVERS = ("GTiff", "PNG", "JPEG", "JP2OpenJPEG", "MBTiles", "GPKG")
SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".mbtiles", ".gpkg")
MAX_BLOCK_BYTES = 1 << 30
MAX_WIDTH_DEG = 12.0  # a UTM zone's metres and north are off further from its meridian
MAX_SCALE_ERROR = 0.005  # of a CRS that is used as it is
MAX_CONVERGENCE_DEG = 5.0  # between its north and true north, at the centre
OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",  # a folder of a million files is not listed
    "GDAL_CACHEMAX": 128 << 20,
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",  # whatever a file refers to, nothing is fetched
}
_SAMPLES, _SAMPLE_PX = 12, 64  # windows a side, their side in pixels


def open_source(path: Path, overview: int | None = None) -> Any:
    _refuse_what_is_no_local_file(path)
    options = {} if overview is None else {"overview_level": overview}
    try:
        with rasterio.Env(**OPTIONS), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # refused below
            source = DatasetReader(
                str(path.resolve()), driver=list(DRIVERS), sharing=False, **options
            )
    except RasterioError as error:
        raise UserError(
            f"{path.name} is not imagery that can be read ({first_line(error)})",
            "Choose a GeoTIFF, JPEG 2000, MBTiles, or a PNG or JPEG with a world file.",
        ) from error
    with contextlib.ExitStack() as on_error:
        on_error.callback(source.close)
        _refuse_what_cannot_be_used(source, path)
        on_error.pop_all()
    return source


def _refuse_what_is_no_local_file(path: Path) -> None:
    text = path.as_posix()
    if text.startswith("/vsi") or ":/" in text[2:]:
        raise UserError(
            f"{path} is not a file on this computer",
            "Skyfix reads nothing from the network: copy the imagery here first.",
        )
    head = _head(path)
    if not head:
        raise UserError(f"{path.name} is empty (0 bytes)", "Copy it again from its source.")
    if b"<VRTDataset" in head or path.suffix.lower() == ".vrt":
        raise UserError(
            f"{path.name} is a GDAL virtual raster, which may point anywhere",
            "Turn it into a file first: gdal_translate -of COG in.vrt out.tif",
        )
    for suffix in (".ovr", ".msk"):  # GDAL opens these with any of its drivers
        beside = path.with_name(path.name + suffix)
        if beside.is_file() and _head(beside)[:2] not in (b"II", b"MM"):
            raise UserError(
                f"{beside.name} beside {path.name} is not a TIFF", "Move it away or rebuild it."
            )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "Was it moved or renamed? Check its rights."
        ) from error


def _refuse_what_cannot_be_used(source: Any, path: Path) -> None:
    where = source.tags(ns="OVERVIEWS").get("OVERVIEW_FILE", "")
    if where and not where.startswith(":::BASE:::"):
        raise UserError(
            f"{path.name} names another file for its overviews", "Delete its .aux.xml file."
        )
    if source.transform.is_identity:
        raise UserError(
            f"{path.name} does not say where on Earth it lies (it has no geotransform)",
            "Choose a georeferenced file, or warp it by its control points with gdalwarp.",
        )
    source_crs(source, path)
    rows, columns = source.block_shapes[0]
    size = rows * columns * np.dtype(_dtype(source, path)).itemsize * min(source.count, 4)
    if size > MAX_BLOCK_BYTES:
        raise UserError(
            f"{path.name} is stored in one block of {size >> 20} MiB, too much to read at once",
            "Store it in small tiles: gdal_translate -of COG in.tif out.tif",
        )


def source_crs(source: Any, path: Path) -> CRS:
    """The file's; PNG and JPEG keep theirs in a .prj beside them."""
    if source.crs:
        return source.crs
    prj = path.with_suffix(".prj")
    if source.driver in ("PNG", "JPEG") and prj.is_file():
        with contextlib.suppress(RasterioError, ValueError):
            text = prj.read_text("utf-8", errors="replace")
            return CRS.from_wkt(text, morph_from_esri_dialect=True)
    raise UserError(
        f"{path.name} does not say where on Earth it lies (it has no coordinate system)",
        "Choose a georeferenced file, or set its CRS: gdal_edit -a_srs EPSG:32631 "
        f"{path.name} (a PNG or JPEG needs a world file and a .prj beside it).",
    )


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


# --- bands ------------------------------------------------------------------


def channels(source: Any, path: Path) -> tuple[tuple[int, ...], UInt8[np.ndarray, "256 4"] | None]:
    """The three bands that are red, green, blue, or one; and the RGBA palette of a single one."""
    colours = list(source.colorinterp)
    if np.dtype(_dtype(source, path)).kind not in "uif":
        raise UserError(
            f"{path.name} holds {source.dtypes[0]} values, which are no picture",
            "Choose imagery, or convert it: gdal_translate -ot Byte -scale in.tif out.tif",
        )
    if ColorInterp.cyan in colours:
        raise UserError(
            f"{path.name} is stored in CMYK, as for print", "Save it as RGB (gdal_translate)."
        )
    if ColorInterp.palette in colours and source.dtypes[0] == "uint8":
        band = colours.index(ColorInterp.palette) + 1
        palette = np.zeros((256, 4), np.uint8)
        for index, colour in source.colormap(band).items():
            palette[index] = colour
        return (band,), palette
    rgb = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(colour in colours for colour in rgb):
        return tuple(colours.index(colour) + 1 for colour in rgb), None
    plain = [i + 1 for i, colour in enumerate(colours) if colour != ColorInterp.alpha]
    if not plain:
        raise UserError(f"{path.name} has no band but transparency", "Choose imagery.")
    return tuple(plain[:3] if len(plain) >= 3 else plain[:1]), None


def _dtype(source: Any, path: Path) -> str:
    """rasterio's name of it; complex integers have none in numpy."""
    name = str(source.dtypes[0])
    return "complex64" if name.startswith("complex") else name


def has_mask(source: Any) -> bool:
    """Whether any pixel may be invalid: nodata, alpha or a mask."""
    return any(MaskFlags.all_valid not in flags for flags in source.mask_flag_enums)


def sample(source: Any, bands: tuple[int, ...], *, masked: bool) -> Shaped[np.ndarray, " n"]:
    """Valid samples of small windows spread evenly over the raster; none only if all is invalid.

    Windows, not a decimated read, which without overviews would read the whole file.
    """
    found = [_valid(source, bands, window, masked=masked) for window in _spread(source)]
    picked = np.concatenate(found)
    if picked.size == 0 and masked:
        shape = (min(source.height, 1024), min(source.width, 1024))
        picked = _valid(source, bands, None, masked=masked, shape=shape)
    return picked


def _valid(
    source: Any,
    bands: tuple[int, ...],
    window: Window | None,
    *,
    masked: bool,
    shape: tuple[int, int] | None = None,
) -> Shaped[np.ndarray, " n"]:
    size = None if shape is None else (len(bands), *shape)
    try:
        values = source.read(list(bands), window=window, out_shape=size)
        valid = (
            source.dataset_mask(window=window, out_shape=shape) > 0
            if masked
            else np.ones(values.shape[1:], bool)
        )
    except RasterioError:  # a damaged block is met again, and told, when a tile needs it
        return np.empty(0, source.dtypes[0])
    picked: Shaped[np.ndarray, " n"] = values[:, valid].ravel()
    return picked[np.isfinite(picked)] if picked.dtype.kind == "f" else picked


def _spread(source: Any) -> list[Window]:
    if source.width * source.height <= (_SAMPLES * _SAMPLE_PX) ** 2:
        return [Window(0, 0, source.width, source.height)]

    def starts(length: int) -> list[int]:
        last = max(length - _SAMPLE_PX, 0)
        return sorted({round(last * i / (_SAMPLES - 1)) for i in range(_SAMPLES)})

    return [
        Window(x, y, min(_SAMPLE_PX, source.width), min(_SAMPLE_PX, source.height))
        for y in starts(source.height)
        for x in starts(source.width)
    ]


# --- place ------------------------------------------------------------------


def grid_crs(source: Any, own: CRS, path: Path) -> str | None:
    """The file's own CRS if it can serve as the grid, as "EPSG:n" or WKT; else None."""
    crs = pyproj.CRS.from_wkt(own.to_wkt())
    t = source.transform
    if not crs.is_projected or t.b or t.d or t.a <= 0 or t.e >= 0:
        return None
    if any(axis.unit_name not in ("metre", "meter") for axis in crs.axis_info):
        return None
    to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    lon, lat = to_degrees.transform(*centre(source))
    try:
        factors = pyproj.Proj(crs).get_factors(lon, lat, errcheck=True)
    except pyproj.exceptions.ProjError:
        return None
    scales = (factors.meridional_scale, factors.parallel_scale)
    if any(abs(scale - 1) > MAX_SCALE_ERROR for scale in scales):
        return None
    if abs(factors.meridian_convergence) > MAX_CONVERGENCE_DEG:
        return None
    code = own.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt()


def centre(source: Any) -> tuple[float, float]:
    return along(source.transform, source.width / 2, source.height / 2)


def along(transform: Any, x: float, y: float) -> tuple[float, float]:
    """The point that an affine transform makes of (x, y)."""
    t = transform
    return float(t.a * x + t.b * y + t.c), float(t.d * x + t.e * y + t.f)


def edge(source: Any) -> Float[np.ndarray, "n 2"]:
    """Points round the raster's border in its own CRS."""
    share = np.linspace(0.0, 1.0, 22)
    zero, one = np.zeros_like(share), np.ones_like(share)
    x = np.concatenate((share, one, share, zero)) * source.width
    y = np.concatenate((zero, share, one, share)) * source.height
    t = source.transform
    return np.column_stack((t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f))


def utm_of(place: LatLon) -> str:
    """The UTM zone, as "EPSG:32631"."""
    zone = min(60, math.floor((place.lon + 180) / 6) + 1)
    return f"EPSG:{(32600 if place.lat >= 0 else 32700) + zone}"


def area_of(lonlat: Float[np.ndarray, "n 2"], path: Path) -> Area:
    """The WGS84 box of points. Raises UserError where it is no usable place on Earth."""
    if not np.isfinite(lonlat).all() or np.abs(lonlat[:, 1]).max() > 90:
        raise UserError(
            f"The coordinates of {path.name} do not fit its coordinate system",
            "Cut it to a part that lies on Earth, or set the right CRS: gdal_edit -a_srs EPSG:n",
        )
    (west, south), (east, north) = lonlat.min(axis=0), lonlat.max(axis=0)
    if west < -180 or east > 180 or east - west > 180:
        raise UserError(
            f"{path.name} crosses the date line or spans half the Earth",
            "Cut it into parts: gdal_translate -projwin west north east south in.tif out.tif",
        )
    return Area(float(south), float(west), float(north), float(east))
