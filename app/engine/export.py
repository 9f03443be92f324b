"""Answers as files that other programs read: GeoJSON, JSON, a table, a map page.

Positions are WGS84. Numbers are written with a point and without units whatever the locale.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.engine.checkpoints import write_whole
from app.engine.confidence import area_text, distance_text
from app.geo import LatLon
from app.messages import Candidate, Location

DEGREE_DIGITS = 7  # about a centimetre


def write_geojson(path: Path, locations: Sequence[Location]) -> None:
    """RFC 7946: per candidate a point and its tile's outline, per claim a point.

    The property ``feature`` tells them apart: candidate, footprint or claim. Raises UserError
    where the file cannot be written; what was there stays then.
    """
    features = [feature for location in locations for feature in _features(location)]
    collection = {"type": "FeatureCollection", "features": features}
    write_whole(path, json_text(collection).encode("utf-8"))


def write_map_html(path: Path, locations: Sequence[Location], gallery: Path) -> None:
    """One self-contained page with the gallery's own basemap. Raises UserError."""
    from app.engine.map_html import map_page  # folium takes a while to import

    write_whole(path, map_page(locations, gallery).encode("utf-8"))


def to_json(locations: Sequence[Location]) -> str:
    """Everything in the answers, for scripts."""
    return json_text([location_fields(location) for location in locations])


def location_fields(location: Location) -> dict[str, Any]:
    fields: dict[str, Any] = plain(asdict(location))
    fields["claim_distance_m"] = location.claim_distance_m
    return fields


def table_text(location: Location, *, rows: int | None = None) -> str:
    """For a terminal: the photo, its ranked tiles, the confidence and its reasons, the claim."""
    lines = [plain_name(location.query.photo), _HEADER]
    shown = location.candidates[:rows]
    lines += [_row(candidate) for candidate in shown]
    lines.append(confidence_text(location))
    lines += [f"  - {reason}" for reason in location.confidence.reasons]
    claim, away = location.query.claim, location.claim_distance_m
    if claim is not None and away is not None:
        lines.append(
            f"Claim of the file, not used ({claim.source}): {claim.position}, "
            f"{distance_text(away)} from rank 1"
        )
    return "\n".join(lines) + "\n"


def confidence_text(location: Location) -> str:
    sure = location.confidence
    kind = "" if sure.calibrated else " (not calibrated)"
    return (
        f"Within {distance_text(sure.radius_m)} of rank 1 with probability "
        f"{sure.best_probability:.2f}{kind}; 90 % of it on {area_text(sure.area_90_m2)}"
    )


def plain_name(path: Path) -> str:
    """A path fit for a terminal or a page: no control characters, no undecodable bytes."""
    decodable = str(path).encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "?" for c in decodable)


_HEADER = f"{'rank':>4}  {'score':>7}  {'prob':>7}  {'lat':>11}  {'lon':>12}  {'heading':>7}  tile"


def _row(candidate: Candidate) -> str:
    place = candidate.position
    return (
        f"{candidate.rank:>4}  {candidate.score:>7.4f}  {candidate.probability:>7.4f}  "
        f"{place.lat:>11.6f}  {place.lon:>12.6f}  {candidate.heading_deg:>7.0f}  {candidate.tile}"
    )


# --- GeoJSON ----------------------------------------------------------------


def _features(location: Location) -> list[dict[str, Any]]:
    photo = plain_name(location.query.photo)
    features: list[dict[str, Any]] = []
    for candidate in location.candidates:
        properties = {
            "photo": photo,
            "rank": candidate.rank,
            "score": round(candidate.score, 6),
            "probability": round(candidate.probability, 6),
            "calibrated": location.confidence.calibrated,
            "heading_deg": round(candidate.heading_deg, 2),
            "tile": candidate.tile,
        }
        point = {"type": "Point", "coordinates": _lonlat(candidate.position)}
        features.append(_feature("candidate", point, properties))
        # Corners come clockwise; RFC 7946 wants an outer ring counterclockwise, and closed.
        ring = [_lonlat(corner) for corner in reversed(candidate.footprint)]
        outline = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        features.append(_feature("footprint", outline, properties))
    claim = location.query.claim
    if claim is not None:
        told = {
            "photo": photo,
            "source": claim.source,
            "taken": claim.taken,
            "distance_to_rank_1_m": round(location.claim_distance_m or 0.0, 1),
        }
        point = {"type": "Point", "coordinates": _lonlat(claim.position)}
        features.append(_feature("claim", point, told))
    return features


def _feature(kind: str, geometry: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"feature": kind, **properties},
    }


def _lonlat(place: LatLon) -> list[float]:
    return [round(place.lon, DEGREE_DIGITS), round(place.lat, DEGREE_DIGITS)]


# --- JSON -------------------------------------------------------------------


def json_text(body: Any) -> str:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    return text.encode("utf-8", "replace").decode("utf-8")  # file names need not be Unicode


def plain(value: Any) -> Any:
    """Paths as text, tuples as lists, and so on down."""
    match value:
        case Path():
            return str(value)
        case dict():
            return {key: plain(part) for key, part in value.items()}
        case list() | tuple():
            return [plain(part) for part in value]
        case _:
            return value
