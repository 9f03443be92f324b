"""SUES-200: 200 places seen from four heights, each with one satellite picture.

As published: ``drone*/<id>/<height>/*.jpg`` and ``satellite-view/<id>/*.png``; which 120 places are
trained on is a list of its authors (``script/indexs.yaml`` of their repository), kept here. As
their script copies it: ``Training/<height>/{drone,satellite}/<id>`` and ``Testing/<height>/{query,
gallery}_{drone,satellite}/<id>``, or ``train`` and ``test`` in their place. Queries are of the 80
places that are left, galleries of all 200. Each height is trained and tested by itself.
"""

from pathlib import Path
from typing import Literal, get_args

from app.engine.datasets.files import Files, wrong_layout
from app.engine.datasets.layout import (
    Picture,
    RetrievalData,
    RetrievalTest,
    labelled_test,
    pair_of,
    pairs_of,
)
from app.engine.datasets.university import both_ways, classes, place_label
from app.messages import Report, ignore

Height = Literal[150, 200, 250, 300]  # metres
HEIGHTS_M: tuple[Height, ...] = get_args(Height)

NAME = "SUES-200"
EXPECTED = (
    "drone*/<id>/<150|200|250|300>/… with satellite-view/<id>/…, or Training/<height>/{drone,"
    "satellite}/<id>/… with Testing/<height>/{query,gallery}_{drone,satellite}/<id>/…"
)
SPLIT_NAMES = (("Training", "Testing"), ("train", "test"))
TEST_PLACES = frozenset(
    [8, 12, 14, 17, 18, 19, 22, 23, 35, 38, 40, 41, 42, 46, 47, 48, 49, 50, 52, 53, 54, 59, 61, 62,
     63, 65, 68, 71, 72, 75, 78, 79, 83, 92, 93, 95, 98, 99, 107, 108, 109, 110, 111, 112, 114, 115,
     117, 121, 122, 124, 128, 130, 131, 133, 135, 136, 138, 140, 143, 144, 150, 153, 154, 161, 162,
     164, 165, 170, 172, 173, 175, 176, 177, 178, 181, 188, 189, 190, 194, 195]
)  # fmt: skip


def is_here(folder: Path) -> bool:
    return _split(folder) is not None or _drone_folder(folder) is not None


def read(folder: Path, *, height_m: Height | None = None, report: Report = ignore) -> RetrievalData:
    """``height_m`` None: trains on all heights, and tests each by itself."""
    files = Files(folder, report)
    split = _split(folder)
    if split is None and _drone_folder(folder) is None:
        raise wrong_layout(folder, NAME, EXPECTED)
    heights = (height_m,) if height_m else HEIGHTS_M
    train: list[tuple[Picture, Picture]] = []
    tests: list[RetrievalTest] = []
    for height in heights:
        pairs, both = _copied(files, split, height) if split else _raw(files, height)
        train += pairs
        tests += [
            RetrievalTest(f"{test.name}, {height} m", "university", test.queries, test.gallery,
                          test.positives)
            for test in both if test.queries
        ]  # fmt: skip
    if not train or not tests:
        raise wrong_layout(folder, f"{NAME} with pictures from {heights[0]} m", EXPECTED)
    return RetrievalData(
        name=f"{NAME}, {height_m} m" if height_m else NAME,
        folder=folder,
        train=tuple(pair_of(query, satellite) for query, satellite in train),
        held_out=pairs_of(tests[0]),
        tests=tuple(tests),
        missing=files.missing,
        held_out_is_test=True,
    )


def _split(folder: Path) -> tuple[Path, Path] | None:
    """Where the script has copied training and test pictures."""
    for train, test in SPLIT_NAMES:
        if any((folder / train / str(height) / "drone").is_dir() for height in HEIGHTS_M):
            return folder / train, folder / test
    return None


def _drone_folder(folder: Path) -> Path | None:
    if not (folder / "satellite-view").is_dir():
        return None
    found = sorted(path for path in folder.glob("drone*") if path.is_dir())
    return found[0] if found else None


def _copied(
    files: Files, split: tuple[Path, Path], height: int
) -> tuple[list[tuple[Picture, Picture]], tuple[RetrievalTest, RetrievalTest]]:
    train, test = (part / str(height) for part in split)
    queries = classes(files, train / "drone", "drone")
    pairs = _with_satellites(queries, classes(files, train / "satellite", "satellite"))
    return pairs, both_ways(files, test, "drone", "university")


def _raw(
    files: Files, height: int
) -> tuple[list[tuple[Picture, Picture]], tuple[RetrievalTest, RetrievalTest]]:
    drone_folder = _drone_folder(files.root)
    assert drone_folder is not None  # is_here has seen it
    drone = [
        Picture(path, place_label(place), "drone", heading_deg=None)
        for place in files.folders(drone_folder)
        for path in files.pictures(place / str(height))
    ]
    satellite = classes(files, files.root / "satellite-view", "satellite")
    trained = tuple(p for p in drone if int(p.label) not in TEST_PLACES)
    asked = tuple(p for p in drone if int(p.label) in TEST_PLACES)
    from_above = tuple(p for p in satellite if int(p.label) in TEST_PLACES)
    return _with_satellites(trained, satellite), (
        labelled_test("drone to satellite", "university", asked, satellite),
        labelled_test("satellite to drone", "university", from_above, tuple(drone)),
    )


def _with_satellites(
    queries: tuple[Picture, ...], satellites: tuple[Picture, ...]
) -> list[tuple[Picture, Picture]]:
    of_place = {satellite.label: satellite for satellite in satellites}
    return [(query, of_place[query.label]) for query in queries if query.label in of_place]
