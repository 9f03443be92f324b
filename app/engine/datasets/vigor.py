"""VIGOR: panoramas anywhere within satellite tiles that cover four cities without a gap.

``splits/<City>/{satellite_list,same_area_balanced_train,same_area_balanced_test,
pano_label_balanced}.txt``, or ``splits__corrected/<City>/…__corrected.txt`` with SliceMatch's
labels. Pictures lie in ``<City>/{panorama,satellite}`` or ``{ground,satellite}/<City>``.

A line of labels: panorama, then four times satellite, d0, d1: the positive and three
semi-positives. In a tile of 640 pixels the panorama stands in row 320 + d0, column 320 - d1. The
original labels took 0.114 m a pixel for every city; the corrected ones use the true size. File
names, and so retrieval, are the same in both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Literal

from app.engine.datasets.cvusa import web_gsd_m
from app.engine.datasets.files import Files, read_lines, wrong_layout
from app.engine.datasets.layout import Picture, RetrievalData, RetrievalTest, pair_of, pairs_of
from app.engine.datasets.pairs import Pair
from app.errors import UserError
from app.geo import LatLon
from app.messages import Report, ignore

Area = Literal["same", "cross"]
Labels = Literal["original", "corrected"]

NAME = "VIGOR"
CITIES = ("NewYork", "Seattle", "SanFrancisco", "Chicago")
CROSS_TRAIN, CROSS_TEST = CITIES[:2], CITIES[2:]
EXPECTED = (
    "splits/<City>/satellite_list.txt and its labels (or splits__corrected/<City>/…), and "
    "<City>/panorama, <City>/satellite (or ground/<City>, satellite/<City>) for "
    + ", ".join(CITIES)
)
TILE_PX, ZOOM = 640, 20
PLACES_A_CITY = 1_000_000  # more tiles than any city has: places are numbered city by city


@dataclass(frozen=True, slots=True)
class Label:
    """One line: a panorama, its positive and three semi-positives, and where it stands in each."""

    panorama: str
    satellites: tuple[str, ...]
    deltas: tuple[tuple[float, float], ...]

    @property
    def spot(self) -> tuple[float, float]:
        """Where the panorama stands in the positive tile: shares of its width and height."""
        (south, west), half = self.deltas[0], TILE_PX / 2
        return (half - west) / TILE_PX, (half + south) / TILE_PX


@dataclass(frozen=True, slots=True)
class _City:
    name: str
    panoramas: Path
    gallery: tuple[Picture, ...]
    row_of: dict[str, int]  # of a tile in the gallery

    def known(self, satellites: Sequence[str]) -> tuple[int, ...]:
        return tuple(self.row_of[name] for name in satellites if name in self.row_of)


def is_here(folder: Path) -> bool:
    return any(
        (folder / splits / city / "satellite_list.txt").is_file()
        for splits in ("splits", "splits__corrected")
        for city in CITIES
    )


def read(
    folder: Path, *, area: Area = "same", labels: Labels | None = None, report: Report = ignore
) -> RetrievalData:
    """``labels`` None: the original ones where they are, else the corrected ones.

    Raises UserError if a city or a list that this area needs is not there.
    """
    if not is_here(folder):
        raise wrong_layout(folder, NAME, EXPECTED)
    if labels is None:
        labels = "original" if (folder / "splits").is_dir() else "corrected"
    files = Files(folder, report)
    read_city = cache(lambda name: _city(files, name, labels))
    train_cities = tuple(map(read_city, CITIES if area == "same" else CROSS_TRAIN))
    test_cities = tuple(map(read_city, CITIES if area == "same" else CROSS_TEST))
    same = area == "same"
    train_list = "same_area_balanced_train" if same else "pano_label_balanced"
    test_list = "same_area_balanced_test" if same else "pano_label_balanced"
    train: list[Pair] = []
    for city in train_cities:
        train += _pairs(files, city, _labels(files, city.name, train_list, labels))
    test = _test(files, test_cities, test_list, labels, f"{area} area")
    return RetrievalData(
        name=f"{NAME}, {area} area, {labels} labels",
        folder=folder,
        train=tuple(train),
        held_out=pairs_of(test),
        tests=(test,),
        missing=files.missing,
        tile_size_m=TILE_PX * median(web_gsd_m(p.position.lat, ZOOM) for p in train if p.position)
        if train
        else None,
        held_out_is_test=True,
    )


def _pairs(files: Files, city: _City, labels: Sequence[Label]) -> list[Pair]:
    pairs = []
    for label in labels:
        if (positive := city.row_of.get(label.satellites[0])) is None:
            continue
        tile = city.gallery[positive]
        query = _panorama(files, city, label, tile.label)
        if query is not None:
            pairs.append(pair_of(query, tile, world=city.name, spot=label.spot))
    return pairs


def _test(
    files: Files, cities: Sequence[_City], stem: str, labels: Labels, name: str
) -> RetrievalTest:
    queries: list[Picture] = []
    gallery: list[Picture] = []
    positives: list[tuple[int, ...]] = []
    semi_positives: list[tuple[int, ...]] = []
    for city in cities:
        first = len(gallery)
        gallery += city.gallery
        for label in _labels(files, city.name, stem, labels):
            found = city.known(label.satellites[:1])
            if not found:
                continue
            query = _panorama(files, city, label, city.gallery[found[0]].label)
            if query is not None:
                queries.append(query)
                positives.append((first + found[0],))
                half = city.known(label.satellites[1:])
                semi_positives.append(tuple(first + row for row in half))
    return RetrievalTest(
        name, "vigor", tuple(queries), tuple(gallery), tuple(positives), tuple(semi_positives)
    )


def _city(files: Files, name: str, labels: Labels) -> _City:
    """Its tiles that are there; the place of a tile is its line in the list."""
    table = _splits(files.root, labels) / name / "satellite_list.txt"
    if not table.is_file():
        table = files.root / "splits" / name / "satellite_list.txt"  # the same in both
    folder = _folder(files.root, name, "satellite", "satellite")
    first = CITIES.index(name) * PLACES_A_CITY
    gallery = []
    for row, tile in enumerate(read_lines(table)):
        path = folder / tile
        if files.has(path):
            where = _position(path, tile.rpartition(".")[0].split("_")[1:3])
            gallery.append(Picture(path, str(first + row), "satellite", position=where))
    panoramas = _folder(files.root, name, "panorama", "ground")
    return _City(
        name, panoramas, tuple(gallery), {p.path.name: row for row, p in enumerate(gallery)}
    )


def _panorama(files: Files, city: _City, label: Label, place: str) -> Picture | None:
    path = city.panoramas / label.panorama
    if not files.has(path):
        return None
    where = _position(path, label.panorama.split(",")[1:3])
    return Picture(path, place, "street", kind="panorama", position=where)


def _labels(files: Files, city: str, stem: str, labels: Labels) -> list[Label]:
    suffix = "" if labels == "original" else "__corrected"
    table = _splits(files.root, labels) / city / f"{stem}{suffix}.txt"
    return [
        parse_label(line, f"{table}, line {n}") for n, line in enumerate(read_lines(table), start=1)
    ]


def parse_label(line: str, where: str) -> Label:
    fields = line.split()
    try:
        panorama, *rest = fields
        tiles, first, second = rest[0::3], rest[1::3], rest[2::3]
        deltas = tuple((float(a), float(b)) for a, b in zip(first, second, strict=True))
        if len(fields) != 13:
            raise ValueError
        return Label(panorama, tuple(tiles), deltas)
    except ValueError as error:
        raise UserError(
            f"{where} is no label: {line[:80]}",
            "Expected 13 fields: a panorama, then four times a satellite tile and two numbers.",
        ) from error


def _splits(folder: Path, labels: Labels) -> Path:
    return folder / ("splits" if labels == "original" else "splits__corrected")


def _folder(root: Path, city: str, official: str, arranged: str) -> Path:
    """Of the two arrangements, the one that is there."""
    for folder in (root / city / official, root / arranged / city):
        if folder.is_dir():
            return folder
    raise UserError(
        f"{root} has no pictures of {city}: neither {city}/{official} nor {arranged}/{city}",
        "VIGOR is downloaded city by city; cross area needs NewYork and Seattle to train on, "
        "SanFrancisco and Chicago to test on.",
    )


def _position(path: Path, fields: Sequence[str]) -> LatLon:
    try:
        lat, lon = map(float, fields)
        return LatLon(lat, lon)
    except ValueError as error:
        raise UserError(
            f"{path.name} does not tell its latitude and longitude",
            "Keep VIGOR's own names: satellite_<lat>_<lon>.png and <id>,<lat>,<lon>,.jpg.",
        ) from error
