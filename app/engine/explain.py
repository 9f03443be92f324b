"""Where the network looked: its maps over the photo and over one candidate tile."""

from io import BytesIO

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from PIL import Image

from app.card import View
from app.engine.checkpoints import Checkpoint, to_images
from app.engine.framing import frame_query, panorama_rows, square_to_photo
from app.engine.locate import query_read
from app.engine.photos import Query, read_query
from app.engine.shelf import Shelf, cache_name, file_key
from app.messages import Explain, Explanation, Heatmap, PhotoKind, Progress, Report, ignore
from app.models.base import AttentionMap

TILE_SIDE = 768  # px of the tile's picture
MAP_SIDE = 768  # px of a map's longer side; the networks' own grids are far coarser
TILE_QUALITY = 90


def explain(request: Explain, shelf: Shelf, report: Report = ignore) -> Explanation:
    """Maps of the query as it was turned for this candidate, and of the tile.

    A query's map lies in the photo's own frame: alpha is 0 where the network did not look.
    Raises UserError for what the user can mend.
    """
    report(Progress(0, 3, "reading photo"))
    query = read_query(request.photo)
    checkpoint = shelf.checkpoint(request.checkpoint)
    gallery = shelf.gallery(request.gallery)
    gallery.require(checkpoint.sha256, checkpoint.card.title)
    tile = gallery.index_of(request.tile)
    view = checkpoint.card.query_view
    report(Progress(1, 3, "explaining the photo"))
    size = checkpoint.card.sizes[view]
    framed = frame_query(query.image, kind=query.kind, size=size, heading_deg=request.heading_deg)
    of_query = _look(checkpoint, framed, view)
    report(Progress(2, 3, "explaining the tile"))
    of_tile = _look(
        checkpoint,
        gallery.picture(tile, size_px=max(checkpoint.card.sizes["satellite"])),
        "satellite",
    )
    photo_key = (*file_key(request.photo), checkpoint.sha256, request.heading_deg)
    tile_key = (gallery.folder, gallery.manifest.created, checkpoint.sha256, request.tile)
    return Explanation(
        photo=request.photo,
        tile=request.tile,
        query_picture=query_read(query, shelf).preview,
        tile_picture=shelf.keep(
            cache_name("tile", ".jpg", *tile_key, TILE_SIDE),
            _jpeg(gallery.picture(tile, size_px=TILE_SIDE)),
        ),
        query_maps=tuple(
            _heatmap(shelf, cache_name("map", ".png", *photo_key, m.name), m, query, request)
            for m in of_query
        ),
        tile_maps=tuple(
            _heatmap(shelf, cache_name("map", ".png", *tile_key, m.name), m, None, request)
            for m in of_tile
        ),
    )


@torch.inference_mode()
def _look(
    checkpoint: Checkpoint, picture: UInt8[np.ndarray, "h w 3"], view: View
) -> tuple[AttentionMap, ...]:
    pictures = torch.from_numpy(np.ascontiguousarray(picture))[None]

    def attempt() -> tuple[AttentionMap, ...]:
        images = to_images(pictures, checkpoint.device.name)
        return checkpoint.network.explain(checkpoint.network.preprocess(images, view), view)

    return checkpoint.compute(attempt)


def _heatmap(
    shelf: Shelf, name: str, attention: AttentionMap, query: Query | None, request: Explain
) -> Heatmap:
    """Written as grey and alpha; a ``query``'s in its own frame, a tile's as it is."""
    values = attention.values[0].float().cpu().numpy()
    low, high = float(values.min()), float(values.max())
    if query is None:
        spread = np.asarray(cv2.resize(values, (MAP_SIDE, MAP_SIDE)))
        looked = np.ones(spread.shape, bool)
    else:
        height, width = query.image.shape[:2]
        scale = min(1.0, MAP_SIDE / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        spread, looked = map_on_photo(
            values, kind=query.kind, photo_size=size, heading_deg=request.heading_deg
        )
    path = shelf.keep(name, grey_alpha_png(spread, looked, low=low, high=high))
    return Heatmap(path, attention.name, low, high)


def map_on_photo(
    values: Float32[np.ndarray, "rows columns"],
    *,
    kind: PhotoKind,
    photo_size: tuple[int, int],
    heading_deg: float,
) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """A map over the framed query, turned back onto the photo, and where it has a value.

    The inverse of ``frame_query``. ``photo_size`` is (height, width) of the result.
    """
    if kind == "panorama":
        column, row = _panorama_cells(values.shape, photo_size, heading_deg)
        # A cell more on either side: the map closes as the panorama does.
        values, column = np.concatenate([values[:, -1:], values, values[:, :1]], axis=1), column + 1
    else:
        column, row = _square_cells(values.shape, photo_size, heading_deg)
    rows, columns = values.shape
    looked = (column >= -0.5) & (column <= columns - 0.5) & (row >= -0.5) & (row <= rows - 0.5)
    spread = cv2.remap(
        values,
        column.astype(np.float32),
        row.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(spread), np.asarray(looked)


def _square_cells(
    shape: tuple[int, int], photo_size: tuple[int, int], heading_deg: float
) -> tuple[Float64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
    """Column and row on the map of each pixel of a photo."""
    inverse = cv2.invertAffineTransform(square_to_photo(photo_size, shape, heading_deg))
    y, x = np.mgrid[0 : photo_size[0], 0 : photo_size[1]].astype(np.float64)
    column = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
    row = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
    return np.asarray(column), np.asarray(row)


def _panorama_cells(
    shape: tuple[int, int], photo_size: tuple[int, int], heading_deg: float
) -> tuple[Float64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
    """Column and row on the map of each pixel of a panorama."""
    first, end = panorama_rows(photo_size)
    height, width = photo_size
    column = ((np.arange(width) + 0.5) / width + heading_deg / 360.0) % 1.0 * shape[1] - 0.5
    row = (np.arange(height) + 0.5 - first) / (end - first) * shape[0] - 0.5
    grid = np.meshgrid(column, row)
    return grid[0], grid[1]


def grey_alpha_png(
    values: Float32[np.ndarray, "h w"],
    looked: Bool[np.ndarray, "h w"],
    *,
    low: float,
    high: float,
) -> bytes:
    """A map's file: grey is the value between ``low`` and ``high``, alpha 0 where it has none."""
    grey = np.rint((values - low) / ((high - low) or 1.0) * 255).clip(0, 255).astype(np.uint8)
    alpha = np.where(looked, 255, 0).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(np.dstack([grey, alpha]), mode="LA").save(file, "PNG", compress_level=1)
    return file.getvalue()


def _jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=TILE_QUALITY)
    return file.getvalue()
