"""University-1652: buildings seen by a simulated drone, from space and from the street.

``train/{drone,satellite,street,google}/<id>/…`` and ``test/{query,gallery}_{drone,satellite,
street}/<id>/…``. The class is the folder's name. A place has one satellite picture and 54 drone
pictures (id 0000 has 55); street and google folders may be empty. The drone circles its building,
so its heading is unknown.
"""

from pathlib import Path
from typing import Literal

from app.card import View
from app.engine.datasets.files import Files, wrong_layout
from app.engine.datasets.layout import (
    Picture,
    RetrievalData,
    RetrievalTest,
    labelled_test,
    pair_of,
    pairs_of,
)
from app.engine.datasets.pairs import Pair
from app.errors import UserError
from app.messages import Report, ignore

NAME = "University-1652"
EXPECTED = (
    "train/{drone,satellite}/<id>/… and test/{query,gallery}_{drone,satellite}/<id>/…, "
    "one folder a place"
)


def is_here(folder: Path) -> bool:
    return all(
        (folder / part).is_dir()
        for part in ("train/satellite", "test/query_satellite", "test/gallery_satellite")
    ) and not any((folder / "test").glob("Dense_GPS*"))


def read(
    folder: Path, *, view: Literal["drone", "street"] = "drone", report: Report = ignore
) -> RetrievalData:
    """Trains on each query picture with its place's satellite picture; tests both directions."""
    files = Files(folder, report)
    if not is_here(folder):
        raise wrong_layout(folder, NAME, EXPECTED)
    train = _train(files, view)
    tests = both_ways(files, folder / "test", view, "university")
    return RetrievalData(
        name=NAME if view == "drone" else f"{NAME}, {view}",
        folder=folder,
        train=train,
        held_out=pairs_of(tests[0]),
        tests=tests,
        missing=files.missing,
        held_out_is_test=True,
    )


def _train(files: Files, view: View) -> tuple[Pair, ...]:
    satellites = {s.label: s for s in classes(files, files.root / "train/satellite", "satellite")}
    queries = classes(files, files.root / "train" / view, view)
    if not satellites or not queries:
        raise wrong_layout(files.root, NAME, EXPECTED)
    for label in sorted({query.label for query in queries} - satellites.keys()):
        files.has(files.root / "train/satellite" / label / f"{label}.jpg")
    return tuple(pair_of(q, satellites[q.label]) for q in queries if q.label in satellites)


def both_ways(
    files: Files, folder: Path, view: View, protocol: Literal["university", "denseuav"]
) -> tuple[RetrievalTest, RetrievalTest]:
    """The two tests of ``query_*`` and ``gallery_*`` folders."""
    queries, gallery = (
        {v: classes(files, folder / f"{role}_{v}", v) for v in (view, "satellite")}
        for role in ("query", "gallery")
    )
    return (
        labelled_test(f"{view} to satellite", protocol, queries[view], gallery["satellite"]),
        labelled_test(f"satellite to {view}", protocol, queries["satellite"], gallery[view]),
    )


def classes(files: Files, folder: Path, view: View) -> tuple[Picture, ...]:
    """The pictures of all places of a folder; the place is the folder's name."""
    heading = 0.0 if view == "satellite" else None
    return tuple(
        Picture(path, place_label(place), view, heading_deg=heading)
        for place in files.folders(folder)
        for path in files.pictures(place)
    )


def place_label(folder: Path) -> str:
    if not (folder.name.isascii() and folder.name.isdecimal()):
        raise UserError(
            f"{folder} is not named as a place: expected a number such as 0842",
            "Remove the folder, or name it as the data set does.",
        )
    return folder.name
