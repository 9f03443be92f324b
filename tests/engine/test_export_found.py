"""Findings as files: another program reads each back at the same coordinates."""

import csv
import json
import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyogrio.raw
import pytest

from app.engine.export_found import FIELDS, export, features_of
from app.errors import UserError
from app.geo import LatLon
from app.messages import Export, Exported, Location
from app.object_messages import FoundBox, FoundObject, ObjectsFound, Reference
from tests.engine.test_export import NASTY, location

CENTIMETRE = 0.01


def found(name: str = "photo 1.jpg", *, error_m: float | None = 4.5) -> ObjectsFound:
    north_west = LatLon(-33.8600512345678, 151.2100987654321)
    corners = tuple(
        LatLon(north_west.lat - down, north_west.lon + right)
        for down, right in ((0, 0), (0, 0.0003), (0.0002, 0.0003), (0.0002, 0))
    )
    centre = LatLon(north_west.lat - 0.0001, north_west.lon + 0.00015)
    boxes = tuple(
        FoundBox(
            rank, 0, (10.0, 20.0, 40.0, 50.0), 0.6 / rank, -float(rank), corners,
            ((1.0, 2.0), (3.0, 2.0), (3.0, 0.0), (1.0, 0.0)), centre, 27.7, 22.2, error_m,
        )
        for rank in (1, 2)
    )  # fmt: skip
    reference = Reference("r001c002", 0.0, 0.0, 100.0, 256, 1.0, corners, Path("r.jpg"))
    return ObjectsFound(
        Path("photos") / name.replace("/", "⁄"), Path("g"), Path("c"), "EPSG:32756",
        (reference,), (FoundObject((120.5, 80.25), boxes),), True, "mean IoU", (), 0.1, "cpu",
    )  # fmt: skip


def all_findings(name: str = "photo 1.jpg") -> tuple[tuple[Location, ...], tuple[ObjectsFound]]:
    return (location(name), location(f"b {name}", claim=False)), (found(name),)


def written(path: Path, name: str = "photo 1.jpg") -> Exported:
    locations, objects = all_findings(name)
    return export(Export(path, locations, objects))


def expected() -> list[tuple[str, list[tuple[float, float]]]]:
    """Kind and (lon, lat) of each feature, in order."""
    return [
        (str(f.fields["feature"]), [(p.lon, p.lat) for p in f.points])
        for f in features_of(*all_findings())
    ]


def metres_apart(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Of (lon, lat); an arc's sine is exact for short ones where an arc cosine is not."""
    east = math.radians(a[0] - b[0]) * math.cos(math.radians(a[1])) * 6_378_137
    return math.hypot(east, math.radians(a[1] - b[1]) * 6_378_137)


def same_points(got, wanted) -> bool:
    """Whether a ring read back has the corners of a polygon, from any first one on."""
    got = list(dict.fromkeys(got))
    return len(got) == len(wanted) and all(
        min(metres_apart(a, b) for b in wanted) < CENTIMETRE for a in got
    )


def points_of(wkb: bytes) -> list[tuple[float, float]]:
    """Of a point or a polygon's outer ring in well-known binary, of two or three dimensions."""
    import struct

    kind = struct.unpack("<I", wkb[1:5])[0]
    deep = 3 if kind & 0x80000000 or kind > 1000 else 2
    start, count = (5, 1) if kind % 1000 & 0xFF == 1 else (13, struct.unpack("<I", wkb[9:13])[0])
    values = struct.unpack(f"<{count * deep}d", wkb[start : start + count * deep * 8])
    return [(values[i], values[i + 1]) for i in range(0, len(values), deep)]


def read_back(path: Path, layers: list[str | None], **options) -> list[tuple[dict, list]]:
    """Fields and points of all features, as GDAL reads them."""
    rows = []
    for layer in layers:
        meta, _, geometry, columns = pyogrio.raw.read(path, layer=layer, **options)
        for i, shape in enumerate(geometry):
            fields = dict(zip(meta["fields"], (column[i] for column in columns), strict=True))
            rows.append((fields, points_of(shape)))
    return rows


@pytest.mark.parametrize("suffix", ["geojson", "gpkg", "kml", "csv"])
def test_gdal_reads_every_feature_at_its_coordinates(suffix, tmp_path):
    path = tmp_path / f"found.{suffix}"
    count = written(path).features
    layers: list[str | None] = ["points", "polygons"] if suffix == "gpkg" else [None]
    options = {"GEOM_POSSIBLE_NAMES": "wkt"} if suffix == "csv" else {}
    if suffix == "kml":
        layers = [str(row[0]) for row in pyogrio.list_layers(path)]
    rows = read_back(path, layers, **options)
    assert len(rows) == count == len(expected())
    left = expected()
    for fields, points in rows:
        kind = str(fields.get("feature", ""))
        match = next(
            item for item in left if (not kind or item[0] == kind) and same_points(points, item[1])
        )
        left.remove(match)
    assert not left


@pytest.mark.parametrize("suffix", ["geojson", "gpkg", "csv"])
def test_fields_come_back_as_they_were(suffix, tmp_path):
    path = tmp_path / f"found.{suffix}"
    written(path)
    layers: list[str | None] = ["polygons"] if suffix == "gpkg" else [None]
    options = {"GEOM_POSSIBLE_NAMES": "wkt"} if suffix == "csv" else {}
    rows = [f for f, _ in read_back(path, layers, **options) if f["feature"] == "object"]
    best = next(f for f in rows if int(f["rank"]) == 1)
    assert best["photo"] == str(Path("photos") / "photo 1.jpg")
    assert best["tile"] == "r001c002"
    for name, value in (
        ("probability", 0.6), ("width_m", 27.7), ("error_m", 4.5), ("click_x", 120.5),
    ):  # fmt: skip
        assert float(best[name]) == pytest.approx(value)


def test_geojson_is_of_rfc_7946(tmp_path):
    written(tmp_path / "a.geojson")
    body = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))
    assert set(body) == {"type", "features"}
    rings = [f["geometry"]["coordinates"][0] for f in body["features"]
             if f["geometry"]["type"] == "Polygon"]  # fmt: skip
    assert rings
    for ring in rings:
        assert ring[0] == ring[-1]
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
        assert area > 0  # counter-clockwise


