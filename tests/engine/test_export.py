"""Files handed out: they hold what the answer says and load nothing from anywhere."""

import json
import math
import re
import sqlite3
from contextlib import closing
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.engine.export import table_text, to_json, write_geojson, write_map_html
from app.engine.map_html import escaped, rank_colour, read_basemap
from app.errors import UserError
from app.geo import Area, LatLon
from app.manifest import Manifest, manifest_to_json
from app.messages import Candidate, Claim, Confidence, Location, QueryRead

NASTY = "`${alert(1)}`{{7*7}}</script><img src=x onerror=alert(2)>\"'\\.jpg"


def candidate(rank: int, *, tile: str = "") -> Candidate:
    lat, lon = 50.002 + rank * 1e-3, 3.005 + rank * 1e-3
    half = 0.0004
    corners = ((half, -half), (half, half), (-half, half), (-half, -half))  # clockwise from NW
    return Candidate(
        rank=rank,
        tile=tile or f"r{rank:03}c001",
        position=LatLon(lat, lon),
        score=0.9 - rank / 100,
        probability=0.5 / rank,
        heading_deg=30.0 * rank,
        footprint=tuple(LatLon(lat + dy, lon + dx) for dy, dx in corners),
        thumbnail=Path("thumbnails/t.jpg"),
    )


