"""From clicks on a photo to boxes on the ground: the second deep function of the program."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from app.engine.checkpoints import ObjectCheckpoint, to_images
from app.engine.click_framing import frame_click
from app.engine.gallery import Gallery
from app.engine.locate import query_read
from app.engine.object_boxes import (
    SAME_IOU,
    Proposals,
    allowed,
    best_near,
    iou_with,
    joined,
    on_ground,
    pick,
)
from app.engine.object_clicks import check_clicks
from app.engine.object_error import centre_error_m, error_basis, validated_iou
from app.engine.object_references import Cut, cut_key, cut_reference, latlons, reference_px, told
from app.engine.photos import Query
from app.engine.shelf import Shelf, file_key
from app.errors import UserError
from app.messages import Progress, Report, ignore
from app.object_messages import FindObjects, FoundBox, FoundObject, ObjectsFound, Point

MAX_TILES = 50  # references of one question
BATCH = 8  # pictures encoded, or pairs looked through, at a time
REFINE_IOU = 0.3  # of the second answer with the first: less is another object
UNCALIBRATED = 1.0  # temperature of a checkpoint whose own was never fitted


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    """A reference with its features, as the shelf keeps it."""

    cut: Cut
    features: Tensor  # [1, c, h, w] on the device where they were made


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What one question is about, loaded."""

    request: FindObjects
    query: Query
    checkpoint: ObjectCheckpoint
    gallery: Gallery
    shelf: Shelf
    report: Report


def find_objects(request: FindObjects, shelf: Shelf, report: Report = ignore) -> ObjectsFound:
    """The best box and some alternatives for each click, of all tiles that are asked for.

    Reports a QueryRead as soon as the photo can be shown. What is encoded is kept on the shelf:
    another click on the same pair costs the query and the fusion. Raises UserError for what
    the user can mend.
    """
    started = time.perf_counter()
    job = _opened(request, shelf, report)
    xy = [_centre_of(job.gallery, tile) for tile in request.tiles]
    encoded = _references(job, list(zip(request.tiles, xy, strict=True)))
    queries = _queries(job)
    found = [_look(job, query, encoded) for query in queries]
    report(Progress(0, 0, "placing boxes"))
    cuts = [part.cut for part in encoded]
    objects = [
        _answer(job, click, proposals, cuts)
        for click, proposals in zip(request.clicks, found, strict=True)
    ]
    if request.refine:
        objects = _refined(job, objects, queries, cuts)
    return ObjectsFound(
        photo=request.photo,
        gallery=request.gallery,
        checkpoint=request.checkpoint,
        crs=job.gallery.manifest.crs,
        references=tuple(told(cut, job.gallery, shelf) for cut in cuts),
        objects=tuple(objects),
        calibrated=job.checkpoint.card.calibration is not None,
        error_basis=error_basis(job.checkpoint.card),
        notes=_notes(job, cuts),
        seconds=time.perf_counter() - started,
        device=job.checkpoint.device.name,
    )


def _opened(request: FindObjects, shelf: Shelf, report: Report) -> _Job:
    report(Progress(0, 0, "reading photo"))
    query = shelf.query(request.photo)
    check_clicks(query, request.clicks, force=request.force)
    if not request.tiles:
        raise UserError(
            "There is no tile to look around", "Locate the photo first, or name a tile."
        )
    if len(request.tiles) > MAX_TILES:
        raise UserError(
            f"{len(request.tiles)} tiles are too many for one question",
            f"Ask for {MAX_TILES} at most.",
        )
    report(query_read(query, shelf))
    report(Progress(0, 0, "loading checkpoint"))
    checkpoint = shelf.object_checkpoint(request.checkpoint)
    if checkpoint.card.query_view == "drone" and query.kind == "panorama":
        raise UserError(
            f"{query.path.name} is a 360-degree panorama; {checkpoint.card.title} finds objects "
            "in drone photos",
            "Choose a checkpoint for clicks on panoramas.",
        )
    gallery = shelf.gallery(request.gallery)
    return _Job(request, query, checkpoint, gallery, shelf, report)


def _centre_of(gallery: Gallery, tile: str) -> Point:
    x, y = gallery.xy[gallery.index_of(tile)]
    return float(x), float(y)


# --- encoding -----------------------------------------------------------------


def _references(job: _Job, places: Sequence[tuple[str, Point]]) -> list[_Encoded]:
    """Cut and encoded, or taken from the shelf; what is new goes through the network at once."""
    card = job.checkpoint.card
    size = card.tile_size_m, reference_px(card)
    keys = [
        ("reference", job.checkpoint.sha256, cut_key(job.gallery, *xy, *size)) for _, xy in places
    ]

    def encode(missing: list[int]) -> list[_Encoded]:
        cuts = []
        for n, i in enumerate(missing):
            job.report(Progress(n, len(missing), "reading imagery"))
            tile, (x, y) = places[i]
            cuts.append(cut_reference(job.gallery, tile, x, y, card))
        network = job.checkpoint.network
        features = _in_batches(
            job,
            [cut.pixels for cut in cuts],
            "encoding imagery",
            lambda images, _: network.encode_satellite(network.preprocess(images, "satellite")),
        )
        return [_Encoded(cut, part) for cut, part in zip(cuts, features, strict=True)]

    encoded = job.shelf.encoded(keys, encode)
    # Kept ones may have been cut for a tile of another name at the same place.
    return [
        replace(part, cut=replace(part.cut, tile=tile))
        for part, (tile, _) in zip(encoded, places, strict=True)
    ]


