"""Photos from disk, upright in 8-bit sRGB, and the one way in which they are put before a network.

What the photo says of itself is in ``photo_metadata``.
"""

import contextlib
import os
import re
import struct
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageCms, UnidentifiedImageError

from app.engine.framing import frame_query, frame_turns, is_closed
from app.engine.photo_metadata import PhotoMetadata, orientation, read_metadata
from app.messages import Claim, PhotoKind, UserError

__all__ = ["frame_query", "frame_turns"]  # part of reading a query, kept in a file of its own

MAX_PIXELS = 300_000_000
MAX_FILE_BYTES = 1 << 30
MAX_ICC_BYTES = 4 << 20
QUERY_SIDE = 1024  # px: a query is decoded no smaller than this, whatever its file holds
SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
        ".bmp",
        ".heic",
        ".heif",
        ".hif",
        ".avif",
        ".gif",
    ]
)

# Both are settings of Pillow for the whole process; nothing else here depends on their order.
pillow_heif.register_heif_opener()
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

_ANY_PICTURE = "Choose a JPEG, PNG, TIFF, WebP, BMP, HEIC or AVIF picture."
# What Pillow's decoders raise on damaged files, found by feeding them some.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
)
_SIXTEEN_BIT = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I;16N": "=u2"}


@dataclass(frozen=True, slots=True)
class Query:
    """A photo ready to be framed. ``width`` and ``height`` are the file's, upright."""

    path: Path
    image: UInt8[np.ndarray, "h w 3"]  # may be smaller than the file's, never under QUERY_SIDE
    kind: PhotoKind
    claim: Claim | None
    heading_deg: float | None
    width: int
    height: int
    metadata: PhotoMetadata = field(default_factory=PhotoMetadata)


@dataclass(frozen=True, slots=True)
class Skipped:
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class PhotoList:
    photos: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


# --- reading ----------------------------------------------------------------


