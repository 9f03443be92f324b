"""From a click to its box on the ground, against the bare forward pass of the network.

    python -m benchmarks.click_latency [--network attengeo] [--preset tiny-drone] [--rounds 15]

Goal: a first click takes at most 1.3 times the bare pass (query, satellite picture, fusion and
head), and the next click on the same pair at most 1.3 times what is left of it: the satellite
picture is encoded already. All are timed in turn in one process; the median of the rounds
counts. In each round the photo has been located, as it has in the window, so that it is decoded;
where it was taken is new: reading the imagery counts. A line more tells what a click costs on a
file never read. Weights do not change the time, so that fresh ones serve without a checkpoint.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from torch import Tensor

from app.card import Card
from app.engine.checkpoints import Checkpoint, ObjectCheckpoint, load_checkpoint, save_checkpoint
from app.engine.gallery_build import build_gallery
from app.engine.locate import query_read
from app.engine.objects import find_objects
from app.engine.shelf import Shelf
from app.messages import BuildGallery, FindObjects
from app.models.build import create, create_object, preset_config

GOAL = 1.3
PHOTO = (1200, 1600)  # height, width
WARM_UP = 2  # rounds that do not count
WIDER = 5  # references of the question "anywhere in the top K"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoint", type=Path, help="in place of fresh weights")
    parser.add_argument("--network", default="attengeo")
    parser.add_argument("--preset", default="tiny-drone")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="skyfix-clicks-") as work:
        folder = Path(work)
        path = args.checkpoint or _fresh(folder, args.network, args.preset)
        shelf = Shelf(args.device, folder / "cache")
        checkpoint = shelf.object_checkpoint(path)
        gallery = _gallery(folder, args.rounds)
        print(
            f"{checkpoint.card.title}, {checkpoint.device.name}, {torch.get_num_threads()} threads"
        )
        times = _timed(folder, shelf, checkpoint, path, gallery, args.rounds)
    _print(times)


def _timed(
    folder: Path,
    shelf: Shelf,
    checkpoint: ObjectCheckpoint,
    path: Path,
    gallery: Path,
    rounds: int,
) -> dict[str, list[float]]:
    """Seconds of each round by what was timed."""
    content = _photo()
    ids = shelf.gallery(gallery).ids
    times: dict[str, list[float]] = {}
    with torch.inference_mode():
        size = checkpoint.network.input_size("satellite")
        blank = torch.zeros(1, 3, *size, device=checkpoint.device.name)
        kept = checkpoint.network.encode_satellite(blank)
    for turn in range(rounds + WARM_UP):
        photo = folder / f"{turn}.jpg"
        photo.write_bytes(content)
        tile = ids[turn % len(ids)]

        def ask(x: float, tiles: tuple[str, ...], photo: Path = photo) -> Callable[[], object]:
            request = FindObjects(photo, ((x, 500.0),), gallery, path, tiles)
            return lambda: find_objects(request, shelf)

        shelf.query(photo)
        query_read(shelf.query(photo), shelf)
        unread = folder / f"unread-{turn}.jpg"
        unread.write_bytes(content)
        wider = tuple(ids[(turn * WIDER + i + 97) % len(ids)] for i in range(WIDER))
        for name, work in (
            ("bare", lambda: _forward(checkpoint)),
            ("bare, satellite kept", lambda: _forward(checkpoint, kept=kept)),
            ("first click", ask(400.0, (tile,))),
            ("next click", ask(700.0, (tile,))),
            ("same click", ask(700.0, (tile,))),
            ("unread file", ask(400.0, (tile,), photo=unread)),
            ("bare, five", lambda: _forward(checkpoint, references=WIDER)),
            ("five tiles", ask(400.0, wider)),
        ):
            spent = _seconds(work)
            if turn >= WARM_UP:
                times.setdefault(name, []).append(spent)
    return times


def _print(times: dict[str, list[float]]) -> None:
    middle = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    print(f"{'':<34}{'click to box':>14}{'forward pass':>14}{'ratio':>8}   goal {GOAL}")
    for told, ours, bare in (
        ("first click on a new pair", "first click", "bare"),
        ("next click on the same pair", "next click", "bare, satellite kept"),
        (f"a click anywhere in {WIDER} new tiles", "five tiles", "bare, five"),
    ):
        ratio = middle[ours] / middle[bare]
        print(f"{told:<34}{middle[ours]:>11.1f} ms{middle[bare]:>11.1f} ms{ratio:>8.2f}")
    for told, name in (
        ("the same click again", "same click"),
        ("a file never read, a known tile", "unread file"),
    ):
        print(f"{told:<34}{middle[name]:>11.1f} ms")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@torch.inference_mode()
def _forward(
    checkpoint: ObjectCheckpoint, *, kept: Tensor | None = None, references: int = 1
) -> Tensor:
    """The network alone, its input ready in memory; ``kept``: features of a satellite picture."""
    network, device = checkpoint.network, checkpoint.device.name
    view = checkpoint.card.query_view
    query = network.encode_query(
        torch.zeros(1, 3, *network.input_size(view), device=device),
        torch.full((1, 2), 20.0, device=device),
    )
    if kept is None:
        blank = torch.zeros(1, 3, *network.input_size("satellite"), device=device)
        satellite = torch.cat([network.encode_satellite(blank) for _ in range(references)])
    else:
        satellite = kept
    found = network.find(query.expand(len(satellite), *query.shape[1:]), satellite)
    return found.scores.cpu()


def _fresh(folder: Path, network_name: str, preset: str) -> Path:
    torch.manual_seed(0)
    config = preset_config(network_name, preset)
    network = create_object(network_name, config)
    view = network.config.query_view
    sizes: dict[str, tuple[int, int]] = {
        view: network.input_size(view),
        "satellite": network.input_size("satellite"),
    }
    title = f"{network_name} {preset}, fresh weights"
    card = Card(network_name, config, title, "object", view, sizes, descriptor=0, tile_size_m=100.0)
    path = folder / "fresh.safetensors"
    save_checkpoint(path, network, card)
    return path


def _gallery(folder: Path, rounds: int) -> Path:
    """A raster of noise with a tile for each round and more, described by the smallest network."""
    raster, side = folder / "noise.tif", 300 + 10 * rounds
    pixels = np.random.default_rng(0).integers(0, 255, (3, side * 2, side * 2), dtype=np.uint8)
    with rasterio.open(
        raster, "w", driver="GTiff", width=side * 2, height=side * 2, count=3, dtype="uint8",
        crs="EPSG:32631", transform=from_origin(500_000, 5_500_000, 0.5, 0.5), tiled=True,
    ) as file:  # fmt: skip
        file.write(pixels)
    locator = _locator(folder)
    request = BuildGallery(raster, locator.path, folder / "gallery", overlap=0.7)
    build_gallery(request, locator)
    return folder / "gallery"


def _locator(folder: Path) -> Checkpoint:
    config = preset_config("sample4geo", "smallest")
    network = create("sample4geo", config)
    sizes = {side: network.input_size(side) for side in ("drone", "satellite")}
    card = Card(
        "sample4geo", config, "smallest", "retrieval", "drone", sizes, network.descriptor, 80.0
    )
    path = folder / "locator.safetensors"
    save_checkpoint(path, network, card)
    return load_checkpoint(path, device="cpu")


def _photo() -> bytes:
    """A JPEG of about a photo's detail."""
    coarse = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, PHOTO[::-1], interpolation=cv2.INTER_CUBIC)
    content: bytes = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    return content


if __name__ == "__main__":
    main()
