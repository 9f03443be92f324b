"""Object checkpoints: boxes to a file, figures from the file.

``boxes.csv`` has a line a click: the true box and the network's best one, in pixels of the
satellite picture's file.
"""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from app import __version__
from app.engine.checkpoints import ObjectCheckpoint, to_images
from app.engine.datasets.click_table import ClickPair
from app.engine.datasets.clicks import ClickDataset, ClickPictures, click_loader
from app.engine.datasets.layout import ObjectData
from app.engine.evaluation_files import (
    MANIFEST,
    DescriptionManifest,
    name_from,
    open_building,
    publish,
    read_manifest,
    sha256_of,
    slug,
)
from app.engine.evaluation_intervals import group_numbers, measures, resampled
from app.engine.evaluation_rows import Rows, table_of, write_rows
from app.engine.metrics import box_iou
from app.engine.protocols import Column
from app.engine.shelf import Shelf
from app.errors import UserError
from app.messages import Evaluate, Progress, Report, Score, ignore
from app.results import Curve, EvaluationResult

BOXES_NAME = "boxes.csv"
BATCH = 8  # clicks put to the network at a time
IOU_AT = (0.25, 0.5)
IOU_CURVE = tuple(i / 20 for i in range(1, 20))
TRUE, FOUND = ("left", "top", "right", "bottom"), ("x0", "y0", "x1", "y1")
NUMBERS = ("click_x", "click_y", *TRUE, *FOUND, "score", "cell_x", "cell_y")
COLUMNS = ("query", "satellite", "place", "category", "gsd_m", *NUMBERS)


def describe_clicks(
    checkpoint: ObjectCheckpoint,
    pairs: Sequence[ClickPair],
    folder: Path,
    *,
    data: str,
    test: str,
    root: Path,
    report: Report = ignore,
) -> DescriptionManifest:
    """The best box of each click into ``folder``, or find that done. Goes on after a stop."""
    asked = json.dumps([_asked(pair, root) for pair in pairs]).encode()
    wanted = DescriptionManifest(
        task="object",
        data=data,
        test=test,
        root=str(root.absolute()),
        asked=hashlib.sha256(asked).hexdigest(),
        checkpoint=checkpoint.sha256,
        checkpoint_title=checkpoint.card.title,
        checkpoint_file=str(checkpoint.path.absolute()),
        network=checkpoint.card.network,
        put="the box of the highest score",
        queries=len(pairs),
        gallery=len({pair.satellite for pair in pairs}),
    )
    if (folder / MANIFEST).is_file() and read_manifest(folder).same_work(wanted):
        return read_manifest(folder)
    building = open_building(folder, wanted)
    table = building / BOXES_NAME
    done = _whole_lines(table)
    _find(checkpoint, pairs, done, table, root, report)
    publish(building, folder, replace(wanted, files={BOXES_NAME: sha256_of(table)}))
    return read_manifest(folder)


def _asked(pair: ClickPair, root: Path) -> list[object]:
    sizes = [path.stat().st_size for path in (pair.query, pair.satellite)]
    return [
        name_from(pair.query, root),
        name_from(pair.satellite, root),
        *sizes,
        pair.click,
        pair.box,
    ]


def _whole_lines(table: Path) -> int:
    """Clicks that are done; a line that a killed process wrote in part is taken back."""
    if not table.is_file():
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(COLUMNS)
        return 0
    content = table.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        table.unlink()
        return _whole_lines(table)
    table.write_bytes(whole)
    with table.open(newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.reader(file)) - 1


@torch.inference_mode()
def _find(
    checkpoint: ObjectCheckpoint,
    pairs: Sequence[ClickPair],
    done: int,
    table: Path,
    root: Path,
    report: Report,
) -> None:
    network = checkpoint.network
    dataset = ClickDataset(
        pairs,
        query_size=network.config.query_size,
        satellite_size=network.config.satellite_size,
    )
    keys = [(0, row) for row in range(done, len(pairs))]
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    with click_loader(dataset, batches, workers=0, pinned=False) as loader:
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            rows = checkpoint.compute(partial(_boxes, checkpoint, pairs, batch, root))
            with table.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
            done += len(rows)
            report(Progress(done, len(pairs), "finding objects"))


