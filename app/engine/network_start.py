"""The network before its first update: its configuration, and the weights that it starts with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from app.card import read_card
from app.engine.anchors import cluster_anchors
from app.engine.checkpoints import load_checkpoint, load_object_checkpoint, load_weights
from app.engine.datasets.clicks import ClickPair
from app.engine.datasets.layout import ObjectData, RetrievalData
from app.errors import UserError
from app.models.base import Network
from app.models.build import create_network, preset_config, spec_of
from app.train_request import Train

DEFAULT_TILE_M = 80.0  # where neither run, data nor parent say
CLUSTERED = "clustered"  # anchors that are found from the training boxes


@dataclass(frozen=True, slots=True)
class Start:
    """What a run begins with, before the data set is known."""

    config: Mapping[str, Any]
    weights: Mapping[str, Tensor] | None = None  # of the parent; None: fresh ones
    parent: str = ""  # its identity, see ``card.identity_of``
    tile_size_m: float | None = None  # the parent's


def read_start(run: Train) -> Start:
    """Raises UserError where preset, overrides and parent do not make a network."""
    smoothing = (
        {"label_smoothing": run.label_smoothing} if spec_of(run.network).task == "retrieval" else {}
    )
    if run.init is None:
        if not run.preset:
            raise UserError(
                "Without a checkpoint to start from, a configuration must be named",
                f"Choose one of {', '.join(spec_of(run.network).presets)}.",
            )
        config = {**preset_config(run.network, run.preset), **smoothing, **run.overrides}
        return Start(config)
    card = read_card(run.init)
    if card.network != run.network:
        raise UserError(
            f"{run.init.name} holds {card.network}, not {run.network}",
            "Choose a checkpoint of this network to start from.",
        )
    load = load_object_checkpoint if card.task == "object" else load_checkpoint
    parent = load(run.init, device="cpu")
    config = dict(preset_config(run.network, run.preset) if run.preset else card.config)
    # Weights are only right with the normalisation that they were trained with.
    own = {key: card.config[key] for key in ("mean", "std") if key in card.config}
    return Start(
        {**config, **smoothing, **own, **run.overrides},
        dict(parent.network.state_dict()),
        parent.sha256,
        card.tile_size_m,
    )


def make_network(run: Train, start: Start, data: RetrievalData | ObjectData) -> Network:
    """On the CPU, fitted to what it will learn from.

    A classifier over the training places gets as many classes as there are, and anchors that are
    to be "clustered" are.
    """
    config = start.config
    if config.get("anchors") == CLUSTERED and isinstance(data, ObjectData):
        sizes = box_sizes(data.train, config["satellite_size"])
        config = {**config, "anchors": cluster_anchors(sizes, seed=run.seed)}
    network = _fresh(run, config)
    classes = getattr(network.config, "classes", 0)
    places = len({pair.place for pair in data.train})
    if classes and classes != places and "classes" not in run.overrides:
        network = _fresh(run, {**config, "classes": places})
    if start.weights is not None:
        assert run.init is not None
        load_weights(network, _fitting(start.weights, network), name=run.init.name)
    return network


def box_sizes(pairs: Sequence[ClickPair], size: tuple[int, int]) -> Float[np.ndarray, "n 2"]:
    """Widths and heights of the boxes in pixels of a satellite input of this ``size``."""
    of_picture: dict[Path, tuple[int, int]] = {}
    rows = []
    for pair in pairs:
        if pair.satellite not in of_picture:
            with Image.open(pair.satellite) as picture:  # the header alone
                of_picture[pair.satellite] = picture.size
        width, height = of_picture[pair.satellite]
        left, top, right, bottom = pair.box
        rows.append(((right - left) * size[1] / width, (bottom - top) * size[0] / height))
    return np.array(rows)


def _fresh(run: Train, config: Mapping[str, Any]) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return create_network(run.network, config)


def _fitting(weights: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The parent's weights, but fresh ones for a classifier over other places."""
    fresh = network.state_dict()
    kept = {k: v for k, v in weights.items() if ".classifier." not in k}
    for key, value in fresh.items():
        if ".classifier." in key:
            old = weights.get(key)
            kept[key] = old if old is not None and old.shape == value.shape else value
    return kept
