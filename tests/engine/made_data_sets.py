"""Tiny data sets in the layouts of the real ones, line ends, gaps and oddities included.

A place looks like ``pair_folder.ground(place)`` from above; a drone sees that, a panorama is its
colours unrolled: enough for a small network to learn. Each writer returns the data set's folder.
"""

from pathlib import Path

import cv2
import numpy as np
import torch

from tests.engine.made_mat import write_mat
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
    suffix = {".jpeg": ".jpg"}.get(path.suffix.lower(), path.suffix.lower())
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


# --- SUES-200, DenseUAV ---

SUES_HEIGHTS = (150, 200, 250, 300)


def write_sues_raw(folder: Path, *, places: range = range(1, 15), frames: int = 2) -> Path:
    """As published: of places 1 to 14, 8, 12 and 14 are the test's."""
    for place in places:
        save(folder / f"satellite-view/{place:04d}/0.png", from_above(place))
        for number, height in enumerate(SUES_HEIGHTS):
            for frame in range(frames):
                home = folder / f"drone_view_512/{place:04d}/{height}"
                save(home / f"{frame}.jpg", drone(place, 8 - 2 * number + frame))
    return folder


def write_sues_copied(
    folder: Path,
    *,
    names: tuple[str, str] = ("Training", "Testing"),
    heights: tuple[int, ...] = SUES_HEIGHTS,
    frames: int = 2,
) -> Path:
    """As its script copies it: places 1 to 4 to train on, 5 and 6 to ask for."""

    def write(home: Path, places: range, view: str, height: int) -> None:
        for place in places:
            if view == "satellite":
                save(home / f"{place:04d}/0.png", from_above(place))
            else:
                for frame in range(frames):
                    save(home / f"{place:04d}/{frame}.jpg", drone(place, height // 50 + frame))

    for height in heights:
        for view in ("drone", "satellite"):
            write(folder / names[0] / str(height) / view, range(1, 5), view, height)
            test = folder / names[1] / str(height)
            write(test / f"query_{view}", range(5, 7), view, height)
            write(test / f"gallery_{view}", range(1, 7), view, height)
    return folder


def write_denseuav(folder: Path, *, train: int = 3, test: int = 2) -> Path:
    """Heights 80, 90 and 100; two satellite pictures each; galleries hold the training places."""
    lines = []

    def write(part: str, place: int, view: str) -> None:
        home = folder / part / f"{place:06d}"
        for number, height in enumerate((80, 90, 100)):
            if view == "drone":
                save(home / f"H{height}.JPG", drone(place, number))
            else:
                save(home / f"H{height}.tif", from_above(place))
                save(home / f"H{height}_old.tif", (from_above(place) * 0.8).astype(np.uint8))

    for place in range(train + test):
        for view in ("drone", "satellite"):
            if place < train:
                write(f"train/{view}", place, view)
            else:
                write(f"test/query_{view}", place, view)
            write(f"test/gallery_{view}", place, view)
        lat, lon = denseuav_place(place)
        for height in (80, 90, 100):
            lines.append(f"train/drone/{place:06d}/H{height}.JPG E{lon} N{lat} {height}.25")
    (folder / "Dense_GPS_ALL.txt").write_text("\n".join(lines) + "\n")
    return folder


def denseuav_place(place: int) -> tuple[float, float]:
    """Latitude and longitude."""
    return round(30.32 + place * 2e-4, 6), 120.38


# --- CVACT ---

CVACT_MISSING = "1LqOHPdTiBbRucz-jFOSbQ"


def write_cvact(
    folder: Path,
    *,
    train: int = 5,
    val: int = 3,
    test: int = 4,
    cells: bool = False,
    suffix: str = ".jpg",
) -> Path:
    """The last of the training rows has no picture; test panoramas are 4 m from each other."""
    total = train + val + test
    ids = [cvact_id(row) for row in range(total)]
    ids[train - 1] = CVACT_MISSING
    for row, name in enumerate(ids):
        part = "ANU_data_small" if row < train + val else "ANU_data_test"
        if name != CVACT_MISSING:
            home = folder / part
            save(home / f"streetview/{name}_grdView{suffix}", panorama(row, (64, 128)))
            save(home / f"satview_polish/{name}_satView_polish{suffix}", from_above(row))
    utm = np.array([(693_000.0 + 4 * row, 6_090_000.0) for row in range(total)])

    def rows(first: int, count: int) -> np.ndarray:  # a column, counted from 1
        return np.arange(first + 1, first + count + 1, dtype=np.uint32)[:, None]

    write_mat(
        folder / "ACT_data.mat",
        panoIds=ids if cells else np.array(ids),
        utm=utm,
        trainSet={"trainInd": rows(0, train)},
        valSet={"valInd": rows(train, val)},
        valSetAll={"valInd": rows(train + val, test)},
    )
    return folder


def cvact_id(row: int) -> str:
    return f"pano{row:02d}_-ABCDEFGHIJKLMN"[:22].ljust(22, "x")


# --- CVOGL and G2D ---


def write_cvogl(
    folder: Path,
    *,
    name: str = "CVOGL_DroneAerial",
    counts: tuple[int, int, int] = (6, 3, 3),
    legacy: bool = False,
    satellite_px: int = 128,
    query: tuple[int, int] = (32, 32),
) -> Path:
    """Two objects on each satellite picture; lists hold tuples, NumPy's numbers and arrays.

    The box is a red square on the satellite picture; its place in the query is red too.
    """
    number = 0
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        records = []
        for _ in range(count):
            records.append(_cvogl_record(folder, number, satellite_px, query))
            number += 1
        torch.save(
            records,
            folder / f"{name}_{split}.pth",
            _use_new_zipfile_serialization=not legacy,
        )
    return folder


def _cvogl_record(folder: Path, number: int, side: int, query: tuple[int, int]) -> list:
    place = number // 2
    left, top = 20 + 40 * (number % 2), 30
    box = (left, top, left + 24, top + 16)
    satellite = from_above(place, side)
    for other in (20, 60):
        satellite[30:46, other : other + 24] = (220, 30, 30)
    seen = cv2.resize(satellite, query[::-1], interpolation=cv2.INTER_AREA)
    click = ((left + 12) * query[1] / side, (top + 8) * query[0] / side)
    save(folder / "satellite" / f"sat{place}.jpg", satellite)
    save(folder / "query" / f"q{number}.jpg", seen)
    polygon = [[left, top], [left + 24, top], [left + 24, top + 16]]
    odd = number % 3  # the real lists mix these kinds
    return [
        f"{number:05d}",
        f"q{number}.jpg",
        f"sat{place}.jpg",
        (query[1] // 2, query[0] // 2),
        [click, list(click), np.array(click)][odd],
        [box, np.array(box, np.int32), [np.float64(v) for v in box]][odd],
        np.array(polygon) if odd else polygon,
        "building",
    ]


# --- a user's own ---


def write_folders(
    folder: Path, *, view: str = "drone", counts: dict[str, int] | None = None
) -> Path:
    """``<split>/<view>/<name>`` and ``<split>/satellite/<name>``."""
    place = 0
    for split, count in (counts or {"train": 4, "val": 3}).items():
        for _ in range(count):
            seen = drone(place, 2) if view == "drone" else panorama(place, (32, 64))
            save(folder / split / view / f"{place:04d}.jpg", seen)
            save(folder / split / "satellite" / f"{place:04d}.jpg", from_above(place))
            place += 1
    return folder


def write_own_table(
    folder: Path, *, count: int = 10, step_m: float = 150.0, positions: bool = True
) -> Path:
    """``mine.csv`` without splits, its places on a line from south to north."""
    rows = ["query,satellite" + (",lat,lon,heading_deg" if positions else "")]
    for place in range(count):
        save(folder / f"photos/{place}.jpg", drone(place, 1))
        save(folder / f"above/{place}.png", from_above(place))
        where = f",{50 + place * step_m / 111_195:.7f},4.0,{10 * place}" if positions else ""
        rows.append(f"photos/{place}.jpg,above/{place}.png{where}")
    (folder / "mine.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder
