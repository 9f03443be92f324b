"""The answer as one HTML file that opens anywhere and asks no host for anything.

folium builds the page; Leaflet, jQuery and the imagery are written into it. Every text from a
file or a photo is encoded character by character: folium puts popups into JavaScript as they are.
"""

import base64
import hashlib
import math
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import folium
import numpy as np
from branca.element import Element, Figure
from PIL import Image

from app.engine.confidence import distance_text
from app.engine.export import confidence_text, plain_name
from app.errors import UserError
from app.geo import LatLon
from app.manifest import read_manifest
from app.messages import Candidate, Claim, Location

BASEMAP_NAME = "basemap.mbtiles"
MAX_BASEMAP_SIDE = 2048  # px
TILE_PX = 256
MAX_TILES = (MAX_BASEMAP_SIDE // TILE_PX) ** 2
MAX_ZOOM = 22
BASEMAP_QUALITY = 80

BEST_COLOUR = "#d55e00"  # vermilion of Okabe and Ito: apart from every blue for all kinds of sight
RAMP_DARK, RAMP_LIGHT = (8, 64, 129), (204, 225, 242)  # one hue: lightness alone tells the order
CLAIM_COLOUR = "#f0e442"

_LEAFLET = ("js_lib_leaflet", "static/js_lib_leaflet")
_JQUERY = ("xstatic.pkg.jquery", "data")


@dataclass(frozen=True, slots=True)
class Basemap:
    """Imagery as one picture in web Mercator."""

    data_uri: str
    south_west: LatLon
    north_east: LatLon


def map_page(locations: Sequence[Location], gallery: Path) -> str:
    """The page's HTML. Raises UserError where the gallery cannot be read."""
    manifest = read_manifest(gallery)
    area = manifest.area
    page = folium.Map(
        location=[area.centre.lat, area.centre.lon],
        tiles=None,
        max_zoom=MAX_ZOOM,
        control_scale=True,
        attribution_control=False,  # Leaflet's links to its own site; the licence is in the panel
    )
    page.default_js = [("leaflet", "inline:leaflet.js"), ("jquery", "inline:jquery.min.js")]
    page.default_css = [("leaflet_css", "inline:leaflet.css")]
    basemap = read_basemap(gallery / BASEMAP_NAME)
    if basemap is not None:
        _add_basemap(page, basemap)
    corners = [LatLon(area.south, area.west), LatLon(area.north, area.east)]
    for location in locations:
        _add_location(page, location)
        corners += [c.position for c in location.candidates]
        corners += [location.query.claim.position] if location.query.claim else []
    if len(locations) > 1:
        folium.LayerControl(collapsed=False).add_to(page)
    lats, lons = [c.lat for c in corners], [c.lon for c in corners]
    page.fit_bounds([[min(lats), min(lons)], [max(lats), max(lons)]])
    figure = page.get_root()
    assert isinstance(figure, Figure)
    figure.title = "Skyfix"
    figure.html.add_child(Element(_panel(locations, manifest.name, manifest.licence)))
    return _sealed(figure.render())


# --- what is on the map -----------------------------------------------------


def _add_location(page: folium.Map, location: Location) -> None:
    group = folium.FeatureGroup(name=escaped(plain_name(Path(location.query.photo.name))))
    count = len(location.candidates)
    for candidate in reversed(location.candidates):  # rank 1 last: on top
        colour = rank_colour(candidate.rank, count)
        folium.Polygon(
            [(corner.lat, corner.lon) for corner in candidate.footprint],
            color=colour,
            weight=3 if candidate.rank == 1 else 1,
            fill=False,
        ).add_to(group)
        folium.CircleMarker(
            (candidate.position.lat, candidate.position.lon),
            radius=9 if candidate.rank == 1 else 6,
            color="#ffffff",
            weight=2,
            fill=True,
            fill_color=colour,
            fill_opacity=1.0,
            popup=_popup(_candidate_lines(candidate, location)),
        ).add_to(group)
    if location.query.claim is not None:
        claim = location.query.claim
        folium.CircleMarker(
            (claim.position.lat, claim.position.lon),
            radius=7,
            color="#000000",
            weight=2,
            fill=True,
            fill_color=CLAIM_COLOUR,
            fill_opacity=1.0,
            popup=_popup(_claim_lines(claim, location)),
        ).add_to(group)
    group.add_to(page)


def _add_basemap(page: folium.Map, basemap: Basemap) -> None:
    overlay = folium.raster_layers.ImageOverlay(
        image=np.zeros((1, 1)),  # replaced below: folium takes a data URI for a file's name
        bounds=[
            [basemap.south_west.lat, basemap.south_west.lon],
            [basemap.north_east.lat, basemap.north_east.lon],
        ],
        control=False,
        name="imagery",
    )
    overlay.url = basemap.data_uri
    overlay.add_to(page)


def _candidate_lines(candidate: Candidate, location: Location) -> tuple[str, ...]:
    kind = "" if location.confidence.calibrated else " (not calibrated)"
    return (
        f"rank {candidate.rank}: {candidate.tile}",
        plain_name(Path(location.query.photo.name)),
        f"score {candidate.score:.4f}",
        f"probability {candidate.probability:.4f}{kind}",
        f"heading {candidate.heading_deg:.0f}°",
        str(candidate.position),
    )


def _claim_lines(claim: Claim, location: Location) -> tuple[str, ...]:
    away = claim.position.metres_to(location.best.position)
    return (
        "claim of the photo's own metadata, not used",
        plain_name(Path(location.query.photo.name)),
        claim.source,
        str(claim.position),
        f"{distance_text(away)} from rank 1",
    )


def _popup(lines: Sequence[str]) -> folium.Popup:
    return folium.Popup("<br>".join(escaped(line) for line in lines), max_width=320)


def _panel(locations: Sequence[Location], gallery: str, licence: str) -> str:
    """What the page shows, whose imagery it is, and how sure each answer is."""
    rows = []
    if licence:
        rows.append(f"imagery: {escaped(licence)}")
    for location in locations:
        rows.append(f"<b>{escaped(plain_name(Path(location.query.photo.name)))}</b>")
        rows.append(escaped(confidence_text(location)))
        rows += [f"&#8211; {escaped(reason)}" for reason in location.confidence.reasons]
    head = f"<summary><b>Skyfix</b> {escaped(gallery)}</summary>"
    body = f'<details class="skyfix-panel" open>{head}{"<br>".join(rows)}</details>'
    return f"{body}<style>{_PANEL_CSS}</style>"


_PANEL_CSS = (
    ".skyfix-panel{position:fixed;right:10px;bottom:10px;z-index:1000;max-width:340px;"
    "max-height:40vh;overflow:auto;padding:8px 10px;background:#fffffff0;color:#222;"
    "font:13px/1.4 sans-serif;border-radius:4px;box-shadow:0 1px 4px #0006}"
)


def rank_colour(rank: int, count: int) -> str:
    """``#rrggbb``: rank 1 vermilion, the others from dark to light blue, as in the window."""
    if rank == 1:
        return BEST_COLOUR
    share = (rank - 2) / max(1, count - 2)
    parts = (round(d + share * (li - d)) for d, li in zip(RAMP_DARK, RAMP_LIGHT, strict=True))
    return "#" + "".join(f"{part:02x}" for part in parts)


def escaped(text: str) -> str:
    """Safe as HTML, inside a JavaScript template literal and inside a Jinja template.

    Letters, digits and a few signs stand for themselves; all else is a character reference.
    """
    return "".join(c if c.isalnum() or c in " .,:;-_%°" else f"&#{ord(c)};" for c in text)


# --- the basemap ------------------------------------------------------------


def read_basemap(path: Path) -> Basemap | None:
    """The finest zoom of an MBTiles file that fits into one picture. None where there is none."""
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as tiles:
            chosen = _finest_zoom(tiles)
            return None if chosen is None else _mosaic(tiles, *chosen)
    except (sqlite3.Error, OSError, ValueError) as error:
        raise UserError(
            f"The basemap {path} is damaged ({error})",
            "Build the gallery again, or restore the file.",
        ) from error


def _finest_zoom(tiles: sqlite3.Connection) -> tuple[int, int, int, int, int] | None:
    """Zoom, and its first and last column and row (rows count from the south)."""
    found = tiles.execute(
        "SELECT zoom_level, MIN(tile_column), MAX(tile_column), MIN(tile_row), MAX(tile_row)"
        " FROM tiles GROUP BY zoom_level ORDER BY zoom_level DESC"
    ).fetchall()
    for zoom, left, right, bottom, top in found:
        side = max(right - left, top - bottom) + 1
        if side * TILE_PX <= MAX_BASEMAP_SIDE:
            return zoom, left, right, bottom, top
    return None


def _mosaic(
    tiles: sqlite3.Connection, zoom: int, left: int, right: int, bottom: int, top: int
) -> Basemap:
    size = ((right - left + 1) * TILE_PX, (top - bottom + 1) * TILE_PX)
    picture = Image.new("RGBA", size)
    rows = tiles.execute(
        "SELECT tile_column, tile_row, tile_data FROM tiles WHERE zoom_level = ? LIMIT ?",
        (zoom, MAX_TILES),
    )
    for column, row, content in rows:
        with Image.open(BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as tile:
            if tile.size != (TILE_PX, TILE_PX):
                raise ValueError(f"a tile of {tile.size[0]} x {tile.size[1]} pixels")
            at = ((column - left) * TILE_PX, (top - row) * TILE_PX)
            picture.paste(tile.convert("RGBA"), at)
    file = BytesIO()
    picture.save(file, "WEBP", quality=BASEMAP_QUALITY)
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return Basemap(
        f"data:image/webp;base64,{encoded}",
        south_west=_corner(left, bottom, zoom),
        north_east=_corner(right + 1, top + 1, zoom),
    )


def _corner(column: int, row: int, zoom: int) -> LatLon:
    """South-west corner of a tile; ``row`` counts from the south."""
    across = 1 << zoom
    northing = math.pi * (2 * row / across - 1)
    return LatLon(math.degrees(math.atan(math.sinh(northing))), column / across * 360.0 - 180.0)


# --- sealing the page -------------------------------------------------------


def _sealed(html: str) -> str:
    """With scripts and styles written in, and a policy under which nothing else may load."""
    html = html.replace(
        '<link rel="stylesheet" href="inline:leaflet.css"/>', f"<style>{_leaflet_css()}</style>"
    )
    for name, where in (("leaflet.js", _LEAFLET), ("jquery.min.js", _JQUERY)):
        script = _asset(where, name).decode("utf-8")
        script = re.sub(r"//# sourceMappingURL=\S*", "", script)
        html = html.replace(f'<script src="inline:{name}"></script>', f"<script>{script}</script>")
    if "inline:" in html:
        raise RuntimeError("this folium writes its links in another way")
    return html.replace("<head>", f"<head>\n{_policy(html)}", 1)


def _policy(html: str) -> str:
    """Scripts by hash; styles inline, since folium's popups carry a style attribute."""
    blocks: list[str] = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digests = (hashlib.sha256(block.encode("utf-8")).digest() for block in blocks)
    hashes = " ".join(f"'sha256-{base64.b64encode(d).decode('ascii')}'" for d in digests)
    rules = (
        "default-src 'none'",
        f"script-src {hashes}",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'


def _leaflet_css() -> str:
    css = _asset(_LEAFLET, "leaflet.css").decode("utf-8")

    def inline(match: re.Match[str]) -> str:
        encoded = base64.b64encode(_asset(_LEAFLET, match[1])).decode("ascii")
        return f"url(data:image/png;base64,{encoded})"

    return re.sub(r"url\((images/[\w.-]+\.png)\)", inline, css)


def _asset(where: tuple[str, str], name: str) -> bytes:
    """A file of a package, found without importing it (one of them would want Django)."""
    package, folder = where
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"The package {package} is not installed", "Install Skyfix again with all its parts."
        )
    return (Path(spec.submodule_search_locations[0]) / folder / name).read_bytes()
