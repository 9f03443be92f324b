"""The two tasks that networks train for: what they learn from, and how they are measured.

The loop (``training``) is one for both. What differs is here: reading the data set, the loss of a
batch, and the figures on the held-out data.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader

from app.card import Metric, Task
from app.engine.checkpoints import Device, to_images
from app.engine.datasets.catalog import open_data_set
from app.engine.datasets.clicks import (
    ClickAugment,
    ClickDataset,
    ClickPair,
    ClickPictures,
    click_loader,
)
from app.engine.datasets.layout import ObjectData, RetrievalData
from app.engine.datasets.pairs import (
    Augment,
    Pair,
    PairDataset,
    PairPictures,
    decoded,
    pair_loader,
)
from app.engine.distributed import Share, Team
from app.engine.hard_negatives import most_alike, nearest_on_ground
from app.engine.held_out import held_out_loader, score_held_out
from app.engine.held_out_objects import held_out_clicks, score_clicks
from app.engine.network_start import DEFAULT_TILE_M
from app.engine.sampling import PlaceBatches
from app.errors import UserError
from app.messages import Report
from app.models.base import Network, PairBatch, RetrievalNetwork
from app.models.object_base import ClickBatch, ObjectNetwork
from app.train_request import Train

Loader = AbstractContextManager["DataLoader[Any]"]
Figures = Mapping[str, float]


class TrainingTask(ABC):
    """One run's data and figures. Made on the CPU, before the network moves to its device."""

    name: Task
    best_by: str  # where the run says "auto"
    tie_breaker: str  # decides between equal figures
    train_count: int
    held_count: int
    tile_size_m: float
    batches: PlaceBatches
    hash: str  # of the data
    missing: tuple[str, ...]
    data_name: str
    held_words: str  # what the held-out figures are of, on the card

    @abstractmethod
    def loader(self, *, workers: int, pinned: bool) -> Loader:
        """This process's share of the batches of ``batches.epoch`` from ``batches.start`` on."""

    @abstractmethod
    def held_loader(self, *, workers: int) -> Loader: ...

    @abstractmethod
    def loss(self, pictures: Any, device: Device, seed: int) -> Tensor:
        """Of one of the loader's batches; all its chance comes from ``seed``."""

    @abstractmethod
    def score(self, device: Device, loader: "DataLoader[Any]", report: Report) -> Figures:
        """Figures on the held-out data. Leaves the network in eval mode."""

    def near(self, count: int) -> Tensor | None:
        """Hard negatives by position; None where there are no positions."""
        table = nearest_on_ground(self.batches.ground, count)
        return None if table is None else torch.from_numpy(table)

    def alike(self, device: Device, *, count: int, workers: int, report: Report) -> Tensor | None:
        """Hard negatives by what the network finds alike; None for a task that has none."""
        return None

    def metrics(self, figures: Figures) -> tuple[Metric, ...]:
        """For the checkpoint's card."""
        on = f"{self.data_name}, {self.held_count} {self.held_words}"
        return tuple(Metric(name, value, on) for name, value in figures.items())


def open_task(
    run: Train,
    make: Callable[[RetrievalData | ObjectData], Network],
    team: Team,
    report: Report,
) -> tuple[TrainingTask, Network]:
    """Read the data, and make the network that fits it."""
    data = open_data_set(run.data, name=run.data_name, report=report)
    network = make(data)
    if isinstance(data, RetrievalData) and isinstance(network, RetrievalNetwork):
        return RetrievalTask(run, data, network, team), network
    if isinstance(data, ObjectData) and isinstance(network, ObjectNetwork):
        return ObjectTask(run, data, network, team), network
    wanted = "clicks and boxes" if isinstance(network, ObjectNetwork) else "pairs"
    raise UserError(
        f"{run.network} learns from {wanted}, and {data.name} has none",
        "Choose a network for this data set, or another data set.",
    )


