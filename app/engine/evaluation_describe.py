"""The first step of an evaluation: a test's pictures become descriptors in a folder.

Pictures are decoded by threads while the network describes those before. Work goes into
``<folder>.describing``, where a run that was stopped or killed goes on; the folder gets its name
when it is whole.
"""

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from app.engine.checkpoints import Checkpoint, write_whole
from app.engine.datasets.layout import Picture, RetrievalTest
from app.engine.datasets.pairs import decoded, resized
from app.engine.evaluation import Headings
from app.engine.evaluation_files import (
    GALLERY,
    MANIFEST,
    QUERIES,
    TRIAL,
    DescriptionManifest,
    DescriptorFile,
    open_building,
    publish,
    read_manifest,
    sha256_of,
    trial_to_json,
)
from app.engine.framing import frame_turns
from app.errors import UserError
from app.messages import Progress, Report, ignore

BLOCK = 64  # framed pictures described at a time
AHEAD = 3  # blocks decoded or waiting


def describe_test(
    checkpoint: Checkpoint,
    test: RetrievalTest,
    folder: Path,
    *,
    data: str,
    root: Path,
    headings: Headings = "known",
    turns: int | None = None,
    report: Report = ignore,
) -> DescriptionManifest:
    """Describe a test's pictures into ``folder``, or find that done.

    ``data`` is the data set's name, ``root`` its folder. Headings that are known are used, and
    pictures without one are taken as they are, which is what the published protocols do; a pair
    folder has no such protocol, so there it is an error. Unknown: each query is described at
    ``turns`` headings (the card's), and its score is the best of them.
    """
    asked = trial_to_json(test, root)
    tried = (turns or checkpoint.card.turns) if headings == "unknown" else 1
    wanted = _manifest(checkpoint, test, data=data, root=root, turns=tried)
    wanted = replace(wanted, asked=hashlib.sha256(asked).hexdigest())
    if (folder / MANIFEST).is_file() and read_manifest(folder).same_work(wanted):
        return read_manifest(folder)
    building = open_building(folder, wanted)
    write_whole(building / TRIAL, asked)
    sides = ((QUERIES, test.queries, wanted.turns), (GALLERY, test.gallery, wanted.gallery_turns))
    for name, pictures, rows in sides:
        shape = (len(pictures), rows, wanted.descriptor)
        around = _headings(pictures, test, headings, rows)
        file = DescriptorFile(building / name, shape)
        _describe(checkpoint, pictures, around, file, name.removesuffix(".npy"), report)
    files = {name: sha256_of(building / name) for name in (QUERIES, GALLERY)}
    publish(building, folder, replace(wanted, files=files))
    return read_manifest(folder)


def fits(checkpoint: Checkpoint, test: RetrievalTest) -> bool:
    """Whether the checkpoint knows the views of both sides."""
    known = {checkpoint.card.query_view, "satellite"}
    return {side[0].view for side in (test.queries, test.gallery) if side} <= known


def _manifest(
    checkpoint: Checkpoint, test: RetrievalTest, *, data: str, root: Path, turns: int
) -> DescriptionManifest:
    for side, pictures in (("queries", test.queries), ("gallery pictures", test.gallery)):
        if not pictures:
            raise UserError(f"{data}, {test.name}, has no {side}", "Is the data set complete?")
    card = checkpoint.card
    turned = [1 if side[0].view == "satellite" else turns for side in (test.queries, test.gallery)]
    told = "headings as given" if turns == 1 else f"heading unknown ({turns} turns)"
    flipped = ", mirrored picture added" if card.config.get("flip_sum") else ""
    return DescriptionManifest(
        task="retrieval",
        data=data,
        test=test.name,
        root=str(root.absolute()),
        asked="",
        checkpoint=checkpoint.sha256,
        checkpoint_title=card.title,
        checkpoint_file=str(checkpoint.path.absolute()),
        network=card.network,
        put=told + flipped,
        turns=turned[0],
        gallery_turns=turned[1],
        queries=len(test.queries),
        gallery=len(test.gallery),
        descriptor=checkpoint.network.descriptor,
        temperature=None if card.calibration is None else card.calibration.temperature,
    )


def _headings(
    pictures: Sequence[Picture], test: RetrievalTest, headings: Headings, turns: int
) -> list[tuple[float, ...]]:
    if headings == "unknown" and pictures[0].view != "satellite":
        return [tuple(360.0 * turn / turns for turn in range(turns))] * len(pictures)
    found: list[tuple[float, ...]] = []
    for picture in pictures:
        if picture.heading_deg is None and test.protocol == "pairs":
            raise UserError(
                f"The heading of {picture.path} is not known", "Evaluate with unknown headings."
            )
        found.append((picture.heading_deg or 0.0,))
    return found


# --- the work ----------------------------------------------------------------


def _describe(
    checkpoint: Checkpoint,
    pictures: Sequence[Picture],
    headings_deg: Sequence[tuple[float, ...]],
    file: DescriptorFile,
    name: str,
    report: Report,
) -> None:
    views = {picture.view for picture in pictures}
    if len(views) > 1:
        raise ValueError(f"the {name} of a test are of one view, not of {sorted(views)}")
    view, turns = pictures[0].view, len(headings_deg[0])
    size = checkpoint.card.sizes[view]
    for framed in _framed(pictures, headings_deg, size, start=file.done):
        flat = framed.reshape(-1, *framed.shape[2:])
        rows = checkpoint.describe(flat, view).reshape(len(framed), turns, -1)
        if not np.isfinite(rows).all():
            raise UserError(
                f"{checkpoint.card.title} describes {pictures[file.done].path.name} or one of the "
                f"next {len(framed)} pictures with numbers that are not finite",
                "The checkpoint is damaged or its training diverged; choose another.",
            )
        file.add(rows.astype(np.float16))
        report(Progress(file.done, len(pictures), f"describing {name}"))


def _framed(
    pictures: Sequence[Picture],
    headings_deg: Sequence[tuple[float, ...]],
    size: tuple[int, int],
    *,
    start: int,
) -> Iterator[UInt8[np.ndarray, "b t h w 3"]]:
    """Blocks of pictures as the network sees them, decoded ahead by threads."""
    block = max(1, BLOCK // len(headings_deg[0]))
    pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
    waiting: deque[list[Future[Any]]] = deque()
    ahead = iter(range(start, len(pictures), block))
    try:
        while True:
            while len(waiting) < AHEAD and (first := next(ahead, None)) is not None:
                rows = range(first, min(first + block, len(pictures)))
                waiting.append(
                    [pool.submit(_frame, pictures[row], headings_deg[row], size) for row in rows]
                )
            if not waiting:
                return
            yield np.stack([future.result() for future in waiting.popleft()])
    finally:
        pool.shutdown(cancel_futures=True)


def _frame(
    picture: Picture, headings_deg: tuple[float, ...], size: tuple[int, int]
) -> UInt8[np.ndarray, "t h w 3"]:
    image = decoded(picture.path)
    if picture.view == "satellite":
        return resized(image, size)[None]
    return frame_turns(
        image, kind=picture.kind, size=size, headings_deg=headings_deg, rows=picture.rows
    )
