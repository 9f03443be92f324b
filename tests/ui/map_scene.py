"""A small scene for the tests of both maps: four coloured tiles, candidates on them, a claim."""

import math
from pathlib import Path

from app.geo import Area, LatLon
from app.manifest import Manifest
from app.messages import Candidate, Claim
from tests.ui.mbtiles import png, write_mbtiles

ZOOM, COLUMN, ROW = 16, 33_000, 24_000  # of the north-western tile, rows from the north
COLOURS = {"nw": (200, 30, 30), "ne": (30, 160, 30), "sw": (30, 30, 200), "se": (230, 220, 40)}


def corner(column: float, row: float) -> LatLon:
    """Of a tile at ZOOM."""
    side = 2**ZOOM
    lat = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * row / side))))
    return LatLon(lat, column / side * 360 - 180)


NORTH_WEST, SOUTH_EAST = corner(COLUMN, ROW), corner(COLUMN + 2, ROW + 2)
AREA = Area(SOUTH_EAST.lat, NORTH_WEST.lon, NORTH_WEST.lat, SOUTH_EAST.lon)
MIDDLE = corner(COLUMN + 1, ROW + 1)
MANIFEST = Manifest(
    name="four colours",
    source="four.tif",
    source_kind="raster",
    licence="Imagery <b>by</b> nobody",
    crs="EPSG:32631",
    gsd_m=1.0,
    tile_size_m=80.0,
    overlap=0.5,
    tiles=4,
    descriptor=8,
    checkpoint="0" * 64,
    checkpoint_title="none",
    query_view="drone",
    area=AREA,
    created="2026-01-01T00:00:00Z",
    code_version="0",
)


def write_gallery(folder: Path) -> Path:
    """Only what the map reads of one: its basemap."""
    folder.mkdir(parents=True, exist_ok=True)
    flipped = 2**ZOOM - 1 - ROW  # the file counts rows from the south
    places = {"nw": (0, 0), "ne": (1, 0), "sw": (0, 1), "se": (1, 1)}
    write_mbtiles(
        folder / "basemap.mbtiles",
        {
            (ZOOM, COLUMN + dx, flipped - dy): png(COLOURS[name])
            for name, (dx, dy) in places.items()
        },
        bounds=f"{AREA.west},{AREA.south},{AREA.east},{AREA.north}",
    )
    return folder


def candidate(rank: int, place: LatLon, *, tile: str = "", heading_deg: float = 90.0) -> Candidate:
    d = 0.0004
    corners = ((d, -d), (d, d), (-d, d), (-d, -d))
    return Candidate(
        rank=rank,
        tile=tile or f"r{rank:03d}",
        position=place,
        score=1 - rank / 100,
        probability=0.5 / rank,
        heading_deg=heading_deg,
        footprint=tuple(LatLon(place.lat + dy, place.lon + dx) for dy, dx in corners),
        thumbnail=Path("tile.jpg"),
    )


def candidates(count: int) -> tuple[Candidate, ...]:
    """Round the middle, rank 1 to the north and on clockwise."""
    turns = [2 * math.pi * i / count for i in range(count)]
    return tuple(
        candidate(i + 1, LatLon(MIDDLE.lat + 0.003 * math.cos(t), MIDDLE.lon + 0.004 * math.sin(t)))
        for i, t in enumerate(turns)
    )


CLAIM = Claim(LatLon(MIDDLE.lat + 0.001, MIDDLE.lon), "EXIF GPS", "2024:05:01 10:00:00")
EVIL = "<img src=https://evil.invalid/x onerror=alert(1)>`${alert(2)}`\u2028'\"</script>"
