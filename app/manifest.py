"""What a gallery folder says of itself: ``manifest.json``. Plain data, read by window and engine.

A gallery folder holds::

    manifest.json      this; written last, so a folder without it is not a gallery
    tiles.gpkg         one polygon a tile, in the gallery's CRS
    descriptors.npy    float16 [tiles, descriptor], unit rows, row i = tile i
    thumbnails/*.jpg   one a tile
    basemap.mbtiles    the imagery as web-Mercator tiles, for the map (rasters only)
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from app.errors import UserError
from app.geo import Area

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    name: str
    source: str  # absolute path, or relative to the gallery's folder (shipped and moved galleries)
    source_kind: str  # "raster" or "pictures"
    licence: str
    crs: str  # of tiles.gpkg: "EPSG:32631"; what the tile centres x, y are in
    gsd_m: float  # of the source
    tile_size_m: float
    overlap: float
    tiles: int
    descriptor: int
    checkpoint: str  # its identity, see card.identity_of
    checkpoint_title: str
    query_view: str
    area: Area
    created: str  # ISO 8601, UTC
    code_version: str
    skipped: int = 0
    files: Mapping[str, str] = field(default_factory=dict)  # name -> SHA-256; thumbnails left out

    def source_in(self, folder: Path) -> Path:
        """The imagery that the gallery in ``folder`` was built from; it may have moved."""
        path = Path(self.source)
        return path if path.is_absolute() else (folder / path).resolve()


def manifest_to_json(manifest: Manifest) -> str:
    body = {"format": MANIFEST_FORMAT, **asdict(manifest)}
    return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_NAME
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = raw.pop("format", None)
        if version != MANIFEST_FORMAT:
            raise UserError(
                f"The gallery {folder.name} has format {version}; "
                f"this Skyfix reads format {MANIFEST_FORMAT}",
                "Install a newer Skyfix, or build the gallery again.",
            )
        known = {f.name for f in fields(Manifest)}
        raw = {key: value for key, value in raw.items() if key in known}
        raw["area"] = Area(**raw["area"])
        return Manifest(**raw)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is not a finished gallery (it has no {MANIFEST_NAME})",
            "Choose another folder, or build the gallery; an interrupted build goes on "
            "where it stopped.",
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({error})", "Build the gallery again, or restore the file."
        ) from error
