"""How well a network tells held-out pairs apart, their headings known: a run's own yardstick."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from app.card import View
from app.engine.checkpoints import Device, to_images
from app.engine.datasets.pairs import Pair, PairDataset, pair_loader
from app.engine.metrics import Ranks, ranks_of, recall_at, university_ap
from app.errors import UserError
from app.messages import Progress, Report, ignore
from app.models.base import RetrievalNetwork

BATCH = 64  # pictures described at a time


@dataclass(frozen=True, slots=True)
class PairScores:
    """Ranks of the satellite pictures of each query's own place among all of the split."""

    ranks: tuple[Ranks, ...]
    metres: tuple[float, ...]  # from each query to the best-ranked picture; empty: no positions
    gallery: int

    @property
    def first(self) -> tuple[int | None, ...]:
        return tuple(int(r[0]) if len(r) else None for r in self.ranks)

    def recall(self, k: int) -> float:
        return recall_at(self.first, k)

    @property
    def ap(self) -> float:
        return float(np.mean([university_ap(r) for r in self.ranks]))

    @property
    def median_m(self) -> float | None:
        return float(np.median(self.metres)) if self.metres else None


def held_out_loader(
    pairs: Sequence[Pair], network: RetrievalNetwork, *, workers: int
) -> AbstractContextManager["DataLoader[Any]"]:
    """Yields the pairs in their order, turned to north, of the network's input sizes."""
    dataset = PairDataset(
        pairs,
        query_size=network.input_size(network.config.query_view),
        satellite_size=network.input_size("satellite"),
    )
    keys = [(0, index) for index in range(len(dataset))]
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    return pair_loader(dataset, batches, workers=workers, pinned=False)


@torch.inference_mode()
def score_held_out(
    network: RetrievalNetwork,
    device: Device,
    pairs: Sequence[Pair],
    loader: "DataLoader[Any]",
    report: Report = ignore,
) -> PairScores:
    """With the true headings. Leaves the network in eval mode."""
    network.eval()
    view = network.config.query_view
    queries: list[np.ndarray] = []
    satellites: list[np.ndarray] = []
    for step, batch in enumerate(loader):
        if isinstance(batch, UserError):
            raise batch
        queries.append(describe_pictures(network, device, batch.query, view))
        satellites.append(describe_pictures(network, device, batch.satellite, "satellite"))
        report(Progress(step + 1, len(loader), "validating"))
    once = first_rows([str(pair.satellite) for pair in pairs])
    scores = np.concatenate(queries) @ np.concatenate(satellites)[once].T
    return score_pairs(pairs, scores, once)


def describe_pictures(
    network: RetrievalNetwork, device: Device, pictures: UInt8[Tensor, "b h w 3"], view: View
) -> Float32[np.ndarray, "b d"]:
    images = network.preprocess(to_images(pictures, device.name), view)
    rows: Float32[np.ndarray, "b d"] = network.describe(images, view).float().cpu().numpy()
    return rows


def score_pairs(
    pairs: Sequence[Pair], scores: Float[np.ndarray, "q n"], once: Int[np.ndarray, " n"]
) -> PairScores:
    """Row i of ``scores`` is pair i's query, column j the satellite picture of pair ``once[j]``."""
    place = np.array([pair.place for pair in pairs])[once]
    ranks, metres = [], []
    for pair, row in zip(pairs, scores, strict=True):
        ranks.append(ranks_of(row, np.flatnonzero(place == pair.place)))
        best = pairs[int(once[int(row.argmax())])]
        if pair.position is not None and best.position is not None:
            metres.append(pair.position.metres_to(best.position))
    return PairScores(tuple(ranks), tuple(metres), len(once))


def first_rows(names: Sequence[str]) -> Int[np.ndarray, " k"]:
    """Rows at which a name comes for the first time, ascending: shared pictures count once."""
    return np.sort(np.unique(np.array(names), return_index=True)[1])
