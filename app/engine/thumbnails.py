"""Small copies of any picture, kept in the cache: lists and maps show these."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from app.engine.photos import read_query
from app.engine.shelf import Shelf, cache_name, file_key
from app.errors import UserError
from app.messages import Progress, Report, Shrink, Shrunk, Thumbnail, ignore

QUALITY = 85


def shrink(request: Shrink, shelf: Shelf, report: Report = ignore) -> Shrunk:
    """A picture that cannot be read says so in its place; the others are not held up by it."""
    found: list[Thumbnail] = []
    for done, picture in enumerate(request.pictures):
        report(Progress(done, len(request.pictures), "making pictures small"))
        try:
            found.append(_thumbnail(picture, request.side_px, shelf))
        except UserError as error:
            found.append(Thumbnail(picture, None, problem=str(error)))
    return Shrunk(tuple(found))


def _thumbnail(picture: Path, side_px: int, shelf: Shelf) -> Thumbnail:
    name = cache_name("small", ".jpg", *file_key(picture), side_px)
    if (kept := shelf.kept(name)) is not None and (size := _size_of_original(kept)) is not None:
        return Thumbnail(picture, kept, *size)
    if kept is not None:
        kept.unlink(missing_ok=True)  # damaged: the cache leaves what is there as it is
    query = read_query(picture)
    content = _jpeg(query.image, side_px, (query.width, query.height))
    return Thumbnail(picture, shelf.keep(name, content), query.width, query.height)


def _jpeg(image: UInt8[np.ndarray, "h w 3"], side_px: int, original: tuple[int, int]) -> bytes:
    """Its comment holds the original's width and height."""
    height, width = image.shape[:2]
    factor = min(1.0, side_px / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    buffer = BytesIO()
    Image.fromarray(small).save(
        buffer, "JPEG", quality=QUALITY, comment=f"{original[0]} {original[1]}".encode()
    )
    return buffer.getvalue()


def _size_of_original(thumbnail: Path) -> tuple[int, int] | None:
    """None: damaged, or swept just now."""
    try:
        with Image.open(thumbnail) as image:
            width, height = image.info["comment"].split()
            return int(width), int(height)
    except (OSError, KeyError, ValueError):
        return None