def read_rgb(path: Path, *, min_side: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """The picture as a person sees it: turned upright, in sRGB, on white where transparent.

    With ``min_side`` it may come smaller, its shorter side still at least that (or its own):
    a JPEG then decodes up to eight times as fast. Raises UserError naming the file.
    """
    return _read(path, min_side)[0]


def read_query(path: Path) -> Query:
    """Raises UserError naming the file and what to do."""
    image, metadata, (width, height) = _read(path, QUERY_SIDE)
    kind: PhotoKind = "perspective"
    if metadata.equirectangular or (metadata.equirectangular is None and is_closed(image)):
        kind = "panorama"
    return Query(
        path=path,
        image=image,
        kind=kind,
        claim=metadata.claim,
        heading_deg=metadata.heading_deg,
        width=width,
        height=height,
        metadata=metadata,
    )


def _read(
    path: Path, min_side: int | None
) -> tuple[UInt8[np.ndarray, "h w 3"], PhotoMetadata, tuple[int, int]]:
    """Pixels, metadata, and the upright (width, height) of the file."""
    content = _bytes_of(path)
    with warnings.catch_warnings():
        # Pillow warns of odd tags in files that decode well, and of bombs: refused below.
        warnings.simplefilter("ignore")
        with _decoding(path):
            image = Image.open(BytesIO(content))
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(path, width * height)
        metadata = read_metadata(image)
        with _decoding(path):
            if min_side is not None:
                image.draft(None, (min_side, min_side))
            image.load()
        # Asked after decoding: Pillow turns a TIFF by itself and drops the tag then.
        turn = _TURNS.get(orientation(image))
        picture = _to_rgb(_reduced(image, min_side))
    if turn is None:
        return np.asarray(picture), metadata, (width, height)
    upright = np.asarray(picture.transpose(turn))
    return upright, metadata, (height, width) if turn in _SWAPPING else (width, height)


@contextlib.contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Nothing but Pillow's own work goes in here: an error of ours must not pass for damage."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise _too_large(path, None) from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path.name} is not a picture that can be read", _ANY_PICTURE) from error
    except MemoryError as error:
        raise UserError(
            f"{path.name} does not fit into memory", "Save it with fewer pixels and try again."
        ) from error
    except _DECODE_ERRORS as error:
        cut = "truncated" in str(error).lower()
        raise UserError(
            f"{path.name} is {'cut off: its end is missing' if cut else 'damaged'}",
            "Copy it again from the camera or its source, or choose another photo.",
        ) from error


def _bytes_of(path: Path) -> bytes:
    """The whole file, so that a vanished drive fails here and not inside a decoder."""
    try:
        if path.is_dir():
            raise UserError(f"{path.name} is a folder, not a picture", "Choose the photos in it.")
        size = path.stat().st_size
        if size == 0:
            raise UserError(
                f"{path.name} is empty (0 bytes)", "Copy it again from the camera or its source."
            )
        if size > MAX_FILE_BYTES:
            raise UserError(
                f"{path.name} is too large: {size >> 20} MB, at most {MAX_FILE_BYTES >> 20}",
                "Save it with fewer pixels, or as JPEG.",
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}", "Was it moved or renamed?") from error
    except PermissionError as error:
        raise UserError(
            f"{path.name} may not be read", "Give yourself the right to read it, or copy it."
        ) from error
    except OSError as error:
        raise UserError(
            f"{path.name} cannot be read: {error.strerror}", "Check the drive, then try again."
        ) from error


def _too_large(path: Path, pixels: int | None) -> UserError:
    size = "" if pixels is None else f" {pixels / 1e6:.0f} megapixels,"
    return UserError(
        f"{path.name} is too large:{size} more than {MAX_PIXELS // 1_000_000} megapixels",
        "Save it with fewer pixels; as satellite imagery it belongs into a gallery.",
    )


def _reduced(image: Image.Image, min_side: int | None) -> Image.Image:
    """By a whole factor, if the shorter side is at least twice ``min_side``."""
    if min_side is None or min(image.size) < 2 * min_side or image.mode not in _REDUCIBLE:
        return image
    smaller = image.reduce(min(image.size) // min_side)
    smaller.info = dict(image.info)
    return smaller


_REDUCIBLE = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING = tuple(_TURNS[tag] for tag in (5, 6, 7, 8))


# --- colour -----------------------------------------------------------------


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode of Pillow to 8-bit sRGB."""
    if picture.mode in _SIXTEEN_BIT:
        picture = Image.fromarray(_byte_of_sixteen(np.asarray(picture)))
    elif picture.mode in ("I", "F"):
        picture = Image.fromarray(_byte_of_wide(np.asarray(picture)))
    elif picture.mode in ("P", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert({"La": "LA", "RGBa": "RGBA"}[picture.mode])
    if picture.mode in ("LA", "RGBA"):
        # On white, as viewers and printed pages show it: black would look like shadow or water,
        # and what lies under alpha 0 is whatever the writer left there.
        picture = Image.alpha_composite(
            Image.new("RGBA", picture.size, "white"), picture.convert("RGBA")
        ).convert("RGB")
    return _to_srgb(picture)


def _byte_of_sixteen(values: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _byte_of_wide(values: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """32-bit integers and floats have no white of their own.

    0..1, 0..255 and 0..65535 are taken as such, whichever is the smallest to hold all values;
    anything else is stretched from its least to its greatest value. Not a number becomes black.
    """
    wide = values.astype(np.float64)
    finite = np.isfinite(wide)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = float(wide[finite].min()), float(wide[finite].max())
    whites = (255.0, 65535.0) if values.dtype.kind == "i" else (1.0, 255.0, 65535.0)
    white = next((w for w in whites if low >= 0 and high <= w), None)
    if white is None:
        wide, white = wide - low, (high - low) or 1.0
    return np.rint(np.where(finite, wide, 0.0) * (255.0 / white)).clip(0, 255).astype(np.uint8)


def _to_srgb(picture: Image.Image) -> Image.Image:
    """By the picture's own ICC profile if it has a usable one."""
    if picture.mode == "LAB":
        return _transformed(picture, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    icc = picture.info.get("icc_profile")
    if isinstance(icc, bytes) and 0 < len(icc) <= MAX_ICC_BYTES:
        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(icc))
            space = profile.profile.xcolor_space.strip()
            plain = "sRGB" in ImageCms.getProfileDescription(profile)
            if space == {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}.get(picture.mode) and not plain:
                return _transformed(picture, profile)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a broken profile: every viewer shows such a picture without it
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _transformed(picture: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    result = ImageCms.profileToProfile(picture, profile, srgb, outputMode="RGB")
    assert result is not None  # it is None only when asked to work in place
    return result


# --- lists ------------------------------------------------------------------


def list_photos(paths: Iterable[Path]) -> PhotoList:
    """The photos among files and folders (searched to the bottom), in natural order, each once.

    Files of other types in a folder, and named files that are no pictures, are skipped with the
    reason. A named file of a picture's type is always kept: reading it tells what is wrong.
    """
    photos: dict[Path, None] = {}
    skipped: list[Skipped] = []
    for path in paths:
        if path.is_dir():
            found, others = _photos_in(path)
            photos.update(dict.fromkeys(found))
            skipped.extend(others)
        elif not path.exists():
            skipped.append(Skipped(path, "does not exist"))
        elif path.suffix.lower() in SUFFIXES or _is_picture(path):
            photos[path] = None
        else:
            skipped.append(Skipped(path, "is not a picture"))
    return PhotoList(tuple(photos), tuple(skipped))


def _photos_in(folder: Path) -> tuple[list[Path], list[Skipped]]:
    photos: list[Path] = []
    skipped: list[Skipped] = []

    def refuse(error: OSError) -> None:
        where = Path(error.filename) if error.filename else folder
        skipped.append(Skipped(where, f"cannot be opened: {error.strerror}"))

    for parent, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            path = Path(parent) / name
            if name.startswith("."):
                skipped.append(Skipped(path, "is a hidden file"))
            elif path.suffix.lower() not in SUFFIXES:
                skipped.append(Skipped(path, "is not a picture"))
            else:
                photos.append(path)
    return sorted(photos, key=_natural), sorted(skipped, key=lambda s: _natural(s.path))


def _is_picture(path: Path) -> bool:
    """By content: for files with an unknown or no suffix."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path):
                return True
    except (*_DECODE_ERRORS, Image.DecompressionBombError):
        return False


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """DJI_9 before DJI_10."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(p), "") if p.isdecimal() and p.isascii() else (1, 0, p) for p in parts]