def _boxes(
    checkpoint: ObjectCheckpoint, pairs: Sequence[ClickPair], batch: ClickPictures, root: Path
) -> list[list[object]]:
    """Lines of the table."""
    network, device = checkpoint.network, checkpoint.device.name
    view = network.config.query_view
    queries = network.preprocess(to_images(batch.query, device), view)
    satellites = network.preprocess(to_images(batch.satellite, device), "satellite")
    features = network.encode_satellite(satellites)
    found = network.find(network.encode_query(queries, batch.click.to(device)), features)
    best = found.scores.argmax(dim=1)
    rows = torch.arange(len(best), device=best.device)
    boxes = found.boxes[rows, best].float().cpu().numpy().astype(np.float64)
    scores = found.scores[rows, best].float().cpu().numpy()
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise UserError(
            f"{checkpoint.card.title} finds boxes that are not finite",
            "The checkpoint is damaged or its training diverged; choose another.",
        )
    cell = network.config.satellite_size[1] / features.shape[-1]
    lines = []
    for i, row in enumerate(batch.row.tolist()):
        pair = pairs[row]
        # The true box in both frames tells how much the picture was shrunk.
        scale = np.array(pair.box[2:]) / batch.box[i, 2:].numpy().astype(np.float64)
        box = boxes[i] * np.tile(scale, 2)
        numbers = [*pair.click, *pair.box, *box, float(scores[i]), *(cell * scale)]
        lines.append(
            [
                name_from(pair.query, root),
                name_from(pair.satellite, root),
                pair.place,
                pair.category,
                "" if pair.gsd_m is None else repr(float(pair.gsd_m)),
                *(repr(float(number)) for number in numbers),
            ]
        )
    return lines


def evaluate_objects(
    request: Evaluate, data: ObjectData, output: Path, shelf: Shelf, report: Report
) -> tuple[Path, ...]:
    """The first step for the splits that are asked for, test and val."""
    checkpoint = shelf.object_checkpoint(request.checkpoint)
    splits = {"test": data.test, "val": data.val}
    if unknown := [name for name in request.tests if not splits.get(name)]:
        raise UserError(f"{data.name} has no clicks in {unknown[0]}", "Choose test or val.")
    view = checkpoint.card.query_view
    folders = []
    for name, pairs in splits.items():
        chosen = [pair for pair in pairs if pair.view == view]
        if not chosen or (request.tests and name not in request.tests):
            continue
        folders.append(output / slug(data.name, name))
        describe_clicks(
            checkpoint,
            chosen,
            folders[-1],
            data=data.name,
            test=name,
            root=data.folder,
            report=report,
        )
    if not folders:
        raise UserError(f"{data.name} has no clicks on {view} photos", "Choose another data set.")
    return tuple(folders)


# --- figures -----------------------------------------------------------------


def read_boxes(folder: Path) -> tuple[list[dict[str, str]], dict[str, Float64[np.ndarray, " n"]]]:
    """The lines of ``boxes.csv`` and its numbers in columns; ``gsd_m`` is NaN where unknown."""
    path = folder / BOXES_NAME
    try:
        if sha256_of(path) != read_manifest(folder).files.get(BOXES_NAME):
            raise ValueError("it is not the file that was written")
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        numbers = {name: np.array([float(line[name]) for line in lines]) for name in NUMBERS}
        numbers["gsd_m"] = np.array([float(line["gsd_m"] or "nan") for line in lines])
        return lines, numbers
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error})", "Describe the data set again.") from error


