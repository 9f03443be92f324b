"""Learning: one run from its request to its best checkpoint.

The run's folder (``runs``) is the truth. A run that is stopped, or killed at any moment, and
started again ends with the weights of an unbroken one: all chance comes from seed and epoch.
"""

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from app import __version__
from app.card import Card, Metric
from app.engine.checkpoints import (
    Device,
    choose_device,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    to_device,
    to_images,
)
from app.engine.datasets.pairs import (
    Augment,
    Pair,
    PairDataset,
    PairPictures,
    pair_loader,
    read_pairs,
)
from app.engine.held_out import PairScores, held_out_loader, score_held_out
from app.engine.runs import (
    BEST,
    LAST,
    RunState,
    load_state,
    log,
    save_state,
    write_config,
    write_metrics,
)
from app.engine.sampling import PlaceBatches
from app.errors import UserError
from app.messages import EpochDone, Progress, Report, Train, Trained, ignore
from app.models.base import PairBatch, RetrievalNetwork
from app.models.build import create, preset_config

FINITE_EVERY = 50  # steps between two looks at the loss, each of which waits for the GPU
# Fields of Train that say where a run is, not what it is.
PLACES = frozenset(["run_dir", "data", "init", "device", "workers"])


@dataclass(slots=True)
class _Learner:
    """What changes while a run goes on."""

    network: RetrievalNetwork
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    device: Device
    half: torch.dtype | None  # of autocast; None: full precision

    def autocast(self) -> AbstractContextManager[Any]:
        kind = self.device.name.partition(":")[0]
        return torch.autocast(kind, dtype=self.half, enabled=self.half is not None)


@dataclass(frozen=True, slots=True)
class _Material:
    """What it learns from and is measured on."""

    batches: PlaceBatches
    loader: "DataLoader[Any]"
    held_out: tuple[Pair, ...]
    held_loader: "DataLoader[Any]"
    recipe: Mapping[str, Any]
    state: RunState | None  # where to go on


def train(run: Train, report: Report = ignore) -> Trained:
    """Train, or go on where the run in this folder stopped."""
    device = choose_device(run.device)
    network, parent = _network(run)
    view = network.config.query_view
    pairs = read_pairs(run.data, "train", view=view)
    held_out = read_pairs(run.data, "val", view=view)
    recipe = _recipe(run, data=hash_of(run.data, pairs + held_out), parent=parent)
    state = load_state(run.run_dir)
    if state is not None:
        _refuse_other_recipe(run.run_dir, state.recipe, recipe)
    write_config(run)
    log(run.run_dir, f"{run.network} {run.preset}, {len(pairs)} pairs, {len(held_out)} held out")
    log(run.run_dir, f"device {device.name}: {device.reason}")
    try:
        with (
            _own_chance(device),
            pair_loader(
                _dataset(run, network, pairs),
                batches := _batches(run, pairs),
                workers=run.workers,
                pinned=device.name != "cpu",
            ) as loader,
            held_out_loader(held_out, network, workers=run.workers) as held_loader,
        ):
            learner = _learner(run, network, device)
            material = _Material(batches, loader, held_out, held_loader, recipe, state)
            return _epochs(run, learner, material, report)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"The memory of {device.name} does not suffice for batches of {run.batch_size}",
            "Choose a smaller batch, half precision, or close other programs that use the GPU.",
        ) from error


def _epochs(run: Train, learner: _Learner, material: _Material, report: Report) -> Trained:
    history: list[Mapping[str, Any]] = []
    first, best = 0, (-1.0, -1.0)
    if (state := material.state) is not None:
        learner.network.load_state_dict(state.network)
        learner.optimizer.load_state_dict(dict(state.optimizer))
        learner.scaler.load_state_dict(dict(state.scaler))
        first, best, history = state.epoch + 1, state.best, list(state.history)
        write_metrics(run.run_dir, history)
        log(run.run_dir, f"goes on after epoch {state.epoch}")
    for epoch in range(first, run.epochs):
        torch.manual_seed(_seed_of(run.seed, epoch))  # so that no state of chance need be kept
        material.batches.epoch = epoch
        done = _one_epoch(run, learner, material.loader, epoch, report)
        if (epoch + 1) % run.validate_every == 0 or epoch + 1 == run.epochs:
            with learner.autocast():
                scores = score_held_out(
                    learner.network, learner.device, material.held_out, material.held_loader, report
                )
            done = replace(done, recall_at_1=scores.recall(1), median_m=scores.median_m)
            if (reached := (scores.recall(1), scores.ap)) > best:
                best = reached
                card = _card(run, learner, material.recipe, epoch, scores)
                save_checkpoint(run.run_dir / BEST, learner.network, card)
        history.append(asdict(done))
        save_state(
            run.run_dir,
            RunState(
                material.recipe,
                learner.network.state_dict(),
                learner.optimizer.state_dict(),
                learner.scaler.state_dict(),
                epoch,
                best,
                tuple(history),
            ),
        )
        write_metrics(run.run_dir, history)
        log(run.run_dir, _told(done))
        report(done)  # raises JobCancelled: the epoch just told is already safe on disk
    return Trained(run.run_dir, run.run_dir / BEST, best[0])


