"""Building a gallery folder: cut, describe, write; cancelled or killed at any moment, it goes on.

Until it is whole a gallery is the folder ``<gallery>.building``, with a journal of what is done.
Its last file is the manifest; then the folder takes its name. So a folder of that name is whole.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Protocol, TypeVar, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from app import __version__
from app.card import Card, View
from app.engine.basemap import write_basemap
from app.engine.gallery import (
    BASEMAP,
    DESCRIPTORS,
    THUMBNAIL_SIDE,
    THUMBNAILS,
    TILES,
    sha256_of,
)
from app.engine.gallery_folder import (
    Target,
    plain_failures,
    publish,
    refuse_users_files,
    restore_interrupted_swap,
)
from app.engine.gallery_journal import Journal, open_journal
from app.engine.gallery_sources import Cut, PicturesSource, RasterSource, Skip
from app.engine.tiles_gpkg import write_tiles
from app.errors import UserError
from app.manifest import MANIFEST_NAME, Manifest, manifest_to_json
from app.messages import BuildGallery, GalleryBuilt, Progress, Report, ignore

LEAST_TILES, MAX_TILES = 8, 64  # at once, where there is time for them
BATCH_SECONDS = 0.25  # between two reports: a cancel or a query waits no longer
SKIPS_TOLD = 32  # between two reports
AHEAD = 128  # tiles cut before the network asks for them
LISTED = 100  # skipped tiles that are told
JPEG_QUALITY = 80
TOLD_EVERY = 2048  # rows written between two reports

Source = RasterSource | PicturesSource


@runtime_checkable
class Describer(Protocol):
    """What is asked of a checkpoint; ``checkpoints.Checkpoint`` is one."""

    @property
    def sha256(self) -> str: ...

    @property
    def card(self) -> Card: ...

    def describe(
        self, pictures: UInt8[np.ndarray, "n h w 3"], view: View, *, batch: int = 32
    ) -> Float32[np.ndarray, "n d"]: ...


@dataclass(frozen=True, slots=True)
class _Plan:
    request: BuildGallery
    checkpoint: Describer
    tile_size_m: float
    size: tuple[int, int]  # of the network's satellite input
    target: Target


def build_gallery(
    request: BuildGallery, checkpoint: Describer, report: Report = ignore
) -> GalleryBuilt:
    """Goes on where an unfinished build of the same request stopped; a differing one starts anew.

    A gallery of that name is replaced once the new one is whole. Raises UserError for a source
    or target that cannot be used, a full disk, or where no tile could be described.
    """
    size = checkpoint.card.sizes.get("satellite")
    if size is None:
        raise UserError(
            f"The checkpoint {checkpoint.card.title} does not describe satellite tiles",
            "Choose a checkpoint for retrieval.",
        )
    tile_size_m = request.tile_size_m
    if tile_size_m is None:
        tile_size_m = checkpoint.card.tile_size_m
    target = Target(request.gallery.absolute())
    plan = _Plan(request, checkpoint, tile_size_m, size, target)
    with plain_failures(target.gallery):
        restore_interrupted_swap(target)
        refuse_users_files(target.gallery)
        report(Progress(0, 0, f"opening {request.source.name}"))
        source = _open_source(plan)
        with open_journal(target.building, _fingerprint(plan, source)) as journal:
            described = _describe_tiles(plan, source, journal, report)
            skipped = journal.skipped(LISTED)
            manifest = _finish(plan, source, journal, report)
        publish(target)
    return GalleryBuilt(request.gallery, manifest, described, skipped)


def _open_source(plan: _Plan) -> Source:
    request = plan.request
    if request.source.is_dir():
        return PicturesSource(request.source, tile_size_m=plan.tile_size_m, size=plan.size)
    return RasterSource(
        request.source, tile_size_m=plan.tile_size_m, overlap=request.overlap, size=plan.size
    )


def _fingerprint(plan: _Plan, source: Source) -> dict[str, object]:
    """What decides the descriptors: an unfinished build with the same goes on."""
    return {
        "format": 1,
        "source": str(plan.request.source.absolute()),
        "stamp": source.stamp(),
        "checkpoint": plan.checkpoint.sha256,
        "tile_size_m": plan.tile_size_m,
        "overlap": plan.request.overlap,
        "size": plan.size,
        "crs": source.crs,
    }


# --- describing -------------------------------------------------------------


def _describe_tiles(plan: _Plan, source: Source, journal: Journal, report: Report) -> int:
    """Describe what the journal lacks. Returns the number of tiles described now."""
    thumbnails = plan.target.building / THUMBNAILS
    thumbnails.mkdir(exist_ok=True)
    done = journal.done()
    finished, described, pace = len(done), 0, _Pace()

    def waiting() -> None:
        report(Progress(finished, len(source), "describing tiles"))

    with _reading_ahead(source, done, thumbnails) as queue:
        batch: list[Cut] = []
        item: Cut | Skip | None = Skip("", "")
        while item is not None:
            item = _next_item(queue, waiting)
            if isinstance(item, Skip):
                journal.skip(item.tile, item.reason)
                finished += 1
                if finished % SKIPS_TOLD == 0:
                    waiting()
            elif isinstance(item, Cut):
                batch.append(item)
            if batch and (item is None or len(batch) >= pace.tiles):
                report(Progress(finished, len(source), "describing tiles"))
                seconds = _describe_batch(plan.checkpoint, batch, pace.batch, journal)
                finished, described = finished + len(batch), described + len(batch)
                pace.took(len(batch), seconds)
                batch = []
    report(Progress(finished, len(source), "describing tiles"))
    return described


def _describe_batch(checkpoint: Describer, cuts: list[Cut], batch: int, journal: Journal) -> float:
    """Seconds that it took."""
    started = time.perf_counter()
    pictures = np.stack([cut.picture for cut in cuts])
    descriptors = checkpoint.describe(pictures, "satellite", batch=batch)
    journal.add([cut.tile for cut in cuts], descriptors.astype(np.float16))
    return time.perf_counter() - started


class _Pace:
    """How many tiles go through the network at once, and how many between two reports.

    ``batch`` is doubled as long as that makes it faster: a GPU wants many, a CPU as few as fit
    its cache (half as fast again at 8 as at 32, measured).
    """

    def __init__(self) -> None:
        self.batch = self.tiles = LEAST_TILES
        self._calls = 0
        self._best_s = math.inf  # a tile
        self._settled = False

    def took(self, tiles: int, seconds: float) -> None:
        self._calls += 1
        each_s = max(seconds, 1e-6) / tiles
        if self._calls > 1 and not self._settled and tiles == self.batch:  # 1: warming up
            faster = each_s < 0.95 * self._best_s
            self._best_s = min(self._best_s, each_s)
            self.batch = self.batch * 2 if faster else max(LEAST_TILES, self.batch // 2)
            self._settled = not faster or self.batch == MAX_TILES
        fitting = max(1, min(int(BATCH_SECONDS / each_s), MAX_TILES))
        whole = fitting // self.batch * self.batch if self._settled else self.batch
        self.tiles = min(whole or fitting, fitting)


_Item = Cut | Skip | None  # None: no more
_Queue = Queue[_Item | BaseException]


@contextlib.contextmanager
def _reading_ahead(source: Source, done: frozenset[str], thumbnails: Path) -> Iterator[_Queue]:
    """A thread that cuts tiles and writes their thumbnails while the network describes others."""
    queue: _Queue = Queue(AHEAD)
    stop = Event()

    def put(item: _Item | BaseException) -> None:
        while not stop.is_set():
            with contextlib.suppress(Full):
                queue.put(item, timeout=0.1)
                return

    def read() -> None:
        try:
            for item in source.cuts(done):
                if isinstance(item, Cut):
                    _write_thumbnail(thumbnails / f"{item.tile.tile}.jpg", item)
                put(item)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            put(error)

    thread = Thread(target=read, name="tile reader")
    thread.start()
    try:
        yield queue
    finally:
        stop.set()
        thread.join()


def _next_item(queue: _Queue, while_waiting: Callable[[], None]) -> _Item:
    while True:
        try:
            item = queue.get(timeout=0.1)
        except Empty:
            while_waiting()
            continue
        if isinstance(item, BaseException):
            raise item
        return item


def _write_thumbnail(path: Path, cut: Cut) -> None:
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    much = min(cut.picture.shape[:2]) >= 2 * THUMBNAIL_SIDE  # else linear is as good, and faster
    smooth = cv2.INTER_AREA if much else cv2.INTER_LINEAR
    small = cv2.resize(cut.picture, side, interpolation=smooth)
    quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    found, code = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)
    assert found
    path.write_bytes(code.tobytes())


# --- finishing --------------------------------------------------------------


def _finish(plan: _Plan, source: Source, journal: Journal, report: Report) -> Manifest:
    """Write all other files, then the manifest."""
    count, skipped = journal.counts()
    if count == 0:
        reasons = "; ".join(journal.skipped(3))
        raise UserError(
            f"No tile of {plan.request.source.name} could be described ({reasons})",
            "Choose imagery that covers more ground or a smaller tile size.",
        )
    building = plan.target.building
    (building / MANIFEST_NAME).unlink(missing_ok=True)

    def tell(done: int) -> None:
        report(Progress(done, count, "writing the gallery"))

    _write_descriptors(building / DESCRIPTORS, journal, count, tell)
    _write_gpkg(building / TILES, plan, source, journal, tell)
    names = [DESCRIPTORS, TILES]
    if source.kind == "raster":
        names.append(BASEMAP)
        if not (building / BASEMAP).is_file():
            write_basemap(plan.request.source, building / BASEMAP, report)
    digests = {}
    for name in names:
        tell(count)
        digests[name] = sha256_of(building / name, lambda: tell(count))
    manifest = _manifest(plan, source, journal, skipped, digests)
    _write_whole(building / MANIFEST_NAME, manifest_to_json(manifest).encode())
    return manifest


def _write_descriptors(
    path: Path, journal: Journal, count: int, tell: Callable[[int], None]
) -> None:
    """Row by row: memory does not grow with the gallery."""
    partial = path.with_name(path.name + ".partial")
    rows = _telling(journal.descriptors(), tell)
    first = next(rows)
    header = {"descr": "<f2", "fortran_order": False, "shape": (count, len(first))}
    with partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(first.tobytes())
        for row in rows:
            file.write(row.tobytes())
    partial.replace(path)


_Row = TypeVar("_Row")


def _telling(rows: Iterator[_Row], tell: Callable[[int], None]) -> Iterator[_Row]:
    for done, row in enumerate(rows):
        if done % TOLD_EVERY == 0:
            tell(done)
        yield row


def _write_gpkg(
    path: Path, plan: _Plan, source: Source, journal: Journal, tell: Callable[[int], None]
) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    tiles = _telling(journal.tiles(), tell)
    write_tiles(partial, tiles, crs=source.crs, tile_size_m=plan.tile_size_m)
    partial.replace(path)


def _write_whole(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _manifest(
    plan: _Plan, source: Source, journal: Journal, skipped: int, digests: dict[str, str]
) -> Manifest:
    request, card = plan.request, plan.checkpoint.card
    count, _ = journal.counts()
    return Manifest(
        name=request.name or request.source.stem,
        source=_source_as_stored(request.source.absolute(), plan.target.gallery),
        source_kind=source.kind,
        licence=request.licence,
        crs=source.crs,
        gsd_m=source.gsd_m,
        tile_size_m=plan.tile_size_m,
        overlap=request.overlap if source.kind == "raster" else 0.0,
        tiles=count,
        descriptor=len(next(journal.descriptors())),
        checkpoint=plan.checkpoint.sha256,
        checkpoint_title=card.title,
        query_view=card.query_view,
        area=source.area(journal.tiles()),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=__version__,
        skipped=skipped,
        files=digests,
    )


def _source_as_stored(source: Path, gallery: Path) -> str:
    """Relative where the source lies beside the gallery, so that both may move together."""
    if source.is_relative_to(gallery.parent):
        return f"../{source.relative_to(gallery.parent).as_posix()}"
    return str(source)