def test_a_geopackage_says_what_it_is_and_is_whole(tmp_path):
    path = tmp_path / "a.gpkg"
    written(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA application_id").fetchone()[0] == 0x47504B47
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        extents = db.execute("SELECT min_x, min_y, max_x, max_y FROM gpkg_contents").fetchall()
    info = pyogrio.read_info(path, layer="polygons")
    assert info["crs"] == "EPSG:4326"
    assert all(None not in extent for extent in extents)
    for layer in ("points", "polygons"):
        bounds = pyogrio.read_info(path, layer=layer, force_total_bounds=True)["total_bounds"]
        assert any(extent == pytest.approx(bounds, abs=1e-9) for extent in extents)
    written(path)  # over one that is there
    assert list(tmp_path.iterdir()) == [path]


def test_no_cell_of_a_table_is_a_formula_and_numbers_stay_numbers(tmp_path):
    locations, objects = all_findings()
    first = locations[0]
    evil = replace(
        first, query=replace(first.query, photo=Path("=cmd|'calc'!A1.jpg")),
        candidates=(replace(first.best, tile="@SUM(1)", score=-0.25),),
    )  # fmt: skip
    path = tmp_path / "a.csv"
    export(Export(path, (evil,), objects))
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["photo"].startswith("'=cmd")
    assert rows[0]["tile"] == "'@SUM(1)"
    assert rows[0]["score"] == "-0.25"
    for row in rows:
        for name, cell in row.items():
            if cell[:1] in "=+@" and cell:
                pytest.fail(f"{name} {cell}")
    assert float(rows[-1]["lat"]) < 0  # a southern latitude keeps its sign


@pytest.mark.parametrize("suffix", ["geojson", "gpkg", "kml", "csv"])
@pytest.mark.parametrize("name", [NASTY, "Zürich 東京 \x07.jpg", "\udcff.jpg"])
def test_any_file_name_can_be_exported(suffix, name, tmp_path):
    path = tmp_path / f"a.{suffix}"
    assert written(path, name).features > 0
    layers: list[str | None] = ["points"] if suffix == "gpkg" else [None]
    if suffix == "kml":
        layers = [str(row[0]) for row in pyogrio.list_layers(path)][:1]
    assert read_back(path, layers)


def test_an_unknown_error_is_left_out_and_not_made_up(tmp_path):
    path = tmp_path / "a.geojson"
    export(Export(path, (), (found(error_m=None),)))
    properties = json.loads(path.read_text())["features"][0]["properties"]
    assert "error_m" not in properties
    assert set(properties) <= set(FIELDS)


def test_an_empty_export_or_one_of_no_known_format_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing to export"):
        export(Export(tmp_path / "a.kml"))
    with pytest.raises(UserError, match="no format") as failed:
        export(Export(tmp_path / "a.shp", objects=(found(),)))
    assert ".gpkg" in failed.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["geojson", "gpkg", "kml", "csv"])
def test_a_place_that_cannot_be_written_is_named_and_keeps_what_was_there(suffix, tmp_path):
    there = tmp_path / "file"
    there.write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        written(there / f"a.{suffix}")
    assert there.read_text() == "a file"
