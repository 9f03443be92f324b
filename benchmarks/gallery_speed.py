"""Tiles a second from a GeoTIFF into a gallery, against the bare forward pass of the network.

    python -m benchmarks.gallery_speed [--tiles 1500] [--rounds 3]

Goal: describing from the file at least 0.9 of the bare pass, which is given random pictures in
memory, in batches of the size that is fastest. Both are timed in turn in one process; the median
of the rounds counts. Reading, resampling, cutting, thumbnails and the journal are included. The
basemap, drawn afterwards for the map alone, is timed apart. Weights do not change the time.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from app.card import Card
from app.engine.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from app.engine.gallery_build import build_gallery
from app.messages import BuildGallery, Progress, Running
from app.models.build import create, preset_config
from benchmarks.made_raster import write_raster

GOAL = 0.9
TILE_M = 80.0
GSD_M = 0.2
BATCHES = (4, 8, 32)  # the fastest counts


class Clock:
    """When each phase of a build was first told of."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def __call__(self, told: Running) -> None:
        if isinstance(told, Progress):
            now = time.perf_counter()
            self.first.setdefault(told.note, now)
            self.last[told.note] = now

    def seconds(self, note: str) -> float:
        return self.last[note] - self.first[note]


def fresh_checkpoint(folder: Path, device: str) -> Checkpoint:
    """tf_efficientnet_lite0 at 192 px, untrained."""
    config = preset_config("sample4geo", "tiny-drone")
    network = create("sample4geo", config)
    card = Card(
        network="sample4geo",
        config=config,
        title="Fresh",
        task="retrieval",
        query_view="drone",
        sizes={"drone": (192, 192), "satellite": (192, 192)},
        descriptor=network.descriptor,
        tile_size_m=TILE_M,
    )
    save_checkpoint(folder / "fresh.safetensors", network, card)
    return load_checkpoint(folder / "fresh.safetensors", device=device)


def bare_rate(checkpoint: Checkpoint, tiles: int, batch: int) -> float:
    """Tiles a second of the forward pass on pictures in memory."""
    dice = np.random.default_rng(0)
    size = checkpoint.card.sizes["satellite"]
    pictures = dice.integers(0, 256, (batch, *size, 3), np.uint8)
    checkpoint.describe(pictures, "satellite", batch=batch)
    rounds = max(1, tiles // batch)
    started = time.perf_counter()
    for _ in range(rounds):
        checkpoint.describe(pictures, "satellite", batch=batch)
    return rounds * batch / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tiles", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    side = round((np.sqrt(args.tiles) + 1) * TILE_M / 2 / GSD_M)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = fresh_checkpoint(Path(folder), args.device)
        source = write_raster(Path(folder) / "ground.tif", side, gsd_m=GSD_M)
        ratios, maps = [], []
        for number in range(args.rounds):
            rates = {n: bare_rate(checkpoint, args.tiles // 4, n) for n in BATCHES}
            clock = Clock()
            request = BuildGallery(source, checkpoint.path, Path(folder) / f"g{number}")
            built = build_gallery(request, checkpoint, clock)
            rate = built.described / clock.seconds("describing tiles")
            bare = max(rates.values())
            ratios.append(rate / bare)
            maps.append(clock.seconds("drawing the map"))
            told = ", ".join(f"{value:.1f} (batch {n})" for n, value in rates.items())
            print(
                f"round {number + 1}: {built.described} tiles, gallery {rate:6.1f} tiles/s, "
                f"bare {told}, ratio {ratios[-1]:.3f}"
            )
    print(
        f"{side} x {side} px at {GSD_M} m, {torch.get_num_threads()} threads, "
        f"{checkpoint.device.name}; basemap apart: {statistics.median(maps):.1f} s"
    )
    ratio = statistics.median(ratios)
    print(f"gallery / bare forward pass: {ratio:.3f} (goal: at least {GOAL})")


if __name__ == "__main__":
    main()
