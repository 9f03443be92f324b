"""What a run tells of itself: its recipe, its checkpoints' cards, and the lines of its log."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from app import __version__
from app.card import Card, read_card
from app.engine.checkpoints import Device
from app.engine.learner import half_of
from app.engine.runs import PLACES, log
from app.engine.training_tasks import Figures, TrainingTask
from app.errors import UserError
from app.models.base import Network, RetrievalNetwork
from app.models.build import spec_of
from app.train_request import EpochDone, Train


def recipe_of(run: Train, *, data: str, parent: str) -> Mapping[str, Any]:
    """What decides the result: on the card, and compared before a run goes on."""
    chosen = {key: value for key, value in asdict(run).items() if key not in PLACES}
    return {**chosen, "data_sha256": data, "parent": parent}


def card_of(
    run: Train,
    network: Network,
    task: TrainingTask,
    figures: Figures,
    *,
    recipe: Mapping[str, Any],
    epoch: int,
    device: Device,
) -> Card:
    """The card of a checkpoint after ``epoch``."""
    view = network.config.query_view
    return Card(
        network=run.network,
        config=asdict(network.config),
        title=run.title or _title(run, task),
        task=task.name,
        query_view=view,
        sizes={view: network.input_size(view), "satellite": network.input_size("satellite")},
        descriptor=network.descriptor if isinstance(network, RetrievalNetwork) else 0,
        tile_size_m=task.tile_size_m,
        turns=run.turns,
        training={
            **{k: v for k, v in recipe.items() if k != "parent"},
            "data": task.data_name,
            "epoch": epoch,
            "device": device.reason if device.name != "cpu" else "CPU",
            "torch": str(torch.__version__),
        },
        metrics=task.metrics({k: v for k, v in figures.items() if k != "loss"}),
        parent=str(recipe["parent"]),
        code_version=__version__,
        licence=run.licence,
    )


def _title(run: Train, task: TrainingTask) -> str:
    """What a checkpoint is called whose run names none; what tells it apart comes first."""
    seen = run.imagery.stem if run.imagery else task.data_name
    network = spec_of(run.network).title
    if run.init is None:
        return f"{network} {run.preset} on {seen}"
    try:
        parent = read_card(run.init).title.partition(", from ")[0]
    except UserError:  # moved since the run began
        parent = ""
    return f"{network} on {seen}, from {parent or run.init.stem}"


def log_start(run: Train, task: TrainingTask, network: Network, device: Device) -> None:
    counts = f"{task.train_count} pairs, {task.held_count} held out"
    log(run.run_dir, f"{run.network} {run.preset or 'as its parent'}, {counts}")
    log(run.run_dir, f"device {device.name}: {device.reason}")
    if run.amp:
        half = half_of(device)
        told = "half precision is left out: this processor has none that pays"
        log(run.run_dir, told if half is None else f"half precision: {half}".replace("torch.", ""))
    if run.trunk_lr_factor != 1 and not any(True for _ in network.trunk_parameters()):
        log(run.run_dir, f"{run.network} names no trunk: all of it learns at one rate")
    for line in task.missing[:5]:
        log(run.run_dir, f"missing: {line}")
    if len(task.missing) > 5:
        log(run.run_dir, f"missing: {len(task.missing) - 5} more")


def told_epoch(done: EpochDone) -> str:
    figures = "".join(f", {name} {value:.4f}" for name, value in done.metrics.items())
    return (
        f"epoch {done.epoch + 1}: loss {done.loss:.4f}{figures}, lr {done.lr:.2e}, "
        f"{done.images_per_s:.0f} pictures/s, {done.seconds:.1f} s, {done.memory_mb:.0f} MB"
    )
