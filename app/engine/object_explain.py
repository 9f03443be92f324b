"""Where an object network looked: its maps over the clicked photo and over one reference."""

from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from app.engine.checkpoints import ObjectCheckpoint, to_images
from app.engine.click_framing import ClickFrame, frame_click
from app.engine.explain import MAP_SIDE, grey_alpha_png
from app.engine.locate import query_read
from app.engine.object_clicks import check_clicks
from app.engine.object_references import cut_key, cut_reference, told
from app.engine.shelf import Shelf, cache_name, file_key
from app.messages import Explanation, Heatmap, Progress, Report, ignore
from app.models.base import AttentionMap
from app.models.object_base import ObjectMaps
from app.object_messages import ExplainObject


def explain_object(request: ExplainObject, shelf: Shelf, report: Report = ignore) -> Explanation:
    """Maps of the photo with the click, in the photo's own frame, and of the reference.

    Raises UserError for what the user can mend.
    """
    report(Progress(0, 2, "reading photo"))
    query = shelf.query(request.photo)
    check_clicks(query, (request.click,), force=True)
    checkpoint = shelf.object_checkpoint(request.checkpoint)
    gallery = shelf.gallery(request.gallery)
    x, y = request.centre or (float(v) for v in gallery.xy[gallery.index_of(request.tile)])
    cut = cut_reference(gallery, request.tile, x, y, checkpoint.card)
    report(Progress(1, 2, "explaining"))
    height, width = query.image.shape[:2]
    click = request.click[0] * width / query.width, request.click[1] * height / query.height
    view = checkpoint.card.query_view
    frame = frame_click((height, width), click, kind=query.kind, size=checkpoint.card.sizes[view])
    pictures = frame.cut(query.image), cut.pixels
    maps = checkpoint.compute(partial(_look, checkpoint, pictures, frame.to_input(*click)))
    photo_key = (*file_key(request.photo), checkpoint.sha256, request.click)
    tile_key = (checkpoint.sha256, cut_key(gallery, x, y, cut.size_m, cut.size_px))
    both = (*photo_key, *tile_key)  # the fusion mixes the two: either map depends on both
    scale = min(1.0, MAP_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return Explanation(
        photo=request.photo,
        tile=request.tile,
        query_picture=query_read(query, shelf).preview,
        tile_picture=told(cut, gallery, shelf).picture,
        query_maps=tuple(
            _kept(shelf, m, "query", both, *on_photo(_values(m), frame, (height, width), size))
            for m in maps.query
        ),
        tile_maps=tuple(
            _kept(shelf, m, "satellite", both, *_over(_values(m))) for m in maps.satellite
        ),
    )


@torch.inference_mode()
def _look(
    checkpoint: ObjectCheckpoint,
    pictures: tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h2 w2 3"]],
    click: tuple[float, float],
) -> ObjectMaps:
    """``pictures`` are the framed query and the reference; ``click`` is in the former."""
    network, device = checkpoint.network, checkpoint.device.name
    return network.explain(
        network.preprocess(to_images(_batch(pictures[0]), device), checkpoint.card.query_view),
        torch.tensor([click], device=device),
        network.preprocess(to_images(_batch(pictures[1]), device), "satellite"),
    )


def on_photo(
    values: Float32[np.ndarray, "rows columns"],
    frame: ClickFrame,
    photo_size: tuple[int, int],
    size: tuple[int, int],
) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """A map over a framed query, laid over its photo drawn at ``size``; where it has a value."""
    rows, columns = values.shape
    y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    x, y = x * photo_size[1] / size[1], y * photo_size[0] / size[0]
    column = (x - frame.left) / frame.width * columns - 0.5
    row = (y - frame.top) / frame.height * rows - 0.5
    looked = (column >= -0.5) & (column <= columns - 0.5) & (row >= -0.5) & (row <= rows - 0.5)
    spread = cv2.remap(
        values,
        column.astype(np.float32),
        row.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(spread), np.asarray(looked)


def _over(
    values: Float32[np.ndarray, "rows columns"],
) -> tuple[Float32[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    spread = np.asarray(cv2.resize(values, (MAP_SIDE, MAP_SIDE)))
    return spread, np.ones(spread.shape, bool)


def _values(attention: AttentionMap) -> Float32[np.ndarray, "rows columns"]:
    return np.asarray(attention.values[0].float().cpu().numpy())


def _batch(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([picture]))


def _kept(
    shelf: Shelf,
    attention: AttentionMap,
    side: str,
    key: tuple[object, ...],
    values: Float32[np.ndarray, "h w"],
    looked: Bool[np.ndarray, "h w"],
) -> Heatmap:
    low, high = float(attention.values[0].min()), float(attention.values[0].max())
    name = cache_name("map", ".png", side, attention.name, *key)
    path = shelf.kept(name) or shelf.keep(name, grey_alpha_png(values, looked, low=low, high=high))
    return Heatmap(path, attention.name, low, high)