def _one_epoch(
    run: Train,
    learner: _Learner,
    loader: "DataLoader[Any]",
    epoch: int,
    report: Report,
) -> EpochDone:
    started = time.perf_counter()
    learner.network.train()
    total = torch.zeros((), device=learner.device.name)
    steps = pictures = 0
    lr = run.lr
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        lr = learning_rate(run, epoch + steps / len(loader))
        total += _step(run, learner, batch, lr)
        steps += 1
        pictures += 2 * len(batch.place)
        if steps % FINITE_EVERY == 0:
            _refuse_not_finite(run, total, epoch)
        report(Progress(epoch * len(loader) + steps, run.epochs * len(loader), f"epoch {epoch}"))
    if steps == 0:
        raise UserError(
            f"{run.data} has too few places that lie apart for a batch of {run.batch_size}",
            "Choose a smaller batch or a bigger data set.",
        )
    _refuse_not_finite(run, total, epoch)
    seconds = time.perf_counter() - started
    return EpochDone(
        epoch=epoch,
        loss=total.item() / steps,
        lr=lr,
        recall_at_1=None,
        median_m=None,
        images_per_s=pictures / seconds,
        seconds=seconds,
    )


def _step(run: Train, learner: _Learner, pictures: PairPictures, lr: float) -> torch.Tensor:
    """One update; the loss stays on the device, so that the GPU need not wait."""
    network, device = learner.network, learner.device.name
    for group in learner.optimizer.param_groups:
        group["lr"] = lr
    view = network.config.query_view
    batch = PairBatch(
        network.preprocess(to_images(pictures.query, device), view),
        network.preprocess(to_images(pictures.satellite, device), "satellite"),
        pictures.place.to(device, non_blocking=True),
    )
    with learner.autocast():
        loss = network.loss(batch)
    learner.optimizer.zero_grad(set_to_none=True)
    learner.scaler.scale(loss).backward()
    learner.scaler.unscale_(learner.optimizer)
    torch.nn.utils.clip_grad_value_(network.parameters(), run.clip_grad)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    return loss.detach()


def learning_rate(run: Train, epoch: float) -> float:
    """Linear warm-up, then half a cosine to zero. ``epoch`` has a fraction: it moves per step."""
    if epoch < run.warmup_epochs:
        # One step in, not zero: the first step would otherwise teach nothing.
        return run.lr * max(epoch / run.warmup_epochs, 0.01)
    rest = max(run.epochs - run.warmup_epochs, 1e-9)
    return run.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (epoch - run.warmup_epochs) / rest)))


def _refuse_not_finite(run: Train, total: torch.Tensor, epoch: int) -> None:
    if torch.isfinite(total):
        return
    kept = run.run_dir / BEST
    told = f"The loss became {total.item()} in epoch {epoch}; the run has stopped"
    log(run.run_dir, told)
    raise UserError(
        told,
        (f"The best checkpoint so far is kept: {kept}. " if kept.is_file() else "")
        + "Start again in another folder with a smaller learning rate"
        + (" or without half precision." if run.amp else "."),
    )


def _network(run: Train) -> tuple[RetrievalNetwork, str]:
    """The network before its first step, on the CPU, and its parent's SHA-256 ("" for none)."""
    config = {**preset_config(run.network, run.preset), "label_smoothing": run.label_smoothing}
    if run.init is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            return create(run.network, config), ""
    parent = load_checkpoint(run.init, device="cpu")
    if parent.card.network != run.network:
        raise UserError(
            f"{run.init.name} holds {parent.card.network}, not {run.network}",
            "Choose a checkpoint of this network to start from.",
        )
    # Weights are only right with the normalisation that they were trained with.
    config |= {key: parent.card.config[key] for key in ("mean", "std") if key in parent.card.config}
    network = create(run.network, config)
    load_weights(network, dict(parent.network.state_dict()), name=run.init.name)
    return network, parent.sha256


