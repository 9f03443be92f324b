"""Before a run: what it would need of memory and time, and what its pairs look like."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from app.engine import machine_memory
from app.engine.checkpoints import Device, choose_device, to_device
from app.engine.datasets.clicks import ClickPictures
from app.engine.distributed import Team
from app.engine.learner import make_learner
from app.engine.network_start import make_network, read_start
from app.engine.sharing import release
from app.engine.training_tasks import TrainingTask, click_batch, open_task, pair_batch
from app.engine.writing import write_whole
from app.errors import UserError
from app.messages import (
    PreviewTraining,
    Progress,
    Report,
    TrainingEstimate,
    TrainingPreview,
    ignore,
)
from app.models.base import Network, RetrievalNetwork
from app.models.object_base import ObjectNetwork
from app.train_request import Train

Picture = UInt8[np.ndarray, "_ _ 3"]

TRIED = 2  # updates; the first one pays for what is made once, the last one is timed
CELL = 192  # height of a picture of the preview in pixels
GAP = 4
MARK = (255, 0, 200)  # of click and box


def estimate(run: Train, report: Report = ignore) -> TrainingEstimate:
    """Do two updates and throw them away. Nothing is written."""
    device = choose_device(run.device)
    with _own_views(run, report) as (tried_run, share):
        try:
            tried = _try(tried_run, device, report)
        finally:
            release()  # the training itself needs it, and is another process
    return replace(
        tried,
        pairs=round(tried.pairs / share),
        held_out=round(tried.held_out / share),
        steps_per_epoch=math.ceil(tried.steps_per_epoch / share),
        seconds_per_epoch=tried.seconds_per_epoch / share,
        seconds_total=tried.seconds_total / share,
    )


@contextmanager
def _own_views(run: Train, report: Report) -> Iterator[tuple[Train, float]]:
    """The run itself, or on a few views of one's own area, and what share of them these are."""
    if run.imagery is None:
        yield run, 1.0
        return
    from app.engine.adapting import adapted  # loads rasterio, which other runs can do without

    views = min(run.views, max(24, 3 * run.batch_size))
    with TemporaryDirectory(prefix="skyfix-") as folder:
        few = replace(run, data=Path(folder) / "pairs", views=views)
        adapted(few, read_start(few), report)
        yield few, views / run.views


