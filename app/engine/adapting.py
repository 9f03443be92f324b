"""Training views of one's own area without photos: rendered from its imagery into a pair folder.

The imagery lies on its surface model, or flat; a camera flies over it or stands in it, and what it
sees is altered as sensors alter it. The area is cut into blocks, and a fifth of them are held out.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from rasterio import band
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import from_origin
from rasterio.warp import reproject

from app.card import View
from app.engine.appearance import expose, random_sensor
from app.engine.cameras import Camera, Panorama, aimed
from app.engine.network_start import DEFAULT_TILE_M, Start
from app.engine.raster_files import first_line, open_source, source_crs
from app.engine.rasters import Imagery, open_imagery
from app.engine.views import Scene, make_scene, render, satellite
from app.engine.world import PAIR_COLUMNS, read_rows, write_jpeg, write_rows
from app.engine.writing import write_whole
from app.errors import UserError
from app.messages import Progress, Report, ignore
from app.models.build import spec_of
from app.train_request import Train

MARK = "adapted.json"
COLUMNS = (*PAIR_COLUMNS, "block")
MARGIN_M = 180.0  # seen beyond a block
FINEST_M = 0.25  # a finer scene shows no more at these sizes
LARGEST_BLOCK_M = 400.0
HELD_OUT = 5  # every fifth block
DIFFICULTY = 1.0  # of sensors: photo and imagery never are of one
OPEN_M = 0.6  # a street camera stands where the surface is within this of the lowest around
SATELLITE_PX, DRONE_PX, PANORAMA_PX = 256, 320, (256, 512)
TRIES = 60  # places drawn for a view before its block is given up


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is rendered; a folder holds views of one of these."""

    imagery: str
    imagery_bytes: int
    surface: str
    view: View
    views: int
    tile_size_m: float
    seed: int


@dataclass(frozen=True, slots=True)
class Block:
    """A square of the area, in the imagery's grid."""

    number: int
    left: float
    top: float
    side_m: float
    views: int

    @property
    def split(self) -> str:
        return "val" if self.number % HELD_OUT == HELD_OUT - 1 else "train"


def write_adapted(
    folder: Path,
    *,
    imagery: Path,
    surface: Path | None,
    view: View,
    views: int,
    tile_size_m: float,
    seed: int,
    report: Report = ignore,
) -> None:
    """A pair folder of this area. Goes on where a stopped one ended; what is whole stays as it is.

    Raises UserError for imagery that is too small, and for panoramas without a surface model:
    on flat ground they show nothing.
    """
    if view == "street" and surface is None:
        raise UserError(
            "Panoramas need a surface model: on flat ground they show nothing",
            "Name one with --surface, or adapt a network for drone photos.",
        )
    wanted = Wanted(
        imagery.name,
        imagery.stat().st_size if imagery.is_file() else 0,
        surface.name if surface else "",
        view,
        views,
        tile_size_m,
        seed,
    )
    _claim(folder, wanted)
    rows = read_rows(folder / "pairs.csv")
    there = {row["block"] for row in rows}
    with open_imagery(imagery) as picture:
        blocks = _blocks(picture, wanted)
        for block in blocks:
            if str(block.number) in there:
                continue
            scene = _scene(picture, surface, block)
            for number, row in enumerate(_views(folder, picture, scene, block, wanted)):
                done = sum(b.views for b in blocks[: block.number]) + number
                report(Progress(done, views, "rendering your area"))
                rows.append(row)
            write_rows(folder / "pairs.csv", rows, COLUMNS)
    if {row["split"] for row in rows} != {"train", "val"}:
        raise UserError(
            f"{imagery.name} has too little valid ground to render views of it",
            "Choose imagery of a larger area.",
        )


def adapted(run: Train, start: Start, report: Report = ignore) -> None:
    """Put the views that a run wants into its data folder, if it wants any.

    Raises UserError for a network that finds clicked objects: nobody clicked in these views.
    """
    if run.imagery is None:
        return
    if (spec := spec_of(run.network)).task != "retrieval":
        raise UserError(
            f"{spec.title} learns from clicked objects, and rendered views of imagery have none",
            "Choose a checkpoint that locates photos.",
        )
    write_adapted(
        run.data,
        imagery=run.imagery,
        surface=run.surface,
        view=start.config["query_view"],
        views=run.views,
        tile_size_m=run.tile_size_m or start.tile_size_m or DEFAULT_TILE_M,
        seed=run.seed,
        report=report,
    )