class RetrievalTask(TrainingTask):
    name: Task = "retrieval"
    best_by, tie_breaker = "R@1", "AP"
    held_words = "held-out pairs, heading known"

    def __init__(
        self, run: Train, data: RetrievalData, network: RetrievalNetwork, team: Team
    ) -> None:
        view = network.config.query_view
        train = tuple(pair for pair in data.train if pair.view == view)
        held = tuple(pair for pair in data.held_out if pair.view == view)
        _require(data.folder, view, train=len(train), val=len(held))
        self._network, self._team = network, team
        self._pairs, self._held = _renumbered(train), held
        self.train_count, self.held_count = len(train), len(held)
        self.tile_size_m = run.tile_size_m or data.tile_size_m or DEFAULT_TILE_M
        self.missing, self.data_name = data.missing, run.data.name
        self.hash = hash_of(data.folder, train + held)
        self.batches = _batches(run, self._pairs, self.tile_size_m, team)
        self._ground: Tensor | None = None
        if unit_m := _least_distance(run, self.tile_size_m):
            self._ground = torch.from_numpy(self.batches.ground.of_places(unit_m))
        self._dataset = PairDataset(
            self._pairs,
            query_size=network.input_size(view),
            satellite_size=network.input_size("satellite"),
            augment=Augment(
                heading_jitter_deg=run.heading_jitter_deg,
                quarter_turns=run.quarter_turns,
                flip=run.flip,
                zoom=run.zoom_jitter,
                looks=run.looks,
            ),
            seed=run.seed,
        )

    def loader(self, *, workers: int, pinned: bool) -> Loader:
        share = Share(self.batches, self._team)
        return pair_loader(self._dataset, share, workers=workers, pinned=pinned)

    def held_loader(self, *, workers: int) -> Loader:
        return held_out_loader(self._held, self._network, workers=workers)

    def loss(self, pictures: PairPictures, device: Device, seed: int) -> Tensor:
        batch = pair_batch(self._network, pictures, device, seed, ground=self._ground)
        return self._network.loss(batch)

    def score(self, device: Device, loader: "DataLoader[Any]", report: Report) -> Figures:
        scores = score_held_out(self._network, device, self._held, loader, report)
        figures = {f"R@{k}": scores.recall(k) for k in (1, 5, 10)} | {"AP": scores.ap}
        if scores.median_m is not None:
            figures["median_m"] = scores.median_m
        return figures

    def alike(self, device: Device, *, count: int, workers: int, report: Report) -> Tensor | None:
        with held_out_loader(self._pairs, self._network, workers=workers) as loader:
            place = [pair.place for pair in self._pairs]
            table = most_alike(self._network, device, loader, place, count, report)
        return torch.from_numpy(table)


class ObjectTask(TrainingTask):
    name: Task = "object"
    best_by, tie_breaker = "accu@0.5", "mean IoU"
    held_words = "held-out clicks"

    def __init__(self, run: Train, data: ObjectData, network: ObjectNetwork, team: Team) -> None:
        view = network.config.query_view
        train = tuple(pair for pair in data.train if pair.view == view)
        held = tuple(pair for pair in data.val if pair.view == view)
        _require(data.folder, view, train=len(train), val=len(held))
        self._network, self._team = network, team
        self._held = held
        self.train_count, self.held_count = len(train), len(held)
        self.tile_size_m = run.tile_size_m or _ground_size(train) or DEFAULT_TILE_M
        self.missing, self.data_name = data.missing, run.data.name
        self.hash = hash_of(data.folder, train + held)
        # Every row a place of its own: objects on one picture are no negatives of each other.
        rows = tuple(_as_pair(pair, row) for row, pair in enumerate(train))
        self.batches = _batches(run, rows, 0.0, team)
        self._dataset = ClickDataset(
            train,
            query_size=network.input_size(view),
            satellite_size=network.input_size("satellite"),
            augment=ClickAugment(
                crop=0.2 if run.zoom_jitter else 0.0,
                quarter_turns=run.quarter_turns,
                mirror=run.flip,
                roll=run.heading_jitter_deg > 0,
                looks=run.looks,
            ),
            seed=run.seed,
        )

    def loader(self, *, workers: int, pinned: bool) -> Loader:
        share = Share(self.batches, self._team)
        return click_loader(self._dataset, share, workers=workers, pinned=pinned)

    def held_loader(self, *, workers: int) -> Loader:
        return held_out_clicks(self._held, self._network, workers=workers)

    def loss(self, pictures: ClickPictures, device: Device, seed: int) -> Tensor:
        return self._network.loss(click_batch(self._network, pictures, device))

    def score(self, device: Device, loader: "DataLoader[Any]", report: Report) -> Figures:
        return score_clicks(self._network, device, loader, report)


