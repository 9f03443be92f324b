"""Findings as KML 2.2 (OGC 07-147r2), for Google Earth and its like."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as Tree

from app.engine.export_found import DIGITS, Feature
from app.engine.writing import write_whole
from app.geo import LatLon

_NAMESPACE = "http://www.opengis.net/kml/2.2"
_COLOURS = {  # aabbggrr
    "candidate": "ff2f7de1",
    "footprint": "ff2f7de1",
    "claim": "ff8a8a8a",
    "object": "ff3ecf5a",
    "centre": "ff3ecf5a",
}


def write_kml(path: Path, features: Sequence[Feature]) -> None:
    """A folder a photo, a placemark a feature, all fields in its extended data."""
    root = Tree.Element("kml", xmlns=_NAMESPACE)
    document = Tree.SubElement(root, "Document")
    _text(document, "name", path.stem)
    for kind, colour in _COLOURS.items():
        _style(document, kind, colour)
    folders: dict[str, Tree.Element] = {}
    for feature in features:
        photo = str(feature.fields["photo"])
        if photo not in folders:
            folders[photo] = Tree.SubElement(document, "Folder")
            _text(folders[photo], "name", Path(photo).name)
        _placemark(folders[photo], feature)
    Tree.indent(root)
    write_whole(path, Tree.tostring(root, encoding="utf-8", xml_declaration=True))


def _style(document: Tree.Element, kind: str, colour: str) -> None:
    style = Tree.SubElement(document, "Style", id=kind)
    _text(Tree.SubElement(style, "IconStyle"), "color", colour)
    line = Tree.SubElement(style, "LineStyle")
    _text(line, "color", colour)
    _text(line, "width", "2")
    _text(Tree.SubElement(style, "PolyStyle"), "fill", "0")


def _placemark(folder: Tree.Element, feature: Feature) -> None:
    kind = str(feature.fields["feature"])
    mark = Tree.SubElement(folder, "Placemark")
    _text(mark, "name", _name(feature))
    _text(mark, "styleUrl", f"#{kind}")
    extended = Tree.SubElement(mark, "ExtendedData")
    for name, value in feature.fields.items():
        field = Tree.SubElement(extended, "Data", name=name)
        _text(field, "value", value if isinstance(value, str) else repr(value))
    if feature.is_point:
        _text(Tree.SubElement(mark, "Point"), "coordinates", _lonlat(feature.points[0]))
        return
    polygon = Tree.SubElement(mark, "Polygon")
    ring = Tree.SubElement(Tree.SubElement(polygon, "outerBoundaryIs"), "LinearRing")
    _text(ring, "coordinates", " ".join(_lonlat(place) for place in feature.ring))


def _name(feature: Feature) -> str:
    fields = feature.fields
    match fields["feature"]:
        case "claim":
            return "claim of the file"
        case "object" | "centre":
            return str(fields.get("name") or f"object {fields['click']}, rank {fields['rank']}")
        case _:
            return f"rank {fields['rank']}, tile {fields['tile']}"


def _text(parent: Tree.Element, name: str, text: str) -> None:
    Tree.SubElement(parent, name).text = text


def _lonlat(place: LatLon) -> str:
    return f"{place.lon:.{DIGITS}f},{place.lat:.{DIGITS}f}"