def location(name: str = "photo 1.jpg", *, claim: bool = True, tile: str = "") -> Location:
    told = Claim(LatLon(50.01, 3.01), f"EXIF GPS {name}", "2024:10:30") if claim else None
    photo = Path("photos") / name.replace("/", "⁄")
    reasons = ("2 of 10", "<b>rival</b>")
    return Location(
        query=QueryRead(photo, Path("p.jpg"), 40, 30, "perspective", told, None),
        candidates=tuple(candidate(rank, tile=tile) for rank in range(1, 6)),
        confidence=Confidence(False, 0.62, 80.0, 12_800.0, 140.0, 0.02, reasons),
        turns=12,
        seconds=0.25,
        device="cpu",
    )


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Only what the map page reads: manifest and basemap, one colour a zoom and corner."""
    folder = tmp_path / "gallery"
    folder.mkdir()
    manifest = Manifest(
        name=NASTY,
        source="town.tif",
        source_kind="raster",
        licence=f"CC-BY {NASTY}",
        crs="EPSG:32631",
        gsd_m=0.3,
        tile_size_m=80.0,
        overlap=0.5,
        tiles=9,
        descriptor=8,
        checkpoint="0" * 64,
        checkpoint_title="tiny",
        query_view="drone",
        area=Area(50.0, 3.0, 50.01, 3.01),
        created="2026-01-01T00:00:00Z",
        code_version="0",
    )
    (folder / "manifest.json").write_text(manifest_to_json(manifest), encoding="utf-8")
    write_mbtiles(folder / "basemap.mbtiles", {14: 1, 15: 2, 16: 3, 20: 40})
    return folder


def mercator_row(lat: float, zoom: int) -> float:
    """Counted from the north."""
    return (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**zoom


def png(colour: tuple[int, int, int]) -> bytes:
    file = BytesIO()
    Image.new("RGB", (256, 256), colour).save(file, "PNG")
    return file.getvalue()


def write_mbtiles(path: Path, sides: dict[int, int]) -> None:
    """``sides``: zoom -> tiles a side, from the tile that holds 50.01 N 3.0 E on."""
    corner, other = png((250, 0, 0)), png((0, 0, 250))
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TABLE tiles (zoom_level INT, tile_column INT, tile_row INT, tile_data BLOB)"
        )
        for zoom, side in sides.items():
            column = int((3.0 + 180) / 360 * 2**zoom)
            row = int(mercator_row(50.01, zoom))
            for y in range(side):
                for x in range(side):
                    content = corner if (x, y) == (0, 0) else other
                    entry = (zoom, column + x, 2**zoom - 1 - (row + y), content)
                    db.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", entry)
        db.commit()


# --- GeoJSON and JSON -------------------------------------------------------


def features(path: Path, kind: str) -> list[dict]:
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    return [f for f in collection["features"] if f["properties"]["feature"] == kind]


def test_geojson_puts_longitude_first_and_keeps_the_order(tmp_path):
    path = tmp_path / "out.geojson"
    write_geojson(path, [location()])
    points = features(path, "candidate")
    assert [p["properties"]["rank"] for p in points] == [1, 2, 3, 4, 5]
    assert points[0]["geometry"] == {"type": "Point", "coordinates": [3.006, 50.003]}
    assert points[0]["properties"]["tile"] == "r001c001"
    assert points[0]["properties"]["calibrated"] is False


def test_footprints_are_closed_and_counterclockwise(tmp_path):
    path = tmp_path / "out.geojson"
    write_geojson(path, [location()])
    for feature in features(path, "footprint"):
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert len(ring) == 5
        x, y = np.array(ring).T
        assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0


def test_a_claim_is_told_apart_with_its_distance(tmp_path):
    path = tmp_path / "out.geojson"
    write_geojson(path, [location(), location("other.jpg", claim=False)])
    (claim,) = features(path, "claim")
    assert claim["geometry"]["coordinates"] == [3.01, 50.01]
    expected = LatLon(50.01, 3.01).metres_to(candidate(1).position)
    assert claim["properties"]["distance_to_rank_1_m"] == pytest.approx(expected, abs=0.1)


def test_odd_names_survive_as_text(tmp_path):
    path = tmp_path / "名 ü.geojson"
    write_geojson(path, [location("фото 名.jpg"), location("bad \udcff\n.jpg")])
    photos = {f["properties"]["photo"] for f in features(path, "candidate")}
    assert {Path(p).name for p in photos} == {"фото 名.jpg", "bad ??.jpg"}


def test_json_holds_the_whole_answer():
    (told,) = json.loads(to_json([location()]))
    assert told["candidates"][1]["position"] == pytest.approx({"lat": 50.004, "lon": 3.007})
    assert told["confidence"]["reasons"] == ["2 of 10", "<b>rival</b>"]
    assert told["query"]["photo"] == str(Path("photos") / "photo 1.jpg")
    assert told["claim_distance_m"] == pytest.approx(location().claim_distance_m)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "out.geojson"
    path.write_text("old")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match=r"out\.geojson"):
        write_geojson(path, [location()])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# --- the table --------------------------------------------------------------


def test_the_table_names_photo_ranks_reasons_and_claim():
    text = table_text(location())
    lines = text.splitlines()
    assert lines[0].endswith("photo 1.jpg")
    assert lines[2].split() == ["1", "0.8900", "0.5000", "50.003000", "3.006000", "30", "r001c001"]
    assert "not calibrated" in text
    assert "  - 2 of 10" in lines
    assert "Claim of the file, not used (EXIF GPS photo 1.jpg): 50.010000, 3.010000, 829 m" in text


def test_a_file_name_cannot_steer_the_terminal():
    text = table_text(location("a\x1b[2J\r\nb.jpg", claim=False))
    assert "\x1b" not in text
    assert text.splitlines()[0].endswith("a?[2J??b.jpg")


def test_fewer_rows_can_be_asked_for():
    assert "r003c001" not in table_text(location(), rows=2)


# --- the map page -----------------------------------------------------------


def page(tmp_path: Path, gallery: Path, *locations: Location) -> str:
    path = tmp_path / "map.html"
    write_map_html(path, locations, gallery)
    return path.read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_any_host(tmp_path, gallery):
    html = page(tmp_path, gallery, location())
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", html)
    assert not re.findall(r"url\((?!data:|#default)", html)
    assert "@import" not in html
    assert "sourceMappingURL" not in html
    hosts = set(re.findall(r"https?://([^/\"'\s)]+)", html))
    # Names in the libraries' own code: a namespace, links in comments, Leaflet's credit.
    assert hosts <= {
        "www.w3.org", "leafletjs.com", "bugzilla.mozilla.org", "bugs.chromium.org", "jquery.com",
    }  # fmt: skip


def test_the_page_forbids_all_that_it_does_not_hold(tmp_path, gallery):
    html = page(tmp_path, gallery, location())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none';")
    (scripts,) = re.findall(r"script-src ([^;]*)", policy)
    assert "unsafe" not in scripts
    assert scripts.count("sha256-") == len(re.findall(r"<script>.*?</script>", html, re.DOTALL))
    assert html.index("Content-Security-Policy") < html.index("<script>")


def test_no_name_becomes_markup_or_script(tmp_path, gallery):
    html = page(tmp_path, gallery, location(NASTY, tile=NASTY), location("b.jpg"))
    outside_libraries = html.split("inline", 1)[-1]
    assert "<img src=x" not in html
    assert "${alert" not in html
    assert "alert(1)}" not in outside_libraries
    assert "49" not in re.findall(r"CC-BY ([^<]*)<", html)[0]  # no template was filled in
    assert escaped("{{7*7}}") in html


def test_escaping_leaves_letters_of_all_scripts_readable():
    assert escaped("Straße 名 1.jpg") == "Straße 名 1.jpg"
    assert escaped("<`$") == "&#60;&#96;&#36;"


def test_pins_claims_and_confidence_are_on_the_page(tmp_path, gallery):
    html = page(tmp_path, gallery, location())
    assert html.count("L.circleMarker(") == 6
    assert html.count("L.polygon(") == 5
    assert rank_colour(1, 5) in html
    assert "Within 80 m of rank 1 with probability 0.62" in html.replace("&#40;", "(")


def test_colours_go_from_vermilion_to_light():
    assert rank_colour(1, 20) == "#d55e00"
    dark, light = rank_colour(2, 20), rank_colour(20, 20)
    assert int(dark[1:3], 16) < int(light[1:3], 16)
    assert len({rank_colour(rank, 20) for rank in range(1, 21)}) == 20


def test_the_basemap_is_the_finest_zoom_that_fits(gallery):
    basemap = read_basemap(gallery / "basemap.mbtiles")
    assert basemap is not None
    # Zoom 20 has 40 x 40 tiles, 10240 px: too many; zoom 16 has three a side.
    width = (basemap.north_east.lon - basemap.south_west.lon) / 360 * 2**16
    assert width == pytest.approx(3)
    assert mercator_row(basemap.south_west.lat, 16) - mercator_row(
        basemap.north_east.lat, 16
    ) == pytest.approx(3)
    assert basemap.south_west.lat < 50.01 < basemap.north_east.lat
    assert basemap.south_west.lon <= 3.0 < basemap.north_east.lon


def test_the_basemap_is_not_upside_down(gallery, monkeypatch):
    pictures: list[Image.Image] = []
    save = Image.Image.save

    def keep(self, file, form=None, **options):
        pictures.append(self.copy())
        save(self, file, form, **options)

    monkeypatch.setattr(Image.Image, "save", keep)
    read_basemap(gallery / "basemap.mbtiles")
    (mosaic,) = pictures
    assert mosaic.getpixel((10, 10))[:3] == (250, 0, 0)  # the north-west tile
    assert mosaic.getpixel((10, 700))[:3] == (0, 0, 250)


def test_a_gallery_without_basemap_still_gives_a_page(tmp_path, gallery):
    (gallery / "basemap.mbtiles").unlink()
    assert "L.imageOverlay(" not in page(tmp_path, gallery, location())


def test_a_damaged_basemap_is_named(tmp_path, gallery):
    (gallery / "basemap.mbtiles").write_bytes(b"not a database" * 100)
    with pytest.raises(UserError, match=r"basemap\.mbtiles"):
        page(tmp_path, gallery, location())
