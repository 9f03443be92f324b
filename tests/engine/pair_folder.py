"""A small pair folder made here: coloured patches, seen from above and turned from a drone."""

import csv
from pathlib import Path

import cv2
import numpy as np

HEADER = ["query", "satellite", "split", "place", "lat", "lon", "heading_deg", "view", "kind"]
HEADER += ["world"]


def ground(place: int, size: int = 64) -> np.ndarray:
    """A place as seen from above, north up: a few coloured blocks, different for each place."""
    rng = np.random.default_rng(place)
    coarse = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def photographed(satellite: np.ndarray, heading_deg: float) -> np.ndarray:
    """What a drone that faces ``heading_deg`` sees: the ground turned counter-clockwise by it."""
    side = len(satellite)
    middle = ((side - 1) / 2, (side - 1) / 2)
    turn = cv2.getRotationMatrix2D(middle, heading_deg, 1.0)  # OpenCV: positive is counter-clock
    return cv2.warpAffine(satellite, turn, (side, side), borderMode=cv2.BORDER_REFLECT)


def save(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", rgb[..., ::-1])[1].tobytes())


def write_pairs(folder: Path, *, train: int = 10, val: int = 6) -> Path:
    """Places on a line, 100 m apart, headings 30 degrees apart."""
    rows = []
    for place in range(train + val):
        satellite = ground(place)
        heading = 30.0 * place
        names = f"query/{place}.png", f"satellite/{place}.png"
        save(folder / names[0], photographed(satellite, heading))
        save(folder / names[1], satellite)
        split = "train" if place < train else "val"
        lat = f"{50 + place * 0.0009:.7f}"
        rows.append([*names, split, place, lat, "4.0", heading % 360, "drone", "perspective", ""])
    write_table(folder, rows)
    return folder


def write_table(folder: Path, rows: list, header: list[str] = HEADER) -> None:
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
