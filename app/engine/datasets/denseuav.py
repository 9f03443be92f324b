"""DenseUAV: low flights over campuses, three heights a place, satellite pictures of two years.

``train/{drone,satellite}/<id>/H80.JPG``, satellites ``H80.tif`` and ``H80_old.tif``;
``test/{query,gallery}_{drone,satellite}/<id>/…``; the galleries hold the training places too.
``Dense_GPS_ALL.txt`` (also ``_train``, ``_test``) has lines ``path E<lon> N<lat> height``; its
authors take one position for all pictures of a place.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app.engine.datasets.files import Files, read_lines, wrong_layout
from app.engine.datasets.layout import (
    Picture,
    RetrievalData,
    RetrievalTest,
    labelled_test,
    pair_of,
    pairs_of,
)
from app.engine.datasets.pairs import Pair
from app.engine.datasets.university import both_ways, classes
from app.errors import UserError
from app.geo import LatLon
from app.messages import Report, ignore

NAME = "DenseUAV"
EXPECTED = (
    "Dense_GPS_ALL.txt, train/{drone,satellite}/<id>/… and "
    "test/{query,gallery}_{drone,satellite}/<id>/…"
)
LINE = re.compile(r"(\S+)\s+E(-?[0-9.]+)\s+N(-?[0-9.]+)(?:\s+\S+)?")


def is_here(folder: Path) -> bool:
    return (folder / "train/drone").is_dir() and any(folder.glob("Dense_GPS_*.txt"))


def read(folder: Path, *, report: Report = ignore) -> RetrievalData:
    """Trains on each drone picture with both satellite pictures of its height."""
    if not is_here(folder):
        raise wrong_layout(folder, NAME, EXPECTED)
    files = Files(folder, report)
    places = _places(folder)
    drone = _placed(classes(files, folder / "train/drone", "drone"), places)
    satellite = _placed(classes(files, folder / "train/satellite", "satellite"), places)
    tests = tuple(
        _placed_test(test, places)
        for test in both_ways(files, folder / "test", "drone", "denseuav")
    )
    return RetrievalData(
        name=NAME,
        folder=folder,
        train=tuple(_pairs(drone, satellite)),
        held_out=pairs_of(tests[0]),
        tests=tests,
        missing=files.missing,
        held_out_is_test=True,
    )


def _pairs(drone: Sequence[Picture], satellites: Sequence[Picture]) -> list[Pair]:
    of_height: dict[tuple[str, str], list[Picture]] = {}
    for satellite in satellites:
        height = satellite.path.stem.upper().partition("_")[0]
        of_height.setdefault((satellite.label, height), []).append(satellite)
    return [
        pair_of(query, satellite)
        for query in drone
        for satellite in of_height.get((query.label, query.path.stem.upper()), ())
    ]


def _placed_test(test: RetrievalTest, places: dict[str, LatLon]) -> RetrievalTest:
    return labelled_test(
        test.name, test.protocol, _placed(test.queries, places), _placed(test.gallery, places)
    )


def _placed(pictures: Sequence[Picture], places: dict[str, LatLon]) -> tuple[Picture, ...]:
    return tuple(replace(picture, position=places.get(picture.label)) for picture in pictures)


def _places(folder: Path) -> dict[str, LatLon]:
    """Of each place; the list of all places if it is there, else what there is."""
    whole = folder / "Dense_GPS_ALL.txt"
    tables = [whole] if whole.is_file() else sorted(folder.glob("Dense_GPS_*.txt"))
    places = {}
    for table in tables:
        for number, line in enumerate(read_lines(table), start=1):
            match = LINE.fullmatch(line)
            try:
                if match is None:
                    raise ValueError(line[:80])
                parts = match[1].replace("\\", "/").split("/")
                places[parts[-2]] = LatLon(float(match[3]), float(match[2]))
            except (ValueError, IndexError) as error:
                raise UserError(
                    f"{table}, line {number} cannot be read: {error}",
                    "Expected: test/satellite/000001/H80.tif E120.38 N30.32 94.5",
                ) from error
    return places
