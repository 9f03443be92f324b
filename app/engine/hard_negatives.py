"""Which pairs make hard negatives of each other: near ones, or those that a network finds alike.

Both give a table [n, k]: for each pair the rows of others, hardest first, filled up with -1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch.utils.data import DataLoader

from app.engine.checkpoints import Device
from app.engine.held_out import describe_pictures
from app.engine.sampling import Ground
from app.errors import UserError
from app.messages import Progress, Report, ignore
from app.models.base import RetrievalNetwork

BLOCK = 1024  # rows compared with all others at a time


def nearest_on_ground(ground: Ground, count: int) -> Int64[np.ndarray, "n k"] | None:
    """By position, within one world; None if no pair has a position."""
    if np.isnan(ground.xy[:, 0]).all():
        return None
    table = np.full((len(ground.place), count), -1)
    for world in np.unique(ground.world):
        rows = np.flatnonzero((ground.world == world) & ~np.isnan(ground.xy[:, 0]))
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            apart = np.hypot(
                *(ground.xy[block][:, None] - ground.xy[rows][None]).transpose(2, 0, 1)
            )
            apart[ground.place[block][:, None] == ground.place[rows][None]] = np.inf
            table[block] = _first(-apart, rows, count)
    return table


@torch.inference_mode()
def most_alike(
    network: RetrievalNetwork,
    device: Device,
    loader: "DataLoader[Any]",
    place: Sequence[int],
    count: int,
    report: Report = ignore,
) -> Int64[np.ndarray, "n k"]:
    """By what the network makes of the queries and of the satellite pictures of other places.

    ``loader`` yields the pairs in their order and unaltered. Leaves the network in eval mode.
    """
    network.eval()
    queries: list[Float32[np.ndarray, "b d"]] = []
    satellites: list[Float32[np.ndarray, "b d"]] = []
    for step, batch in enumerate(loader):
        if isinstance(batch, UserError):
            raise batch
        queries.append(describe_pictures(network, device, batch.query, network.config.query_view))
        satellites.append(describe_pictures(network, device, batch.satellite, "satellite"))
        report(Progress(step + 1, len(loader), "looking for hard negatives"))
    return _alike(np.concatenate(queries), np.concatenate(satellites), np.array(place), count)


def _alike(
    queries: Float32[np.ndarray, "n d"],
    satellites: Float32[np.ndarray, "n d"],
    place: Int64[np.ndarray, " n"],
    count: int,
) -> Int64[np.ndarray, "n k"]:
    rows = np.arange(len(place))
    table = np.full((len(place), count), -1)
    for start in range(0, len(place), BLOCK):
        block = slice(start, start + BLOCK)
        scores = queries[block] @ satellites.T
        scores[place[block][:, None] == place[None]] = -np.inf
        table[block] = _first(scores, rows, count)
    return table


def _first(
    scores: np.ndarray, rows: Int64[np.ndarray, " m"], count: int
) -> Int64[np.ndarray, "b k"]:
    """The ``rows`` of the highest scores, in order; -1 where there is none."""
    count_here = min(count, scores.shape[1])
    best = np.argpartition(-scores, count_here - 1, axis=1)[:, :count_here]
    picked = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-picked, axis=1, kind="stable")
    best, picked = (np.take_along_axis(x, order, axis=1) for x in (best, picked))
    table = np.full((len(scores), count), -1)
    table[:, :count_here] = np.where(np.isfinite(picked), rows[best], -1)
    return table
