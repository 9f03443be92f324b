"""Pairs for object networks: a query with a click, a satellite picture with the object's box."""

from dataclasses import dataclass
from pathlib import Path

from app.card import View
from app.geo import LatLon
from app.messages import PhotoKind


@dataclass(frozen=True, slots=True)
class ClickPair:
    """Pixel coordinates are those of the files, from the upper left corner of the first pixel."""

    query: Path
    satellite: Path
    place: int  # rows of one place show the same ground
    click: tuple[float, float]  # x, y in the query
    box: tuple[float, float, float, float]  # left, top, right, bottom in the satellite picture
    category: str  # "building", "car"; empty where unknown
    view: View
    kind: PhotoKind = "perspective"
    position: LatLon | None = None  # of the box's centre
    gsd_m: float | None = None  # ground size of a satellite pixel
    world: str = ""
