"""CVUSA (Zhai's subset): panoramas of the whole of the United States with their satellite picture.

``splits/{train,val}-19zl.csv`` name satellite, panorama and annotation, without a header. The
panoramas (1232 x 224) are aligned to north, cut to about 90 degrees of height.
``split_locations/all.csv`` has a position for each id, in row id - 1; it may be absent.
"""

import csv
import math
from pathlib import Path

from app.engine.datasets.files import Files, read_lines, wrong_layout
from app.engine.datasets.layout import (
    Picture,
    RetrievalData,
    labelled_test,
    pair_of,
    pairs_of,
)
from app.errors import UserError
from app.geo import LatLon
from app.messages import Report, ignore

NAME = "CVUSA"
EXPECTED = "splits/train-19zl.csv, splits/val-19zl.csv, bingmap/19/… and streetview/panos/…"
ZOOM, TILE_PX = 19, 750
WORLD_M_PER_PX = 156_543.033_928  # of web maps at zoom 0 on the equator

Places = list[tuple[LatLon, LatLon]]  # satellite picture, panorama


def is_here(folder: Path) -> bool:
    return all((folder / f"splits/{split}-19zl.csv").is_file() for split in ("train", "val"))


def read(folder: Path, *, report: Report = ignore) -> RetrievalData:
    files = Files(folder, report)
    if not is_here(folder):
        raise wrong_layout(folder, NAME, EXPECTED)
    places = _places(folder / "split_locations/all.csv")
    train = _pictures(files, folder / "splits/train-19zl.csv", places)
    val = _pictures(files, folder / "splits/val-19zl.csv", places)
    test = labelled_test(
        "street to satellite", "cvusa", tuple(q for q, _ in val), tuple(s for _, s in val)
    )
    lats = sorted(s.position.lat for _, s in train if s.position)
    return RetrievalData(
        name=NAME,
        folder=folder,
        train=tuple(pair_of(query, satellite) for query, satellite in train),
        held_out=pairs_of(test),
        tests=(test,),
        missing=files.missing,
        tile_size_m=TILE_PX * web_gsd_m(lats[len(lats) // 2], ZOOM) if lats else None,
        held_out_is_test=True,
    )


def web_gsd_m(lat: float, zoom: int) -> float:
    """Ground size of a web map's pixel."""
    return WORLD_M_PER_PX * math.cos(math.radians(lat)) / (1 << zoom)


def _pictures(files: Files, table: Path, places: Places) -> list[tuple[Picture, Picture]]:
    found = []
    for number, row in enumerate(csv.reader(read_lines(table)), start=1):
        try:
            satellite, panorama = (files.root / name.strip() for name in row[:2])
            pair_id = int(satellite.stem)
        except ValueError as error:
            raise UserError(
                f"{table}, line {number} cannot be read: {','.join(row)}",
                "Expected: satellite,panorama,annotation as in bingmap/19/0000001.jpg,…",
            ) from error
        there = [files.has(satellite), files.has(panorama)]
        if not all(there):
            continue
        above, below = places[pair_id - 1] if 0 < pair_id <= len(places) else (None, None)
        label = str(pair_id)
        query = Picture(panorama, label, "street", kind="panorama", position=below)
        found.append((query, Picture(satellite, label, "satellite", position=above)))
    return found


def _places(table: Path) -> Places:
    if not table.is_file():
        return []
    places = []
    for number, row in enumerate(csv.reader(read_lines(table)), start=1):
        try:
            lat, lon, ground_lat, ground_lon = map(float, row[:4])
            places.append((LatLon(lat, lon), LatLon(ground_lat, ground_lon)))
        except ValueError as error:
            raise UserError(
                f"{table}, line {number} cannot be read: {error}",
                "Expected: satellite latitude, longitude, panorama latitude, longitude, …",
            ) from error
    return places