def _queries(job: _Job) -> list[Tensor]:
    """Features of the photo with each click: [1, c, h, w]."""
    network = job.checkpoint.network
    view = job.checkpoint.card.query_view
    image, factor = _shrunk(job)
    height, width = image.shape[:2]
    scale_x = job.query.image.shape[1] / job.query.width / factor
    scale_y = job.query.image.shape[0] / job.query.height / factor
    clicks = [(min(x * scale_x, width), min(y * scale_y, height)) for x, y in job.request.clicks]
    size = job.checkpoint.card.sizes[view]
    frames = [
        frame_click((height, width), click, kind=job.query.kind, size=size) for click in clicks
    ]
    photo = file_key(job.request.photo)
    keys = [("click", job.checkpoint.sha256, photo, click) for click in job.request.clicks]

    def encode(missing: list[int]) -> list[Tensor]:
        at = torch.tensor([frames[i].to_input(*clicks[i]) for i in missing])
        return _in_batches(
            job,
            [frames[i].cut(image) for i in missing],
            "encoding clicks",
            lambda images, rows: network.encode_query(
                network.preprocess(images, view), at[rows].to(images.device)
            ),
        )

    return job.shelf.encoded(keys, encode)


def _shrunk(job: _Job) -> tuple[UInt8[np.ndarray, "h w 3"], int]:
    """The photo at about twice the network's input, and how many times smaller that is.

    Kept, so that another click's cut costs little.
    """
    image = job.query.image
    size = job.checkpoint.card.sizes[job.checkpoint.card.query_view]
    factor = min(image.shape[0] // (2 * size[0]), image.shape[1] // (2 * size[1]))
    if factor < 2:
        return image, 1
    rows, columns = image.shape[0] // factor, image.shape[1] // factor

    def shrink(_: list[int]) -> list[np.ndarray]:
        # Resizing by a whole factor is the fast way; what is over is less than a pixel of it.
        whole = image[: rows * factor, : columns * factor]
        return [cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)]

    key = ("photo", file_key(job.request.photo), factor)
    (small,) = job.shelf.encoded([key], shrink)
    return small, factor


@torch.inference_mode()
def _in_batches(
    job: _Job,
    pictures: Sequence[np.ndarray],
    note: str,
    encode: Callable[[Tensor, slice], Tensor],
) -> list[Tensor]:
    """One row of features a picture."""
    rows: list[Tensor] = []
    step = BATCH if job.checkpoint.device.name != "cpu" else 1  # a cancel is heard in between
    for start in range(0, len(pictures), step):
        job.report(Progress(start, len(pictures), note))
        part = slice(start, min(start + step, len(pictures)))
        batch = torch.from_numpy(np.stack(pictures[part]))

        def attempt(batch: Tensor = batch, part: slice = part) -> Tensor:
            return encode(to_images(batch, job.checkpoint.device.name), part)

        rows += job.checkpoint.compute(attempt).split(1)
    return rows


# --- looking ------------------------------------------------------------------


@torch.inference_mode()
def _look(job: _Job, query: Tensor, encoded: Sequence[_Encoded]) -> Proposals:
    """All boxes of one click in all references; forbidden ones have no score."""
    parts: list[Proposals] = []
    for start in range(0, len(encoded), BATCH):
        job.report(Progress(start, len(encoded), "looking for the object"))
        some = encoded[start : start + BATCH]
        boxes, scores = job.checkpoint.compute(partial(_found, job.checkpoint, query, some))
        for i, part in enumerate(some):
            cut = part.cut
            may = allowed(boxes[i], cut.valid) & np.isfinite(scores[i])
            parts.append(
                Proposals(
                    boxes[i],
                    on_ground(boxes[i], x=cut.x, y=cut.y, size_m=cut.size_m, size_px=cut.size_px),
                    np.where(may, scores[i], -np.inf),
                    np.full(len(may), start + i),
                )
            )
    return joined(parts)


def _found(
    checkpoint: ObjectCheckpoint, query: Tensor, encoded: Sequence[_Encoded]
) -> tuple[Float64[np.ndarray, "b n 4"], Float64[np.ndarray, "b n"]]:
    """Boxes and scores of one click in each reference; features go to where the network is."""
    device = checkpoint.device.name
    satellites = torch.cat([part.features.to(device) for part in encoded])
    queries = query.to(device).expand(len(encoded), *query.shape[1:])
    found = checkpoint.network.find(queries, satellites)
    return found.boxes.double().cpu().numpy(), found.scores.double().cpu().numpy()


