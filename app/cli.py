"""The command line: the same engine functions as the window, one job a call."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from app import __version__
from app.card import Card, read_card
from app.manifest import read_manifest
from app.messages import (
    BuildGallery,
    EpochDone,
    JobCancelled,
    Locate,
    Location,
    Progress,
    Running,
    Train,
    UserError,
)

if TYPE_CHECKING:
    from app.engine.shelf import Shelf

COMMANDS = ("locate", "gallery", "train", "evaluate", "world", "checkpoint")


def run_command(argv: Sequence[str]) -> int:
    """Do one command; returns the exit code: 0 done, 1 failed as said, 2 bad usage, 130 stopped."""
    args = _parser().parse_args(argv)
    act: Callable[[argparse.Namespace], int] = args.act
    try:
        return act(args)
    except UserError as error:
        print(f"skyfix: {error}\n  {error.hint}".rstrip(), file=sys.stderr)
        return 1
    except (KeyboardInterrupt, JobCancelled):
        print("skyfix: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 0


# --- what can be asked --------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skyfix",
        description="Find where a photo was taken on satellite imagery. "
        "Without a command the window opens.",
    )
    parser.add_argument("--version", action="version", version=f"skyfix {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_locate(commands)
    _add_gallery(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_world(commands)
    _add_checkpoint(commands)
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
    one.set_defaults(act=_locate)


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
    build.set_defaults(act=_gallery_build)
    info = acts.add_parser("info", help="print what a gallery says of itself")
    info.add_argument("gallery", type=Path)
    info.set_defaults(act=_gallery_info)


def _add_train(commands: _Commands) -> None:
    one = commands.add_parser("train", help="train or fine-tune a checkpoint; resumes its run")
    one.add_argument("--config", type=Path, help="a run's config.json; replaces all other options")
    one.add_argument("--run", type=Path, dest="run_dir", help="the run's folder")
    one.add_argument("--data", type=Path, help="a pair folder (skyfix world --pairs)")
    default = Train(Path(), Path())
    one.add_argument("--network", default=default.network)
    one.add_argument("--preset", default=default.preset)
    one.add_argument("--init", type=Path, help="a checkpoint to start from")
    one.add_argument("--epochs", type=_count, default=default.epochs)
    one.add_argument("--batch-size", type=_count, default=default.batch_size)
    one.add_argument("--lr", type=_positive, default=default.lr)
    one.add_argument("--heading-jitter-deg", type=float, default=default.heading_jitter_deg)
    one.add_argument("--neighbour-share", type=_share, default=default.neighbour_share)
    one.add_argument("--tile-size-m", type=_positive, default=default.tile_size_m)
    one.add_argument("--title", default=default.title, help="how the checkpoint is called")
    one.add_argument("--licence", default=default.licence, help="kept in the checkpoint's card")
    one.add_argument("--seed", type=int, default=default.seed)
    one.add_argument("--workers", type=int, default=default.workers)
    one.add_argument("--amp", action="store_true", help="mixed precision (CUDA)")
    _add_device(one)
    one.set_defaults(act=_train)


def _add_evaluate(commands: _Commands) -> None:
    one = commands.add_parser("evaluate", help="measure a checkpoint")
    one.add_argument("--checkpoint", type=Path, required=True)
    one.add_argument("--pairs", type=Path, help="a pair folder: query against all satellites")
    one.add_argument("--split", default="val", help="of the pair folder (val)")
    one.add_argument("--gallery", type=Path, help="with --photos: the gallery to search")
    one.add_argument("--photos", type=Path, help="a folder of photos with truth.csv")
    one.add_argument("--heading", choices=("known", "unknown"), default="unknown")
    one.add_argument("--turns", type=_count, help="for an unknown heading (the checkpoint's)")
    one.add_argument(
        "--keep",
        choices=("metrics", "calibration"),
        help="write the figures (and the fitted temperature) into the checkpoint's card; "
        "galleries that it described must be built again",
    )
    one.add_argument("--json", action="store_true")
    _add_device(one)
    one.set_defaults(act=_evaluate)


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
    one.add_argument("--view", choices=("drone", "street"), default="drone", help="of the pairs")
    one.add_argument("--train-seeds", type=_seeds, default=(), metavar="1-8,11")
    one.add_argument("--val-seeds", type=_seeds, default=(), metavar="101,102")
    one.set_defaults(act=_world)


def _add_checkpoint(commands: _Commands) -> None:
    checkpoint = commands.add_parser("checkpoint", help="show a checkpoint, or import weights")
    acts = checkpoint.add_subparsers(dest="what", required=True)
    info = acts.add_parser("info", help="print a checkpoint's card")
    info.add_argument("checkpoint", type=Path)
    info.set_defaults(act=_checkpoint_info)
    imagenet = acts.add_parser(
        "imagenet", help="ImageNet weights of EfficientNet-Lite0 as a checkpoint to start from"
    )
    imagenet.add_argument("--view", choices=("drone", "street"), default="drone")
    imagenet.add_argument("-o", "--output", type=Path, required=True)
    imagenet.set_defaults(act=_checkpoint_imagenet)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (auto)")


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


# --- what is done -------------------------------------------------------------


def _locate(args: argparse.Namespace) -> int:
    from app.engine.export import table_text, to_json, write_geojson, write_map_html
    from app.engine.locate import locate
    from app.engine.photos import list_photos

    shelf = _shelf(args)
    found = list_photos(args.photos)
    for skipped in found.skipped:
        print(f"skipped {skipped}", file=sys.stderr)
    answers: list[Location] = []
    failed = False
    for photo in found.photos:
        request = Locate(
            photo,
            args.gallery,
            args.checkpoint,
            top_k=args.top_k,
            turns=args.turns,
            use_heading=not args.ignore_heading,
        )
        try:
            with _progress() as report:
                answers.append(locate(request, shelf, report))
        except UserError as error:  # the other photos still run
            failed = True
            print(f"skyfix: {error}\n  {error.hint}", file=sys.stderr)
            continue
        if not args.json:
            print(table_text(answers[-1]), end="\n\n")
    if args.json:
        print(to_json(answers), end="")
    if args.geojson and answers:
        write_geojson(args.geojson, answers)
    if args.map and answers:
        write_map_html(args.map, answers, args.gallery)
    return 1 if failed or not answers else 0


def _gallery_build(args: argparse.Namespace) -> int:
    from app.engine.gallery_build import build_gallery

    request = BuildGallery(
        args.source,
        args.checkpoint,
        args.output,
        tile_size_m=args.tile_size_m,
        overlap=args.overlap,
        licence=args.licence,
        name=args.name,
    )
    checkpoint = _shelf(args).checkpoint(args.checkpoint)
    with _progress() as report:
        built = build_gallery(request, checkpoint, report)
    for line in built.skipped:
        print(f"skipped {line}", file=sys.stderr)
    manifest = built.manifest
    print(
        f"{built.gallery}: {manifest.tiles} tiles of {manifest.tile_size_m:g} m in {manifest.crs}, "
        f"{built.described} described now, {manifest.skipped} skipped"
    )
    return 0


def _gallery_info(args: argparse.Namespace) -> int:
    _print_fields(asdict(read_manifest(args.gallery)))
    return 0


def _train(args: argparse.Namespace) -> int:
    from app.engine.runs import read_config
    from app.engine.training import train

    if args.config:
        request = read_config(args.config.parent if args.config.is_file() else args.config)
    elif args.run_dir and args.data:
        names = set(Train.__dataclass_fields__) & set(vars(args))
        request = Train(**{name: getattr(args, name) for name in names})
    else:
        raise UserError("skyfix train needs --run and --data", "Or --config RUN/config.json.")
    with _progress() as report:
        done = train(request, report)
    print(f"R@1 {done.recall_at_1:.3f} on the held-out pairs; {done.checkpoint}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from app.engine.checkpoints import rewrite_card
    from app.engine.evaluation import evaluate_pairs, evaluate_photos

    shelf = _shelf(args)
    checkpoint = shelf.checkpoint(args.checkpoint)
    with _progress() as report:
        if args.pairs:
            measured = evaluate_pairs(
                checkpoint,
                args.pairs,
                args.split,
                headings=args.heading,
                turns=args.turns,
                report=report,
            )
        elif args.gallery and args.photos:
            measured = evaluate_photos(
                checkpoint,
                shelf.gallery(args.gallery),
                args.photos,
                headings=args.heading,
                turns=args.turns,
                report=report,
            )
        else:
            raise UserError(
                "skyfix evaluate needs data", "Name --pairs, or --gallery together with --photos."
            )
    if args.json:
        print(json.dumps([asdict(metric) for metric in measured.metrics()], indent=1))
    else:
        print(measured.table())
    if args.keep:
        card = replace(checkpoint.card, metrics=measured.metrics())
        if args.keep == "calibration":
            card = replace(card, calibration=measured.calibration())
        rewrite_card(args.checkpoint, card)
    return 0


def _world(args: argparse.Namespace) -> int:
    from app.engine.world import write_pairs
    from app.engine.world_files import write_world

    with _progress() as report:
        if args.pairs is None:
            write_world(
                args.output,
                seed=args.seed,
                size_m=args.size_m,
                gsd_m=args.gsd_m,
                difficulty=args.difficulty,
                drone_photos=args.drone,
                panoramas=args.panoramas,
                perspectives=args.perspectives,
                report=report,
            )
            print(args.output)
            return 0
        if not args.train_seeds or not args.val_seeds:
            raise UserError(
                "Pairs need cities to train on and others to hold out",
                "Name them: --train-seeds 1-8 --val-seeds 101,102.",
            )
        splits: tuple[tuple[Literal["train", "val"], tuple[int, ...]], ...] = (
            ("train", args.train_seeds),
            ("val", args.val_seeds),
        )
        for split, seeds in splits:
            write_pairs(
                args.output,
                view=args.view,
                seeds=seeds,
                pairs_per_world=args.pairs,
                split=split,
                difficulty=args.difficulty,
                report=report,
            )
    print(args.output)
    return 0


def _checkpoint_info(args: argparse.Namespace) -> int:
    card: Card = read_card(args.checkpoint)
    fields = asdict(card)
    metrics = fields.pop("metrics")
    _print_fields(fields)
    for metric in metrics:
        print(f"{metric['name']:>16}  {metric['value']:.4g}  on {metric['data']}")
    return 0


def _checkpoint_imagenet(args: argparse.Namespace) -> int:
    from app.engine.importers import imagenet_lite0_checkpoint

    imagenet_lite0_checkpoint(args.output, query_view=args.view)
    print(args.output)
    return 0


# --- how it is told -----------------------------------------------------------


def _shelf(args: argparse.Namespace) -> "Shelf":
    from app.engine.shelf import Shelf

    return Shelf(device=args.device)


def _print_fields(fields: dict[str, object]) -> None:
    for key, value in fields.items():
        shown = value if isinstance(value, str | int | float) else json.dumps(value, default=str)
        print(f"{key:>16}  {shown}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[Running], None]]:
    """A line on a terminal that is written over; epochs are lines of their own, also in a file."""
    live = sys.stderr.isatty()

    def report(body: Running) -> None:
        match body:
            case Progress() if live:
                share = f"{body.done}/{body.total} " if body.total else ""
                print(f"\r\033[K{share}{body.note}", end="", file=sys.stderr, flush=True)
            case EpochDone():
                clear = "\r\033[K" if live else ""
                print(
                    f"{clear}epoch {body.epoch}  loss {body.loss:.4f}  R@1 {body.recall_at_1:.3f}  "
                    f"{body.images_per_s:.0f} images/s",
                    file=sys.stderr,
                    flush=True,
                )
            case _:
                pass

    try:
        yield report
    finally:
        if live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