def _try(run: Train, device: Device, report: Report) -> TrainingEstimate:
    with torch.random.fork_rng(devices=[] if device.name == "cpu" else [device.name]):
        torch.manual_seed(run.seed)
        task, network = _opened(run, report)
        to_device(network, device)
        learner = make_learner(run, network, device, Team())
        network.train()
        machine_memory.forget(device)
        loading, learning = 0.0, 0.0
        with _room(run, device), task.loader(workers=0, pinned=device.name != "cpu") as loader:
            batches = iter(loader)
            for tried in range(TRIED):
                report(Progress(tried, TRIED, "trying"))
                began = time.perf_counter()
                group = list(map(_good, islice(batches, run.accumulate)))
                if not group:
                    break
                loading = time.perf_counter() - began
                losses = [partial(task.loss, pictures, device, tried) for pictures in group]
                learner.update(losses, run.lr).item()  # waits for the GPU
                learning = time.perf_counter() - began - loading
    step = max(learning, loading / run.workers) if run.workers else learning + loading
    steps = -(-len(task.batches) // run.accumulate)
    return TrainingEstimate(
        memory_bytes=machine_memory.most_used(device),
        memory_total_bytes=machine_memory.total(device),
        seconds_per_step=step,
        seconds_per_epoch=step * steps,
        seconds_total=step * steps * run.epochs,
        steps_per_epoch=steps,
        pairs=task.train_count,
        held_out=task.held_count,
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        device=device.name,
    )


def preview(request: PreviewTraining, report: Report = ignore) -> TrainingPreview:
    """Training pairs as the network gets them: a query above, its satellite picture below."""
    run = replace(request.run, batch_size=request.count, negatives="none", accumulate=1)
    with _own_views(run, report) as (shown, _):
        return _draw(shown, request.picture, report)


def _draw(run: Train, picture: Path, report: Report) -> TrainingPreview:
    device = Device("cpu", "for the preview")
    task, network = _opened(run, report)
    with task.loader(workers=0, pinned=False) as loader:
        for pictures in loader:
            columns = _columns(network, _good(pictures), device, run.seed)
            sheet = _sheet(columns)
            ending = picture.suffix or ".png"
            _, code = cv2.imencode(ending, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
            write_whole(picture, code.tobytes())
            return TrainingPreview(picture, len(columns))
    raise UserError(f"{run.data} has too few places", "Preview fewer pairs, or choose other data.")


def _opened(run: Train, report: Report) -> tuple[TrainingTask, Network]:
    return open_task(run, partial(make_network, run, read_start(run)), Team(), report)


@contextmanager
def _room(run: Train, device: Device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"The memory of {device.name} does not suffice for batches of {run.batch_size}",
            "Choose a smaller batch, half precision or gradient checkpointing.",
        ) from error


def _good(pictures: Any) -> Any:
    """A batch, if it is no picture's trouble."""
    if isinstance(pictures, UserError):
        raise pictures
    return pictures


def _columns(
    network: Network, pictures: Any, device: Device, seed: int
) -> list[tuple[Picture, Picture]]:
    """Query and satellite picture of each pair, in colours again, with click and box drawn."""
    if isinstance(network, RetrievalNetwork):
        pairs = pair_batch(network, pictures, device, seed)
        looks = zip(_colours(network, pairs.query), _colours(network, pairs.satellite), strict=True)
        return list(looks)
    assert isinstance(network, ObjectNetwork)
    assert isinstance(pictures, ClickPictures)
    clicks = click_batch(network, pictures, device)
    queries, satellites = _colours(network, clicks.query), _colours(network, clicks.satellite)
    for query, satellite, click, box in zip(
        queries, satellites, clicks.click.tolist(), clicks.box.tolist(), strict=True
    ):
        thick = max(1, query.shape[0] // 100), max(1, satellite.shape[0] // 100)
        centre = (round(click[0]), round(click[1]))
        cv2.circle(query, centre, 4 * thick[0], MARK, thick[0])
        corners = [round(value) for value in box]
        cv2.rectangle(satellite, corners[:2], corners[2:], MARK, thick[1])
    return list(zip(queries, satellites, strict=True))


def _colours(network: Network, images: Float[Tensor, "b 3 h w"]) -> list[Picture]:
    rgb = (images * network.std + network.mean).clamp(0, 1) * 255
    return list(rgb.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())


def _sheet(columns: list[tuple[Picture, Picture]]) -> Picture:
    """Rows of pairs, not much wider than high: in a narrow place they are still to be seen."""
    widest = max(picture.shape[1] / picture.shape[0] for pair in columns for picture in pair)
    across = max(1, round(math.sqrt(2 * len(columns) / widest)))
    rows = [_row(columns[i : i + across]) for i in range(0, len(columns), across)]
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows
    ]
    return np.concatenate(padded)


def _row(columns: list[tuple[Picture, Picture]]) -> Picture:
    """All cells of one height; a column is as wide as its wider picture."""
    drawn = []
    for pair in columns:
        scaled = [
            cv2.resize(
                picture,
                (round(picture.shape[1] * CELL / picture.shape[0]), CELL),
                interpolation=cv2.INTER_AREA if picture.shape[0] > CELL else cv2.INTER_LINEAR,
            )
            for picture in pair
        ]
        width = max(picture.shape[1] for picture in scaled) + GAP
        column = np.full((2 * (CELL + GAP), width, 3), 255, np.uint8)
        for row, picture in enumerate(scaled):
            top = row * (CELL + GAP)
            column[top : top + CELL, : picture.shape[1]] = picture
        drawn.append(column)
    return np.concatenate(drawn, axis=1)
