"""Tiny data sets in the layouts of the real ones, line ends, gaps and oddities included.

A place looks like ``pair_folder.ground(place)`` from above; a drone sees that, a panorama is its
colours unrolled: enough for a small network to learn. Each writer returns the data set's folder.
"""

from pathlib import Path

import cv2
import numpy as np

from tests.engine.pair_folder import ground

SATELLITE_PX = 64
VIGOR_CITIES = ("NewYork", "Seattle", "SanFrancisco", "Chicago")
VIGOR_CORNERS = {  # latitude and longitude of a city's first tile
    "NewYork": (40.70, -74.00),
    "Seattle": (47.60, -122.30),
    "SanFrancisco": (37.75, -122.40),
    "Chicago": (41.88, -87.63),
}
VIGOR_STEP_DEG = 0.0003  # between tiles, north to south


def save(path: Path, rgb: np.ndarray) -> None:
    """In the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = ".jpg" if path.suffix.lower() in (".jpg", ".jpeg") else path.suffix
    path.write_bytes(cv2.imencode(suffix, rgb[..., ::-1])[1].tobytes())


def from_above(place: int, size: int = SATELLITE_PX) -> np.ndarray:
    return ground(place, size)


def drone(place: int, number: int = 0, size: int = SATELLITE_PX) -> np.ndarray:
    """A little darker and nearer with each number."""
    picture = ground(place, size)
    cut = min(number, 8)
    picture = picture[cut : size - cut, cut : size - cut]
    picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return (picture * (1 - 0.02 * (number % 9))).astype(np.uint8)


def panorama(place: int, size: tuple[int, int] = (32, 128)) -> np.ndarray:
    """North in the centre column: the ring about the middle of the picture from above."""
    height, width = size
    seen = ground(place, SATELLITE_PX).astype(np.float32)
    azimuth = (np.arange(width) + 0.5) / width * 2 * np.pi - np.pi
    radius = np.linspace(0.45, 0.05, height)[:, None] * SATELLITE_PX
    x = (SATELLITE_PX / 2 + radius * np.sin(azimuth)).astype(np.float32)
    y = (SATELLITE_PX / 2 - radius * np.cos(azimuth)).astype(np.float32)
    return cv2.remap(seen, x, y, cv2.INTER_LINEAR).astype(np.uint8)


def write_university(
    folder: Path, *, train: int = 4, test: int = 3, others: int = 2, drones: int = 3
) -> Path:
    """Places 0.. to train on, then ``test``, then ``others`` that are only in the galleries.

    Place 0000 has one drone picture more than all others, and some google folders are empty.
    """

    def write(part: str, places: range, views: tuple[str, ...]) -> None:
        for place in places:
            for view in views:
                seen = view.split("_")[-1]
                home = folder / part / view / f"{place:04d}"
                home.mkdir(parents=True, exist_ok=True)
                if seen == "satellite":
                    save(home / f"{place:04d}.jpg", from_above(place))
                elif seen == "drone":
                    for number in range(1, drones + 1 + (place == 0)):
                        save(home / f"image-{number:02d}.jpeg", drone(place, number))
                elif seen == "street" or place % 2:
                    save(home / f"{place}_1.jpg", drone(place, 5))

    write("train", range(train), ("satellite", "drone", "street", "google"))
    asked = range(train, train + test)
    write("test", asked, ("query_satellite", "query_drone", "query_street"))
    everywhere = range(train, train + test + others)
    write("test", everywhere, ("gallery_satellite", "gallery_drone", "gallery_street"))
    return folder


def write_cvusa(
    folder: Path, *, train: int = 6, val: int = 4, positions: bool = True, polar: bool = False
) -> Path:
    """Pair ids from 1 on, every other one to train on until there are enough."""
    total = train + val
    held_out = set(range(2, 2 * val + 1, 2)) if 2 * val <= total else set(range(1, val + 1))
    lines: dict[str, list[str]] = {"train": [], "val": []}
    for place in range(1, total + 1):
        names = (
            f"bingmap/19/{place:07d}.jpg",
            f"streetview/panos/{place:07d}.jpg",
            f"streetview/annotations/{place:07d}.png",
        )
        save(folder / names[0], from_above(place))
        save(folder / names[1], panorama(place))
        save(folder / names[2], np.zeros((4, 16, 3), np.uint8))
        if polar:
            save(folder / f"polarmap/19/{place:07d}.png", panorama(place))
        lines["val" if place in held_out else "train"].append(",".join(names))
    (folder / "splits").mkdir()
    for split, rows in lines.items():
        text = "".join(f"{row}\n" for row in rows)
        (folder / f"splits/{split}-19zl.csv").write_text(text, encoding="utf-8")
    if positions:
        (folder / "split_locations").mkdir()
        rows = [cvusa_place(place) for place in range(1, total + 1)]
        text = "".join(f"{lat},{lon},{lat + 1e-5:.6f},{lon:.6f},{0}\n" for lat, lon in rows)
        (folder / "split_locations/all.csv").write_text(text, encoding="utf-8")
    return folder


def cvusa_place(place: int) -> tuple[float, float]:
    """Latitude and longitude of a satellite picture."""
    return round(38.0 + 0.01 * place, 6), -90.0


def write_vigor(
    folder: Path,
    *,
    tiles: int = 8,
    panoramas: int = 6,
    labels: str = "original",
    arranged: bool = False,
    cities: tuple[str, ...] = VIGOR_CITIES,
) -> Path:
    """A column of tiles in each city; panorama i stands 20 % south and 10 % west in tile i + 1.

    ``arranged``: pictures in ground/<City> and satellite/<City>. Corrected labels have CRLF line
    ends and no final newline, as most of the real ones have.
    """
    end = "\r\n" if labels == "corrected" else "\n"
    suffix = "__corrected" if labels == "corrected" else ""
    splits = folder / ("splits__corrected" if labels == "corrected" else "splits")
    for city in cities:
        first = VIGOR_CITIES.index(city) * 100
        above = [vigor_tile(city, row) for row in range(tiles)]
        tile_home = folder / ("satellite/" + city if arranged else city + "/satellite")
        pano_home = folder / ("ground/" + city if arranged else city + "/panorama")
        for row, name in enumerate(above):
            save(tile_home / name, from_above(first + row))
        lines = []
        for number in range(panoramas):
            positive = 1 + number % (tiles - 4)
            name = vigor_panorama(city, number, positive)
            save(pano_home / name, panorama(first + positive))
            south = 128.0 if labels == "original" else 120.5
            near = [positive, positive - 1, positive + 1, positive + 2]
            fields = [f"{above[row]} {south - 100 * n} {64.0}" for n, row in enumerate(near)]
            lines.append(" ".join([name, *fields]))
        home = splits / city
        home.mkdir(parents=True)
        (home / "satellite_list.txt").write_text("".join(f"{n}\n" for n in above))
        half = (len(lines) + 1) // 2
        for stem, rows in (
            ("pano_label_balanced", lines),
            ("same_area_balanced_train", lines[:half]),
            ("same_area_balanced_test", lines[half:]),
        ):
            text = end.join(rows) + ("" if suffix else end)
            (home / f"{stem}{suffix}.txt").write_bytes(text.encode())
    return folder


def vigor_tile(city: str, row: int) -> str:
    lat, lon = VIGOR_CORNERS[city]
    return f"satellite_{lat - row * VIGOR_STEP_DEG:.6f}_{lon:.6f}.png"


def vigor_panorama(city: str, number: int, row: int) -> str:
    lat, lon = VIGOR_CORNERS[city]
    south = row * VIGOR_STEP_DEG + 0.2 * VIGOR_STEP_DEG
    return f"pano{number}-{city},{lat - south:.6f},{lon - 0.00003:.6f},.jpg"
