"""The window's map page, built by folium once: ``python -m app.engine.map_page`` writes it.

The page loads nothing but ``skyfix://assets/...``, and its policy says so: ``default-src 'none'``,
with a hash for each inline block that folium writes. So the committed page is the page of exactly
this folium: a test builds it again and compares.
"""

import base64
import hashlib
import re
from pathlib import Path

import folium
from branca.element import Element, Figure

from app import paths

ASSETS = "skyfix://assets"


def page_path() -> Path:
    return paths.resources() / "map" / "map.html"


def build_page() -> str:
    """The page's HTML; the same text for the same folium and branca."""
    page = folium.Map(
        location=[0.0, 0.0],
        zoom_start=2,
        zoom_snap=0.5,  # "fit" at whole zooms can waste three quarters of the view
        tiles=None,
        prefer_canvas=True,
        attribution_control=False,  # Leaflet's own takes HTML; map.js shows text
        control_scale=False,  # folium's shows feet beside metres; map.js adds a metric one
    )
    page._id = "skyfix"  # else random: no two pages alike. map.js finds the map as map_skyfix
    page.default_js = [
        ("leaflet", f"{ASSETS}/leaflet.js"),
        ("jquery", f"{ASSETS}/jquery.js"),
        ("qwebchannel", f"{ASSETS}/qwebchannel.js"),
    ]
    page.default_css = [
        ("leaflet_css", f"{ASSETS}/leaflet.css"),
        ("map_css", f"{ASSETS}/map.css"),
    ]
    figure = page.get_root()
    assert isinstance(figure, Figure)
    figure.title = "Skyfix map"
    # Deferred: it runs when folium's own script, at the end of the page, has made the map.
    figure.header.add_child(Element(f'<script src="{ASSETS}/map.js" defer></script>'), name="js")
    html = "\n".join(line.rstrip() for line in figure.render().splitlines() if line.strip()) + "\n"
    return html.replace("<head>", f"<head>\n    {policy(html)}", 1)


def policy(html: str) -> str:
    """A Content-Security-Policy element that lets in the page's own inline blocks, by hash."""
    scripts = " ".join(_hashes(html, "script"))
    styles = " ".join(_hashes(html, "style"))
    rules = (
        "default-src 'none'",
        f"script-src skyfix: {scripts}",
        f"style-src skyfix: {styles}",
        "img-src skyfix: data:",  # data: is Leaflet's empty picture for a tile it lets go
        "base-uri 'none'",
        "form-action 'none'",
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}"/>'


def _hashes(html: str, tag: str) -> list[str]:
    blocks: list[str] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
    digests = (hashlib.sha256(block.encode("utf-8")).digest() for block in blocks)
    return [f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests]


def main() -> None:
    path = page_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(build_page(), encoding="utf-8", newline="\n")
    partial.replace(path)


if __name__ == "__main__":
    main()