def _learner(run: Train, network: RetrievalNetwork, device: Device) -> _Learner:
    to_device(network, device)
    cuda = device.name != "cpu"
    half: torch.dtype | None = None
    if run.amp and cuda:
        half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    elif run.amp:
        log(run.run_dir, "half precision is left out: it does not pay on a CPU")
    kernels = [p for p in network.parameters() if p.ndim >= 2]
    others = [p for p in network.parameters() if p.ndim < 2]  # norms, biases, scales: no decay
    optimizer = torch.optim.AdamW(
        [
            {"params": kernels, "weight_decay": run.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=run.lr,
        fused=cuda,
    )
    scaler = torch.amp.GradScaler("cuda", enabled=half is torch.float16)
    return _Learner(network, optimizer, scaler, device, half)


def _batches(run: Train, pairs: tuple[Pair, ...]) -> PlaceBatches:
    return PlaceBatches(
        pairs,
        batch_size=run.batch_size,
        seed=run.seed,
        neighbour_share=run.neighbour_share,
        min_distance_m=run.tile_size_m / 2,
    )


def _dataset(run: Train, network: RetrievalNetwork, pairs: tuple[Pair, ...]) -> PairDataset:
    return PairDataset(
        pairs,
        query_size=network.input_size(network.config.query_view),
        satellite_size=network.input_size("satellite"),
        augment=Augment(
            heading_jitter_deg=run.heading_jitter_deg, zoom=run.zoom_jitter, looks=run.looks
        ),
        seed=run.seed,
    )


@contextmanager
def _own_chance(device: Device) -> Iterator[None]:
    """torch's global generators and cuDNN's search are as before when the run ends."""
    cuda = device.name != "cpu"
    before = torch.backends.cudnn.benchmark
    with torch.random.fork_rng(devices=[device.name] if cuda else []):
        try:
            torch.backends.cudnn.benchmark = cuda  # all batches but the held-out rest are alike
            yield
        finally:
            torch.backends.cudnn.benchmark = before


def _seed_of(seed: int, epoch: int) -> int:
    digest = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def hash_of(folder: Path, pairs: tuple[Pair, ...]) -> str:
    """SHA-256 of ``pairs.csv`` and of every picture's name and size in bytes.

    Not of their pixels: published sets have a hundred gigabytes of them.
    """
    digest = hashlib.sha256((folder / "pairs.csv").read_bytes())
    for picture in sorted({p.query for p in pairs} | {p.satellite for p in pairs}):
        name = picture.relative_to(folder).as_posix()
        digest.update(f"\n{name} {picture.stat().st_size}".encode())
    return digest.hexdigest()


def _recipe(run: Train, *, data: str, parent: str) -> Mapping[str, Any]:
    chosen = {key: value for key, value in asdict(run).items() if key not in PLACES}
    return {**chosen, "data_sha256": data, "parent": parent}


def _refuse_other_recipe(run_dir: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    if changed:
        told = ", ".join(f"{k} {before.get(k)} -> {now.get(k)}" for k in changed[:4])
        raise UserError(
            f"{run_dir} holds a run with other settings ({told})",
            f"Choose another folder, the same settings, or delete its {LAST}.",
        )


def _card(
    run: Train, learner: _Learner, recipe: Mapping[str, Any], epoch: int, scores: PairScores
) -> Card:
    network = learner.network
    view = network.config.query_view
    on = f"{run.data.name}, {len(scores.first)} held-out pairs, heading known"
    metrics = [Metric("R@1", scores.recall(1), on), Metric("R@5", scores.recall(5), on)]
    metrics += [Metric("R@10", scores.recall(10), on), Metric("AP", scores.ap, on)]
    if scores.median_m is not None:
        metrics.append(Metric("median_m", scores.median_m, on))
    return Card(
        network=run.network,
        config=asdict(network.config),
        title=run.title or f"{run.network} {run.preset} on {run.data.name}",
        task="retrieval",
        query_view=view,
        sizes={view: network.input_size(view), "satellite": network.input_size("satellite")},
        descriptor=network.descriptor,
        tile_size_m=run.tile_size_m,
        turns=run.turns,
        training={
            **{k: v for k, v in recipe.items() if k not in ("parent", "title", "licence")},
            "data": run.data.name,
            "epoch": epoch,
            "device": learner.device.reason if learner.device.name != "cpu" else "CPU",
            "torch": str(torch.__version__),
        },
        metrics=tuple(metrics),
        parent=str(recipe["parent"]),
        code_version=__version__,
        licence=run.licence,
    )


def _told(done: EpochDone) -> str:
    recall = "" if done.recall_at_1 is None else f", R@1 {done.recall_at_1:.4f}"
    median = "" if done.median_m is None else f", median {done.median_m:.1f} m"
    return (
        f"epoch {done.epoch}: loss {done.loss:.4f}{recall}{median}, lr {done.lr:.2e}, "
        f"{done.images_per_s:.0f} pictures/s, {done.seconds:.1f} s"
    )
