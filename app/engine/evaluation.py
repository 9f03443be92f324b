"""How good a checkpoint is, in two steps: descriptors, then metrics from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch.utils.data import DataLoader

from app.engine.checkpoints import Device, to_images
from app.engine.datasets.pairs import Pair, PairDataset, collate, one_thread
from app.engine.metrics import Ranks, ranks_of, recall_at, university_ap
from app.errors import UserError
from app.messages import Progress, Report, ignore
from app.models.base import RetrievalNetwork


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


class HeldOut:
    """The held-out pairs of a run, read anew each time by workers that live as long as it."""

    def __init__(
        self, pairs: Sequence[Pair], network: RetrievalNetwork, *, workers: int, batch: int
    ) -> None:
        dataset = PairDataset(
            pairs,
            query_size=network.input_size(network.config.query_view),
            satellite_size=network.input_size("satellite"),
        )
        self._pairs = dataset.pairs
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=batch,
            sampler=[(0, index) for index in range(len(dataset))],
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=one_thread,
            persistent_workers=workers > 0,
            generator=torch.Generator().manual_seed(0),
        )

    @torch.inference_mode()
    def scores(
        self, network: RetrievalNetwork, device: Device, report: Report = ignore
    ) -> PairScores:
        """Leaves the network in eval mode."""
        network.eval()
        view = network.config.query_view
        queries: list[np.ndarray] = []
        satellites: list[np.ndarray] = []
        for step, batch in enumerate(self._loader):
            if isinstance(batch, UserError):
                raise batch
            for rows, pictures, seen in (
                (queries, batch.query, view),
                (satellites, batch.satellite, "satellite"),
            ):
                images = network.preprocess(to_images(pictures, device.name), seen)
                rows.append(network.describe(images, seen).float().cpu().numpy())
            report(Progress(step + 1, len(self._loader), "validating"))
        return score_pairs(self._pairs, np.concatenate(queries), np.concatenate(satellites))


def score_pairs(
    pairs: Sequence[Pair],
    queries: Float32[np.ndarray, "n d"],
    satellites: Float32[np.ndarray, "n d"],
) -> PairScores:
    """Rows are the pairs' own; a satellite picture that several pairs share counts once."""
    once = first_rows([str(p.satellite) for p in pairs])
    place = np.array([p.place for p in pairs])
    ranks, metres = [], []
    for pair, query in zip(pairs, queries, strict=True):
        scores = satellites[once] @ query
        ranks.append(ranks_of(scores, np.flatnonzero(place[once] == pair.place)))
        best = pairs[once[int(scores.argmax())]]
        if pair.position is not None and best.position is not None:
            metres.append(pair.position.metres_to(best.position))
    return PairScores(tuple(ranks), tuple(metres), len(once))


def first_rows(names: Sequence[str]) -> Int[np.ndarray, " k"]:
    """Rows at which a name comes for the first time, ascending."""
    return np.sort(np.unique(np.array(names), return_index=True)[1])
