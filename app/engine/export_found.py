"""Everything located so far as one file that other programs read: photos and clicked objects.

Points and polygons in WGS84, each with the same fields, whatever the format. What a feature is
stands in ``feature``: candidate (a point), footprint (its tile), claim (the file's own position),
object (a box on the ground) or centre (of that box).
"""

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from app.engine.export import plain_name
from app.engine.writing import write_whole
from app.errors import UserError
from app.geo import LatLon
from app.messages import Export, Exported, Location
from app.object_messages import FoundBox, FoundObject, ObjectsFound

DIGITS = 8  # of degrees: about a millimetre
TEXTS = ("feature", "photo", "tile", "source", "name")
WHOLES = ("rank", "click")
NUMBERS = (
    "probability", "calibrated", "score", "heading_deg", "click_x", "click_y", "width_m",
    "height_m", "area_m2", "error_m",
)  # fmt: skip
FIELDS = TEXTS + WHOLES + NUMBERS
_FORMULA = tuple("=+-@\t\r\n|%")


@dataclass(frozen=True, slots=True)
class Feature:
    """A point, or a polygon's corners clockwise; ``fields`` are some of ``FIELDS``."""

    points: tuple[LatLon, ...]
    fields: Mapping[str, str | float | int]

    @property
    def is_point(self) -> bool:
        return len(self.points) == 1

    @property
    def ring(self) -> tuple[LatLon, ...]:
        """Closed, and counter-clockwise as RFC 7946 and KML want it."""
        turned = tuple(reversed(self.points))
        return (*turned, turned[0])

    @property
    def middle(self) -> LatLon:
        count = len(self.points)
        return LatLon(
            math.fsum(p.lat for p in self.points) / count,
            math.fsum(p.lon for p in self.points) / count,
        )


def export(request: Export) -> Exported:
    """Write a file of the format that its suffix names, whole or not at all. Raises UserError."""
    write = _writers().get(request.path.suffix.lower())
    if write is None:
        raise UserError(
            f"{request.path.name} is of no format that Skyfix writes",
            f"Name it with one of {', '.join(_writers())}.",
        )
    features = features_of(request.locations, request.objects)
    if not features:
        raise UserError("There is nothing to export yet", "Locate a photo first.")
    write(request.path, features)
    return Exported(request.path, len(features))


def _writers() -> Mapping[str, Callable[[Path, Sequence[Feature]], None]]:
    from app.engine.export_gpkg import write_gpkg
    from app.engine.export_kml import write_kml

    return {
        ".geojson": write_feature_collection,
        ".kml": write_kml,
        ".gpkg": write_gpkg,
        ".csv": write_csv,
    }


def features_of(
    locations: Sequence[Location], objects: Sequence[ObjectsFound]
) -> tuple[Feature, ...]:
    """In the order of the answers; each photo's best first."""
    return tuple(
        [feature for location in locations for feature in _of_location(location)]
        + [feature for answer in objects for feature in _of_objects(answer)]
    )


def _of_location(location: Location) -> Iterator[Feature]:
    photo = plain_name(location.query.photo)
    for candidate in location.candidates:
        fields: dict[str, str | float | int] = {
            "photo": photo,
            "tile": candidate.tile,
            "rank": candidate.rank,
            "probability": candidate.probability,
            "calibrated": int(location.confidence.calibrated),
            "score": candidate.score,
            "heading_deg": candidate.heading_deg,
        }
        yield Feature((candidate.position,), {"feature": "candidate", **fields})
        yield Feature(candidate.footprint, {"feature": "footprint", **fields})
    claim = location.query.claim
    if claim is not None:
        told = {"feature": "claim", "photo": photo, "source": plain_name(Path(claim.source))}
        yield Feature((claim.position,), told)


def _of_objects(answer: ObjectsFound) -> Iterator[Feature]:
    photo = plain_name(answer.photo)
    for number, found in enumerate(answer.objects, start=1):
        for box in found.boxes:
            fields = {"photo": photo, **_box_fields(answer, found, box, number)}
            told = {"name": found.name, "source": found.origin}
            fields |= {key: words for key, words in told.items() if words}
            yield Feature(box.polygon, {"feature": "object", **fields})
            yield Feature((box.centre,), {"feature": "centre", **fields})


def _box_fields(
    answer: ObjectsFound, found: FoundObject, box: FoundBox, number: int
) -> dict[str, str | float | int]:
    fields: dict[str, str | float | int] = {
        "tile": answer.references[box.reference].tile,
        "rank": box.rank,
        "click": number,
        "probability": box.probability,
        "calibrated": int(answer.calibrated),
        "score": box.score,
        "click_x": found.click[0],
        "click_y": found.click[1],
        "width_m": box.width_m,
        "height_m": box.height_m,
        "area_m2": box.area_m2,
    }
    if box.error_m is not None:
        fields["error_m"] = box.error_m
    return fields


# --- GeoJSON ------------------------------------------------------------------


def write_feature_collection(path: Path, features: Sequence[Feature]) -> None:
    """RFC 7946."""
    body = {"type": "FeatureCollection", "features": [_geojson(feature) for feature in features]}
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    write_whole(path, text.encode("utf-8"))


def _geojson(feature: Feature) -> dict[str, Any]:
    geometry: dict[str, Any]
    if feature.is_point:
        geometry = {"type": "Point", "coordinates": _lonlat(feature.points[0])}
    else:
        geometry = {"type": "Polygon", "coordinates": [[_lonlat(p) for p in feature.ring]]}
    return {"type": "Feature", "geometry": geometry, "properties": dict(feature.fields)}


def _lonlat(place: LatLon) -> list[float]:
    return [round(place.lon, DIGITS), round(place.lat, DIGITS)]


# --- CSV ----------------------------------------------------------------------


def write_csv(path: Path, features: Sequence[Feature]) -> None:
    """A line a feature: its fields, its position (a polygon's middle), its shape as WKT.

    With the mark by which spreadsheets know UTF-8; text that they would take for a formula
    gets an apostrophe.
    """
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*FIELDS, "lat", "lon", "wkt"])
    for feature in features:
        cells = [_cell(feature.fields.get(name, "")) for name in FIELDS]
        middle = feature.middle
        place = [f"{middle.lat:.{DIGITS}f}", f"{middle.lon:.{DIGITS}f}"]
        writer.writerow([*cells, *place, _wkt(feature)])
    write_whole(path, text.getvalue().encode("utf-8-sig"))


def _cell(value: str | float | int) -> str:
    if not isinstance(value, str):
        return repr(value)
    return f"'{value}" if value.startswith(_FORMULA) else value


def _wkt(feature: Feature) -> str:
    def pair(place: LatLon) -> str:
        return f"{place.lon:.{DIGITS}f} {place.lat:.{DIGITS}f}"

    if feature.is_point:
        return f"POINT ({pair(feature.points[0])})"
    return f"POLYGON (({', '.join(pair(p) for p in feature.ring)}))"