def pair_batch(
    network: RetrievalNetwork,
    pictures: PairPictures,
    device: Device,
    seed: int,
    *,
    ground: Float[Tensor, "p 3"] | None = None,
) -> PairBatch:
    """On the device, preprocessed, and altered as the network's paper does.

    Row p of ``ground`` is that of place p.
    """
    at = None if ground is None else ground[pictures.place]
    batch = PairBatch(
        network.preprocess(to_images(pictures.query, device.name), network.config.query_view),
        network.preprocess(to_images(pictures.satellite, device.name), "satellite"),
        pictures.place.to(device.name, non_blocking=True),
        ground=None if at is None else at.to(device.name, non_blocking=True),
    )
    return network.augment(batch, generator=torch.Generator().manual_seed(seed))


def click_batch(network: ObjectNetwork, pictures: ClickPictures, device: Device) -> ClickBatch:
    """On the device and preprocessed; the pictures have the input's sizes already."""
    return ClickBatch(
        network.preprocess(to_images(pictures.query, device.name), network.config.query_view),
        pictures.click.to(device.name, non_blocking=True),
        network.preprocess(to_images(pictures.satellite, device.name), "satellite"),
        pictures.box.to(device.name, non_blocking=True),
    )


def hash_of(folder: Path, pairs: Sequence[Pair] | Sequence[ClickPair]) -> str:
    """SHA-256 of all that is known of the pairs, and of every picture's name and size in bytes.

    Not of their pixels: published sets have a hundred gigabytes of them.
    """
    digest = hashlib.sha256()
    for pair in pairs:
        names = [_name(path, folder) for path in (pair.query, pair.satellite)]
        told = replace(pair, query=Path(names[0]), satellite=Path(names[1]))
        digest.update(f"{told}\n".encode())
    for picture in sorted({p.query for p in pairs} | {p.satellite for p in pairs}):
        digest.update(f"\n{_name(picture, folder)} {picture.stat().st_size}".encode())
    return digest.hexdigest()


def _name(path: Path, folder: Path) -> str:
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _batches(run: Train, pairs: Sequence[Pair], tile_size_m: float, team: Team) -> PlaceBatches:
    return PlaceBatches(
        pairs,
        batch_size=run.batch_size,
        seed=run.seed,
        neighbour_share=run.neighbour_share if run.negatives == "neighbours" else 0.0,
        neighbour_select=run.neighbour_select,
        min_distance_m=_least_distance(run, tile_size_m),
        samples_per_place=run.samples_per_place,
        multiple=team.size,
    )


def _least_distance(run: Train, tile_size_m: float) -> float:
    """In metres: nearer places are no negatives of each other."""
    return tile_size_m / 2 if run.min_distance_m is None else run.min_distance_m


def _renumbered(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Places numbered from 0 without gaps, in their order, as classifiers need them."""
    number = {place: n for n, place in enumerate(sorted({pair.place for pair in pairs}))}
    return tuple(replace(pair, place=number[pair.place]) for pair in pairs)


def _as_pair(pair: ClickPair, row: int) -> Pair:
    return Pair(pair.query, pair.satellite, row, None, None, pair.view, pair.kind, pair.world)


def _ground_size(pairs: Sequence[ClickPair]) -> float | None:
    """The ground width of the first satellite picture whose scale is known."""
    for pair in pairs:
        if pair.gsd_m:
            return float(decoded(pair.satellite).shape[1] * pair.gsd_m)
    return None


def _require(folder: Path, view: str, **counts: int) -> None:
    for split, count in counts.items():
        if not count:
            raise UserError(
                f"{folder} has no {split} pairs with {view} queries",
                "Choose another data set, or a network for this view: query_view among the "
                "overrides (--set query_view=street).",
            )
