"""What can be asked on the command line: commands, their options, and how these are read."""

import argparse
from pathlib import Path
from typing import TypeAlias

from app import __version__
from app.cli_evaluate import add_evaluate
from app.cli_objects import add_calibrate, add_object
from app.cli_pairs import add_pairs
from app.cli_train import add_runs, add_train
from app.engine.import_projects import BY_NAME
from app.settings import EXECUTIONS


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skyfix",
        description="Find where a photo was taken on satellite imagery. "
        "Without a command the window opens.",
    )
    parser.add_argument("--version", action="version", version=f"skyfix {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_locate(commands)
    add_object(commands, _count)
    _add_gallery(commands)
    add_train(commands)
    add_runs(commands)
    add_evaluate(commands, _count)
    add_pairs(commands)
    _add_world(commands)
    _add_checkpoint(commands)
    _add_doctor(commands)
    return parser


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_locate(commands: _Commands) -> None:
    one = commands.add_parser("locate", help="rank the tiles of a gallery for photos")
    one.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="files or folders")
    one.add_argument("--gallery", type=Path, required=True)
    one.add_argument("--checkpoint", type=Path, required=True)
    one.add_argument("--top-k", type=_count, default=10, help="candidates a photo (10)")
    one.add_argument("--turns", type=_count, help="rotations or rolls tried (the checkpoint's)")
    one.add_argument("--ignore-heading", action="store_true", help="also where the file gives one")
    one.add_argument("--json", action="store_true", help="print JSON in place of tables")
    one.add_argument("--geojson", type=Path, metavar="FILE", help="write the candidates there")
    one.add_argument("--map", type=Path, metavar="FILE.html", help="write a map that needs no net")
    _add_device(one)
    one.set_defaults(act="locate")


def _add_gallery(commands: _Commands) -> None:
    gallery = commands.add_parser("gallery", help="build or show a gallery")
    acts = gallery.add_subparsers(dest="what", required=True)
    build = acts.add_parser("build", help="cut tiles from imagery and describe them")
    build.add_argument("source", type=Path, help="a GeoTIFF/COG, or a folder of geotagged pictures")
    build.add_argument("--checkpoint", type=Path, required=True)
    build.add_argument("--tile-size-m", type=_positive, help="ground size (the checkpoint's)")
    build.add_argument(
        "--overlap", type=_share, default=0.5, help="share of a side, 0 to 0.9 (0.5)"
    )
    build.add_argument("--licence", default="", help="kept in the gallery and shown on the map")
    build.add_argument("--name", default="", help="how the gallery is called (the source's name)")
    build.add_argument("-o", "--output", type=Path, required=True, metavar="GALLERY")
    _add_device(build)
    build.set_defaults(act="gallery build")
    info = acts.add_parser("info", help="print what a gallery says of itself")
    info.add_argument("gallery", type=Path)
    info.set_defaults(act="gallery info")


def _add_world(commands: _Commands) -> None:
    one = commands.add_parser("world", help="make a procedural city, or training pairs of cities")
    one.add_argument("output", type=Path)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--size-m", type=_positive, default=1000.0)
    one.add_argument("--gsd-m", type=_positive, default=0.4)
    one.add_argument("--difficulty", type=_share_to_one, default=0.5, help="0 to 1 (0.5)")
    one.add_argument("--drone", type=int, default=20, help="drone photos")
    one.add_argument("--panoramas", type=int, default=20)
    one.add_argument("--perspectives", type=int, default=0)
    one.add_argument("--pairs", type=_count, help="write a pair folder: this many pairs a city")
    one.add_argument(
        "--objects", type=_count, help="write an object folder: this many clicked objects a city"
    )
    one.add_argument("--view", choices=("drone", "street"), default="drone", help="of the pairs")
    one.add_argument("--train-seeds", type=_seeds, default=(), metavar="1-8,11")
    one.add_argument("--val-seeds", type=_seeds, default=(), metavar="101,102")
    one.set_defaults(act="world")


def _add_checkpoint(commands: _Commands) -> None:
    checkpoint = commands.add_parser("checkpoint", help="show a checkpoint, or import weights")
    acts = checkpoint.add_subparsers(dest="what", required=True)
    info = acts.add_parser("info", help="print a checkpoint's card")
    info.add_argument("checkpoint", type=Path)
    info.set_defaults(act="checkpoint info")
    add_calibrate(acts)
    imagenet = acts.add_parser(
        "imagenet", help="ImageNet weights of EfficientNet-Lite0 as a checkpoint to start from"
    )
    imagenet.add_argument("--view", choices=("drone", "street"), default="drone")
    imagenet.add_argument("-o", "--output", type=Path, required=True)
    imagenet.set_defaults(act="checkpoint imagenet")
    packed = acts.add_parser(
        "pack", help="a copy of half the size: 8-bit weights; its galleries must be built anew"
    )
    packed.add_argument("checkpoint", type=Path)
    packed.add_argument("-o", "--output", type=Path, required=True)
    packed.set_defaults(act="checkpoint pack")
    published = acts.add_parser(
        "import", help="bring a published checkpoint of another project into this program's form"
    )
    published.add_argument("file", type=Path, help=".pth, .pth.tar, .pt or .safetensors")
    published.add_argument(
        "--as", dest="project", choices=("auto", *BY_NAME), default="auto", help="whose it is"
    )
    published.add_argument(
        "-o", "--output", type=Path, help="a .safetensors file (among the user's checkpoints)"
    )
    published.add_argument("--preset", help="network's sizes, where the file does not tell them")
    published.add_argument("--tile-size-m", type=_positive, help="ground size (the data set's)")
    published.add_argument("--title", default="", help="how the checkpoint is called")
    published.set_defaults(act="checkpoint import")


def _add_doctor(commands: _Commands) -> None:
    one = commands.add_parser("doctor", help="check this installation, and say what to do")
    one.add_argument("--json", action="store_true", help="print JSON in place of text")
    instead = one.add_mutually_exclusive_group()
    instead.add_argument(
        "--window",
        action="store_true",
        help="open the window on the demo case, try it, close it, and say what was seen",
    )
    instead.add_argument(
        "--bundle",
        type=Path,
        metavar="FILE.zip",
        help="pack findings, settings and logs for whoever helps, without pictures, names or "
        "paths of home",
    )
    one.add_argument("--device", help="the one to try (the settings')")
    one.add_argument("--backend", choices=EXECUTIONS, help="the one to try (the settings')")
    one.set_defaults(act="doctor")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (auto)")
    parser.add_argument(
        "--backend", choices=EXECUTIONS, default="auto", help="what computes the network (auto)"
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above zero")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above zero")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 0.9:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 0.9")
    return value


def _share_to_one(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _seeds(text: str) -> tuple[int, ...]:
    """``1-3,7`` is 1, 2, 3 and 7."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return tuple(seeds)