def _answer(job: _Job, click: Point, proposals: Proposals, cuts: Sequence[Cut]) -> FoundObject:
    calibration = job.checkpoint.card.calibration
    picked = pick(
        proposals,
        temperature=UNCALIBRATED if calibration is None else calibration.temperature,
        count=1 + max(0, job.request.alternatives),
    )
    if not picked:
        raise UserError(
            f"{job.checkpoint.card.title} finds no box for the click {click[0]:g}, {click[1]:g}",
            "Choose another candidate, or another checkpoint.",
        )
    indices = [one.index for one in picked]
    boxes = _placed(job, proposals, indices, cuts)
    return FoundObject(
        click,
        tuple(
            replace(box, rank=rank, probability=one.probability)
            for rank, (box, one) in enumerate(zip(boxes, picked, strict=True), start=1)
        ),
    )


def _placed(
    job: _Job, proposals: Proposals, indices: Sequence[int], cuts: Sequence[Cut]
) -> list[FoundBox]:
    """Boxes on the ground, ranked and sure of as if they were the only ones."""
    known = validated_iou(job.checkpoint.card)
    sides = proposals.ground[indices]
    points = [
        corner
        for west, south, east, north in sides.tolist()
        for corner in (
            (west, north),
            (east, north),
            (east, south),
            (west, south),
            ((west + east) / 2, (south + north) / 2),
        )
    ]
    places = latlons(job.gallery.manifest.crs, points)  # at once: setting up costs the most
    boxes = []
    for n, index in enumerate(indices):
        left, top, right, bottom = proposals.boxes[index].tolist()
        west, south, east, north = sides[n].tolist()
        reference = int(proposals.reference[index])
        gsd_m = cuts[reference].size_m / cuts[reference].size_px
        width, height = east - west, north - south
        boxes.append(
            FoundBox(
                rank=1,
                reference=reference,
                box=(left, top, right, bottom),
                probability=1.0,
                score=float(proposals.score[index]),
                polygon=places[5 * n : 5 * n + 4],
                polygon_xy=tuple(points[5 * n : 5 * n + 4]),
                centre=places[5 * n + 4],
                width_m=width,
                height_m=height,
                error_m=None
                if known is None
                else centre_error_m(width, height, gsd_m=gsd_m, iou=known.value),
            )
        )
    return boxes


def _refined(
    job: _Job, objects: Sequence[FoundObject], queries: Sequence[Tensor], cuts: list[Cut]
) -> list[FoundObject]:
    """Each best box once more, looked for in a reference centred on it; adds that to ``cuts``.

    The probability stays the first look's: the second one has no rivals from elsewhere.
    """
    refined = []
    for found, query in zip(objects, queries, strict=True):
        west, south, east, north = _sides(found.best).tolist()
        place = ((west + east) / 2, (south + north) / 2)
        tile = cuts[found.best.reference].tile
        (again,) = _references(job, [(tile, place)])
        proposals = _look(job, query, [again])
        index = best_near(proposals, _sides(found.best), REFINE_IOU)
        if index is None:
            refined.append(found)
            continue
        proposals = replace(proposals, reference=proposals.reference + len(cuts))
        cuts.append(again.cut)
        (box,) = _placed(job, proposals, [index], cuts)
        best = replace(box, probability=found.best.probability)
        refined.append(replace(found, boxes=_apart(best, found.boxes[1:])))
    return refined


def _apart(best: FoundBox, others: Sequence[FoundBox]) -> tuple[FoundBox, ...]:
    """The best box, which has moved, and those that are still other answers."""
    rest = [b for b in others if iou_with(_sides(best), _sides(b)[None])[0] < SAME_IOU]
    return best, *(replace(b, rank=rank) for rank, b in enumerate(rest, start=2))


def _sides(box: FoundBox) -> Float64[np.ndarray, "4"]:
    """West, south, east, north."""
    (west, north), _, (east, south), _ = box.polygon_xy
    return np.array([west, south, east, north], np.float64)


def _notes(job: _Job, cuts: Sequence[Cut]) -> tuple[str, ...]:
    notes = []
    card = job.checkpoint.card
    height, width = card.sizes[card.query_view]
    learnt_panoramas = card.query_view == "street" and width >= 2 * height
    if learnt_panoramas and job.query.kind != "panorama":
        notes.append("the photo is no 360-degree panorama, which this checkpoint was trained on")
    if card.calibration is None:
        notes.append("not calibrated: treat the probability as a ranking")
    notes += [
        f"the imagery around tile {cut.tile} ends: {1 - cut.valid.mean():.0%} is padding, where "
        "nothing is found"
        for cut in cuts
        if not cut.valid.all()
    ]
    return tuple(dict.fromkeys(notes))


@torch.inference_mode()
def warm_up(checkpoint: ObjectCheckpoint) -> None:
    """Put blank pictures through the network, so that lazy set-up is over at the first click."""
    network, view = checkpoint.network, checkpoint.card.query_view

    def attempt() -> None:
        device = checkpoint.device.name
        blank = [
            torch.zeros(1, 3, *network.input_size(side), device=device)
            for side in (view, "satellite")
        ]
        query = network.encode_query(blank[0], torch.ones(1, 2, device=device))
        network.find(query, network.encode_satellite(blank[1]))

    checkpoint.compute(attempt)
