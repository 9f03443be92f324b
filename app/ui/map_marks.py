"""What both maps draw: colours of ranks, a pin's words, the heading's wedge, the fitting view."""

import math
from dataclasses import dataclass

from app.geo import EARTH_RADIUS_M, Area, LatLon
from app.messages import Candidate, Claim
from app.ui.map_tiles import Basemap

BEST_COLOUR = "#d55e00"  # vermilion of Okabe and Ito: apart from every blue for all kinds of sight
RAMP_END = 20  # the rank from which on all pins are light
RAMP_DARK, RAMP_LIGHT = (8, 64, 129), (204, 225, 242)  # one hue: lightness alone tells the order
WEDGE_HALF_DEG = 22.0
OBJECT_COLOUR, OBJECT_PICKED = "#00c896", "#ffd400"  # clicked objects: no colour of the candidates


@dataclass(frozen=True, slots=True)
class Ground:
    """What lies under the pins."""

    basemap: Basemap | None = None
    area: Area | None = None  # of the gallery
    attribution: str = ""


@dataclass(frozen=True, slots=True)
class ObjectMark:
    """A clicked object on the ground."""

    number: int
    polygon: tuple[LatLon, ...]
    centre: LatLon
    lines: tuple[str, ...]  # of its tooltip
    is_selected: bool

    @property
    def colour(self) -> str:
        return OBJECT_PICKED if self.is_selected else OBJECT_COLOUR


def rank_colour(rank: int, count: int) -> str:
    """``#rrggbb`` of a pin: rank 1 vermilion, the others from dark to light blue."""
    if rank == 1:
        return BEST_COLOUR
    share = min(1.0, (rank - 2) / max(1, min(count, RAMP_END) - 2))
    mixed = (
        round(dark + share * (light - dark))
        for dark, light in zip(RAMP_DARK, RAMP_LIGHT, strict=True)
    )
    return "#" + "".join(f"{part:02x}" for part in mixed)


def ink_on(colour: str) -> str:
    """Black or white, whichever is read better on ``#rrggbb`` (relative luminance of WCAG 2)."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"


def length_text(metres: float) -> str:
    """``"85 m"``, ``"1.2 km"``, ``"340 km"``."""
    if metres < 1000:
        return f"{metres:.0f} m"
    return f"{metres / 1000:.1f} km" if metres < 100_000 else f"{metres / 1000:,.0f} km"


def candidate_lines(candidate: Candidate) -> tuple[str, ...]:
    """A pin's tooltip, line by line, as plain text."""
    return (
        f"{candidate.rank}: {candidate.tile}",
        f"score {candidate.score:.3f}, probability {candidate.probability:.1%}",
        str(candidate.position),
    )


def claim_lines(claim: Claim, candidates: tuple[Candidate, ...]) -> tuple[str, ...]:
    lines = [f"The photo's own claim ({claim.source})", str(claim.position)]
    if claim.taken:
        lines.append(f"taken {claim.taken}")
    if candidates:
        away = claim.position.metres_to(candidates[0].position)
        lines.append(f"{length_text(away)} from rank {candidates[0].rank}")
    return tuple(lines)


def heading_wedge(candidate: Candidate) -> tuple[LatLon, ...]:
    """A sector from the tile's centre towards the query's heading; empty where none is known."""
    if not math.isfinite(candidate.heading_deg) or not candidate.footprint:
        return ()
    reach = 0.9 * min(candidate.position.metres_to(corner) for corner in candidate.footprint)
    sweep = [candidate.heading_deg + WEDGE_HALF_DEG * i / 4 for i in range(-4, 5)]
    return (candidate.position, *(_towards(candidate.position, b, reach) for b in sweep))


def _towards(start: LatLon, bearing_deg: float, metres: float) -> LatLon:
    """On the flat, which is exact enough over a tile; never past a pole."""
    bearing, scale = math.radians(bearing_deg), math.degrees(metres / EARTH_RADIUS_M)
    lat = start.lat + scale * math.cos(bearing)
    lon = start.lon + scale * math.sin(bearing) / max(0.01, math.cos(math.radians(start.lat)))
    return LatLon(max(-90.0, min(90.0, lat)), max(-180.0, min(180.0, lon)))


def best_view(
    ground: Ground, candidates: tuple[Candidate, ...], claim: Claim | None
) -> Area | None:
    """What "fit to candidates" shows; a claim that lies far off does not stretch the view."""
    places = [corner for c in candidates for corner in (c.position, *c.footprint)]
    if not places:
        return ground.area
    view = _around(places)
    if claim is not None:
        wide = _around([*places, claim.position])
        diagonal = LatLon(view.south, view.west).metres_to(LatLon(view.north, view.east))
        grown = LatLon(wide.south, wide.west).metres_to(LatLon(wide.north, wide.east))
        if grown <= 2 * diagonal:
            return wide
    return view


def object_view(mark: ObjectMark) -> Area:
    """What "show the object" shows: some of its surroundings too."""
    area = _around(list(mark.polygon))
    up, across = area.north - area.south, area.east - area.west
    return Area(area.south - up, area.west - across, area.north + up, area.east + across)


def _around(places: list[LatLon]) -> Area:
    lats, lons = [p.lat for p in places], [p.lon for p in places]
    return Area(min(lats), min(lons), max(lats), max(lons))