def _claim(folder: Path, wanted: Wanted) -> None:
    """The folder is for these views, or there is trouble."""
    for part in ("query", "satellite"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    mark = folder / MARK
    if not mark.is_file():
        if (folder / "pairs.csv").exists():
            raise UserError(f"{folder} holds other pairs", "Choose another folder for the views.")
        write_whole(mark, json.dumps(asdict(wanted), indent=1).encode())
    elif json.loads(mark.read_text(encoding="utf-8")) != asdict(wanted):
        raise UserError(
            f"{folder} holds views of other imagery, or other ones", "Choose another folder."
        )


def _blocks(picture: Imagery, wanted: Wanted) -> list[Block]:
    """At least five, so that one is held out; tiles stay on the imagery."""
    left, bottom, right, top = picture.bounds
    edge = wanted.tile_size_m / 2
    left, bottom, right, top = left + edge, bottom + edge, right - edge, top - edge
    width, height = right - left, top - bottom
    if width <= 0 or height <= 0 or width * height < HELD_OUT * wanted.tile_size_m**2:
        raise UserError(
            f"{picture.path.name} is too small for tiles of {wanted.tile_size_m:g} m",
            "Choose imagery of a larger area, or smaller tiles.",
        )
    side = min(LARGEST_BLOCK_M, math.sqrt(width * height / (2 * HELD_OUT)))
    columns, lines = max(1, round(width / side)), max(1, round(height / side))
    side = max(width / columns, height / lines)
    spots = [(column, line) for line in range(lines) for column in range(columns)]
    order = np.random.default_rng(wanted.seed).permutation(len(spots))
    return [
        Block(
            number,
            left + min(spots[at][0] * side, max(0.0, width - side)),
            top - min(spots[at][1] * side, max(0.0, height - side)),
            side,
            len(range(number, wanted.views, len(spots))),
        )
        for number, at in enumerate(order)
    ]


def _scene(picture: Imagery, surface: Path | None, block: Block) -> Scene:
    gsd = max(picture.gsd_m, FINEST_M)
    size = math.ceil((block.side_m + 2 * MARGIN_M) / gsd)
    left, top = block.left - MARGIN_M, block.top + MARGIN_M
    rgb, _ = picture.read(
        left=left, top=top, width_m=size * gsd, height_m=size * gsd, size=(size, size)
    )
    heights = None if surface is None else _heights(surface, picture.crs, left, top, gsd, size)
    return make_scene(rgb, gsd_m=gsd, left_m=left, top_m=top, surface=heights)


def _heights(
    path: Path, crs: str, left: float, top: float, gsd_m: float, size: int
) -> Float32[np.ndarray, "size size"]:
    """Metres above the lowest ground of the window; what the model does not know is as low."""
    heights = np.full((size, size), np.nan, np.float32)
    with open_source(path) as source:
        try:
            reproject(
                band(source, 1),
                heights,
                src_crs=source_crs(source, path),
                dst_transform=from_origin(left, top, gsd_m, gsd_m),
                dst_crs=crs,
                dst_nodata=np.nan,
                resampling=Resampling.bilinear,
            )
        except RasterioError as error:
            raise UserError(
                f"{path.name} cannot be read ({first_line(error)})", "Copy it again."
            ) from error
    known = heights[np.isfinite(heights)]
    if not known.size:
        raise UserError(
            f"{path.name} knows no heights in a part of the imagery",
            "Choose a surface model of the same area.",
        )
    lowest = np.float32(np.percentile(known, 1))
    return np.maximum(np.where(np.isfinite(heights), heights - lowest, 0), 0).astype(np.float32)


def _views(
    folder: Path, picture: Imagery, scene: Scene, block: Block, wanted: Wanted
) -> Iterator[dict[str, str]]:
    for number in range(block.views):
        name = f"{block.number:04d}-{number:04d}"
        rng = np.random.default_rng((wanted.seed, block.number, number))
        size_m = float(rng.uniform(0.85, 1.15)) * wanted.tile_size_m
        spot = _spot(picture, scene, block, size_m, rng, street=wanted.view == "street")
        if spot is None:
            continue
        x, y = spot
        look = (
            _street(scene, x, y, rng)
            if wanted.view == "street"
            else _drone(scene, x, y, rng, size_m)
        )
        shot = render(scene, look)
        if isinstance(look, Camera):  # what stands in between hides the point that it aims at
            x, y = (float(v) for v in shot.ground[DRONE_PX // 2, DRONE_PX // 2, :2])
        query = expose(shot.image, random_sensor(rng, DIFFICULTY), rng)
        dx, dy = (float(v) for v in rng.uniform(-0.25, 0.25, 2) * size_m)
        tile = satellite(scene, x=x - dx, y=y - dy, size_m=size_m, size_px=SATELLITE_PX)
        write_jpeg(folder / f"query/{name}.jpg", query)
        seen = expose(tile.image, random_sensor(rng, DIFFICULTY / 2), rng)
        write_jpeg(folder / f"satellite/{name}.jpg", seen)
        place = picture.latlon(x, y)
        yield {
            "query": f"query/{name}.jpg",
            "satellite": f"satellite/{name}.jpg",
            "split": block.split,
            "place": str(block.number * 100_000 + number),
            "lat": f"{place.lat:.7f}",
            "lon": f"{place.lon:.7f}",
            "heading_deg": f"{look.heading_deg:.2f}",
            "view": wanted.view,
            "kind": "panorama" if wanted.view == "street" else "perspective",
            "dx_m": f"{dx:.2f}",
            "dy_m": f"{dy:.2f}",
            "tile_size_m": f"{size_m:.2f}",
            "pitch_deg": f"{look.pitch_deg if isinstance(look, Camera) else 0.0:.2f}",
            "height_m": f"{look.z:.2f}",
            "world": "own",
            "block": str(block.number),
        }


def _spot(
    picture: Imagery, scene: Scene, block: Block, size_m: float, rng: np.random.Generator, *,
    street: bool,
) -> tuple[float, float] | None:  # fmt: skip
    """A place whose surroundings the imagery shows; of a street camera, in the open."""
    for _ in range(TRIES):
        x = block.left + float(rng.uniform(0, block.side_m))
        y = block.top - float(rng.uniform(0, block.side_m))
        _, valid = picture.read(
            left=x - size_m / 2, top=y + size_m / 2, width_m=size_m, height_m=size_m, size=(16, 16)
        )
        if valid.mean() > 0.9 and (not street or _is_open(scene, x, y)):
            return x, y
    return None


def _is_open(scene: Scene, x: float, y: float) -> bool:
    """Nothing within two metres stands above the lowest ground within twenty."""
    near, around = (_patch(scene, x, y, reach_m) for reach_m in (2.0, 20.0))
    return bool(near.max() - around.min() < OPEN_M)


def _patch(scene: Scene, x: float, y: float, reach_m: float) -> Float32[np.ndarray, "h w"]:
    row, column = (scene.top_m - y) / scene.gsd_m, (x - scene.left_m) / scene.gsd_m
    reach = max(1, round(reach_m / scene.gsd_m))
    rows = slice(max(0, int(row) - reach), int(row) + reach + 1)
    columns = slice(max(0, int(column) - reach), int(column) + reach + 1)
    patch: Float32[np.ndarray, "h w"] = scene.surface[rows, columns]
    return patch


def _drone(scene: Scene, x: float, y: float, rng: np.random.Generator, size_m: float) -> Camera:
    """As the demo world's drones fly: nearly half of them look straight down."""
    footprint, fov = size_m * rng.uniform(0.8, 1.25), float(rng.uniform(45, 74))
    down = rng.random() < 0.45
    return aimed(
        x=x,
        y=y,
        z=float(_patch(scene, x, y, scene.gsd_m).mean()),
        away_m=float(footprint / 2 / math.tan(math.radians(fov) / 2)),
        heading_deg=float(rng.uniform(0, 360)),
        pitch_deg=float(rng.uniform(-90, -86) if down else rng.uniform(-86, -50)),
        fov_deg=fov,
        width=DRONE_PX,
        height=DRONE_PX,
    )


def _street(scene: Scene, x: float, y: float, rng: np.random.Generator) -> Panorama:
    height, width = PANORAMA_PX
    z = float(_patch(scene, x, y, 2.0).max()) + float(rng.uniform(1.6, 2.5))
    return Panorama(
        x=x, y=y, z=z, heading_deg=float(rng.uniform(0, 360)), width=width, height=height
    )
