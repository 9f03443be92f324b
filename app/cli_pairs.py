"""``skyfix pairs``: a user's geotagged photos over imagery become training pairs."""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

from app.messages import Report

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_pairs(commands: _Commands) -> None:
    one = commands.add_parser("pairs", help="cut training pairs from own photos over imagery")
    one.add_argument(
        "photos",
        type=Path,
        help="a folder of geotagged photos, or a CSV: query,lat,lon",
    )
    one.add_argument("--imagery", type=Path, required=True, help="a GeoTIFF/COG of the same ground")
    one.add_argument("--tile-size-m", type=float, default=80.0, help="ground size of a tile (80)")
    one.add_argument("--held-out", type=float, default=0.2, help="share held out, by place (0.2)")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    one.set_defaults(act="pairs")


def pairs_command(
    telling: Callable[[], AbstractContextManager[Report]],
    tell_skipped: Callable[[tuple[str, ...]], None],
    args: argparse.Namespace,
) -> int:
    from app.engine.datasets.cut_pairs import cut_pairs

    with telling() as report:
        cut = cut_pairs(
            args.photos,
            args.imagery,
            args.output,
            tile_size_m=args.tile_size_m,
            held_out=args.held_out,
            seed=args.seed,
            report=report,
        )
    tell_skipped(cut.skipped)
    print(
        f"{cut.folder}: {cut.train} pairs to train on, {cut.val} held out, "
        f"{cut.left_out} too near to those left out, {len(cut.skipped)} photos skipped"
    )
    return 0