def score_boxes(request: Score, report: Report = ignore) -> EvaluationResult:
    """All figures of an object test; also writes ``rows.npz``."""
    lines, numbers = read_boxes(request.folder)
    found = box_columns(numbers)
    groups = group_numbers([line["place"] for line in lines])
    draws = resampled(found, groups, resamples=request.resamples, seed=request.seed, report=report)
    write_rows(request.folder, _rows(found, groups, numbers["score"]))
    manifest = read_manifest(request.folder)
    iou = overlap(numbers)
    shares = tuple(float((iou >= limit).mean()) for limit in IOU_CURVE)
    return EvaluationResult(
        task="object",
        data=manifest.data,
        test=manifest.test,
        protocol="cvogl",
        put=manifest.put,
        checkpoint=manifest.checkpoint,
        checkpoint_title=manifest.checkpoint_title,
        network=manifest.network,
        queries=manifest.queries,
        gallery=manifest.gallery,
        measures=measures(found, draws),
        curves=(Curve("accuracy", "IoU", IOU_CURVE, shares),),
        resamples=request.resamples,
        groups=int(groups.max()) + 1,
        seed=request.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=__version__,
    )


def _boxes_of(numbers: dict[str, Any], names: Sequence[str]) -> Float64[np.ndarray, "n 4"]:
    return np.stack([numbers[name] for name in names], axis=1)


def overlap(numbers: dict[str, Any]) -> Float64[np.ndarray, " n"]:
    return box_iou(_boxes_of(numbers, TRUE), _boxes_of(numbers, FOUND))


def centre_error_px(numbers: dict[str, Any]) -> Float64[np.ndarray, " n"]:
    true, found = (_centres(_boxes_of(numbers, names)) for names in (TRUE, FOUND))
    return np.asarray(np.hypot(*(true - found).T))


def _centres(boxes: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, "n 2"]:
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2)


def box_columns(numbers: dict[str, Any]) -> tuple[Column, ...]:
    """CVOGL's figures. AttenGeo's paper counts an IoU of exactly the threshold, DetGeo's code not.

    The centre cell is DetGeo's: whether the best box's centre falls into the cell of the network's
    map in which the true centre lies.
    """
    iou, away = overlap(numbers), centre_error_px(numbers)
    cells = np.stack([numbers["cell_x"], numbers["cell_y"]], axis=1)
    true, found = (np.floor(_centres(_boxes_of(numbers, names)) / cells) for names in (TRUE, FOUND))
    same_cell = (true == found).all(axis=1).astype(np.float64)
    figures = [
        *(Column(f"accu@{t:g}", (iou >= t).astype(float), note=f"IoU >= {t:g}") for t in IOU_AT),
        *(
            Column(f"accu@{t:g} code", (iou > t).astype(float), note=f"IoU > {t:g}, DetGeo's code")
            for t in IOU_AT
        ),
        Column("mean IoU", iou),
        Column("centre cell", same_cell, note="best box centred in the right cell"),
        Column("centre error", away, unit="px", statistic="median"),
    ]
    if np.isfinite(numbers["gsd_m"]).any():
        metres = away * numbers["gsd_m"]
        figures.append(Column("centre error on the ground", metres, unit="m", statistic="median"))
    return tuple(figures)


def _rows(
    found: Sequence[Column], groups: Int64[np.ndarray, " n"], score: Float64[np.ndarray, " n"]
) -> Rows:
    """Clicks have no ranks and no candidates."""
    count = len(groups)
    return Rows(
        names=tuple(column.name for column in found),
        units=tuple(column.unit for column in found),
        statistics=tuple(column.statistic for column in found),
        values=table_of(found),
        group=groups,
        rank=np.full(count, -1, np.int64),
        top=np.empty((count, 0), np.int32),
        top_score=np.empty((count, 0), np.float32),
        right_score=np.full(count, np.nan, np.float32),
        probability=score.astype(np.float32),
        metres=np.empty((count, 0)),
    )
