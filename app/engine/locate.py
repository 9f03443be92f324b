"""From one photo to ranked tiles: the deep function of the program."""

import time
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float32, Float64

from app.engine.checkpoints import Checkpoint
from app.engine.confidence import assess, posterior, temperature_of
from app.engine.framing import frame_turns
from app.engine.gallery import Gallery
from app.engine.photos import Query
from app.engine.search import TileScores, score_tiles, top_k
from app.engine.shelf import Shelf, cache_name, file_key
from app.geo import LatLon
from app.messages import (
    Candidate,
    Confidence,
    Locate,
    Location,
    Progress,
    QueryRead,
    Report,
    UserError,
    ignore,
)

PREVIEW_SIDE = 2048  # px
PREVIEW_QUALITY = 88
HEADING_SPREAD_DEG = 10.0  # a compass on a drone or phone is off by about that much
REPORT_EVERY_S = 0.3
CPU_BATCH = 8  # 12 turns go through a CPU a tenth faster so than all at once (caches)

_NOT_A_PANORAMA = (
    "the photo is no 360-degree panorama, which this checkpoint was trained on: "
    "its ranks mean little and its heading was not searched"
)


def locate(request: Locate, shelf: Shelf, report: Report = ignore) -> Location:
    """Rank the gallery's tiles for one photo.

    Reports a QueryRead as soon as the photo can be shown. The photo's own position is told as
    a claim and never used. Raises UserError for what the user can mend.
    """
    started = time.perf_counter()
    query = shelf.query(request.photo)
    read = query_read(query, shelf)
    report(read)
    report(Progress(0, 0, "loading checkpoint"))
    checkpoint = shelf.checkpoint(request.checkpoint)
    gallery = shelf.gallery(request.gallery)
    gallery.require(checkpoint.sha256, checkpoint.card.title)
    headings = headings_to_try(query, checkpoint, request)
    descriptors = shelf.descriptors(
        request.photo,
        checkpoint,
        headings,
        lambda: describe_turns(query, checkpoint, headings, shelf, report),
    )
    report(Progress(len(headings), len(headings), "ranking tiles"))
    scored = score_tiles(gallery.descriptors, descriptors)
    calibration = checkpoint.card.calibration
    probabilities = posterior(scored.score, temperature_of(calibration))
    confidence = assess(
        scored.score,
        probabilities,
        gallery.xy,
        tile_size_m=gallery.manifest.tile_size_m,
        overlap=gallery.manifest.overlap,
        calibration=calibration,
    )
    return Location(
        query=read,
        candidates=_candidates(gallery, scored, probabilities, headings, request.top_k),
        confidence=_with_doubts(confidence, query, checkpoint),
        turns=len(headings),
        seconds=time.perf_counter() - started,
        device=checkpoint.device.name,
    )


def query_read(query: Query, shelf: Shelf) -> QueryRead:
    """What the window shows of a photo before the answer; writes its preview."""
    name = cache_name("preview", ".jpg", *file_key(query.path))
    preview = shelf.kept(name) or shelf.keep(name, _preview_jpeg(query))
    return QueryRead(
        photo=query.path,
        preview=preview,
        width=query.width,
        height=query.height,
        kind=query.kind,
        claim=query.claim,
        heading_deg=query.heading_deg,
    )


def headings_to_try(query: Query, checkpoint: Checkpoint, request: Locate) -> tuple[float, ...]:
    """The headings at which the query is brought to north, in degrees.

    Raises UserError where the photo certainly is not what the checkpoint was trained on. A
    street photo that is no panorama is taken as it is: turning it about its centre makes no
    other heading of it.
    """
    card = checkpoint.card
    if card.query_view == "drone" and query.kind == "panorama":
        raise UserError(
            f"{query.path.name} is a 360-degree panorama; {card.title} locates drone photos",
            "Choose a checkpoint for street panoramas and a gallery built with it.",
        )
    if card.query_view == "street" and query.kind == "perspective":
        return (0.0,)
    if request.use_heading and query.heading_deg is not None:
        known = query.heading_deg
        return tuple((known + d) % 360.0 for d in (-HEADING_SPREAD_DEG, 0.0, HEADING_SPREAD_DEG))
    turns = request.turns if request.turns is not None else card.turns
    if turns < 1:
        raise UserError(f"{turns} turns cannot be tried", "Choose a number from 1 up.")
    return tuple(360.0 * turn / turns for turn in range(turns))


def describe_turns(
    query: Query,
    checkpoint: Checkpoint,
    headings_deg: tuple[float, ...],
    shelf: Shelf,
    report: Report = ignore,
) -> Float32[np.ndarray, "t d"]:
    """The query's descriptor at each heading; in one call unless that would deafen the engine."""
    view = checkpoint.card.query_view
    batch = CPU_BATCH if checkpoint.device.name == "cpu" else len(headings_deg)
    framed = frame_turns(
        query.image,
        kind=query.kind,
        size=checkpoint.card.sizes[view],
        headings_deg=headings_deg,
    )
    rows: list[Float32[np.ndarray, "b d"]] = []
    done = 0
    while done < len(framed):
        report(Progress(done, len(framed), "describing"))
        # A network not timed yet (or slow) gets few pictures, so that a cancel is heard in time.
        pace = shelf.seconds_per_picture.get(checkpoint.sha256)
        step = 1 if pace is None else max(1, int(REPORT_EVERY_S / pace))
        started = time.perf_counter()
        rows.append(checkpoint.describe(framed[done : done + step], view, batch=batch))
        spent = time.perf_counter() - started
        shelf.seconds_per_picture[checkpoint.sha256] = spent / len(rows[-1])
        done += len(rows[-1])
    return np.concatenate(rows)


def _with_doubts(confidence: Confidence, query: Query, checkpoint: Checkpoint) -> Confidence:
    """Says so where the photo is of a kind that the checkpoint has not learnt."""
    height, width = checkpoint.card.sizes[checkpoint.card.query_view]
    learnt_panoramas = checkpoint.card.query_view == "street" and width >= 2 * height
    if query.kind == "panorama" or not learnt_panoramas:
        return confidence
    return replace(confidence, calibrated=False, reasons=(_NOT_A_PANORAMA, *confidence.reasons))


def _candidates(
    gallery: Gallery,
    scored: TileScores,
    probabilities: Float64[np.ndarray, " n"],
    headings_deg: tuple[float, ...],
    count: int,
) -> tuple[Candidate, ...]:
    best: list[int] = top_k(scored.score, max(1, count)).tolist()
    footprints = gallery.footprints(best)
    return tuple(
        Candidate(
            rank=rank,
            tile=gallery.ids[tile],
            position=LatLon(float(gallery.latlon[tile, 0]), float(gallery.latlon[tile, 1])),
            score=float(scored.score[tile]),
            probability=float(probabilities[tile]),
            heading_deg=headings_deg[int(scored.turn[tile])],
            footprint=footprint,
            thumbnail=gallery.thumbnail(tile),
        )
        for rank, (tile, footprint) in enumerate(zip(best, footprints, strict=True), start=1)
    )


def _preview_jpeg(query: Query) -> bytes:
    image = query.image
    scale = PREVIEW_SIDE / max(image.shape[:2])
    if scale < 1:
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, PREVIEW_QUALITY])
    assert done  # JPEG takes any 8-bit picture
    content: bytes = encoded.tobytes()
    return content
