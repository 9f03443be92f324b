"""A small object folder made here: coloured patches with one red block, clicked and boxed."""

import csv
from pathlib import Path

import numpy as np

from app.engine.datasets.click_table import COLUMNS
from tests.engine.pair_folder import ground, save

RED = (255, 0, 0)


def block(rng: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a block somewhere in a picture."""
    w, h = rng.integers(width // 6, width // 3), rng.integers(height // 6, height // 3)
    left, top = rng.integers(1, width - w - 1), rng.integers(1, height - h - 1)
    return int(left), int(top), int(left + w), int(top + h)


def pictured(seed: int, height: int, width: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A picture that is red nowhere but in the block."""
    rng = np.random.default_rng(seed)
    picture = (ground(seed, max(height, width))[:height, :width] // 2).copy()
    picture[..., 0] = 0
    left, top, right, bottom = block(rng, height, width)
    picture[top:bottom, left:right] = RED
    return picture, (left, top, right, bottom)


def write_clicks(
    folder: Path,
    *,
    train: int = 8,
    val: int = 4,
    query: tuple[int, int] = (48, 48),
    satellite: int = 64,
    kind: str = "perspective",
) -> Path:
    rows = []
    for place in range(train + val):
        names = f"query/{place}.png", f"satellite/{place}.png"
        photo, seen = pictured(place, *query)
        above, box = pictured(1000 + place, satellite, satellite)
        save(folder / names[0], photo)
        save(folder / names[1], above)
        click = (seen[0] + seen[2]) / 2, (seen[1] + seen[3]) / 2
        split = "train" if place < train else "val"
        view = "street" if kind == "panorama" else "drone"
        tail = ["block", view, kind, f"{50 + place * 0.001:.6f}", "4.0", "0.5", ""]
        rows.append([*names, split, place, *click, *box, *tail])
    write_table(folder, rows)
    return folder


def write_table(folder: Path, rows: list, header=COLUMNS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "objects.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
