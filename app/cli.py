"""The command line: the same engine functions as the window, one job a call."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Literal

from app import cli_evaluate, cli_objects, cli_pairs, cli_train
from app.card import Card, read_card
from app.cli_parser import make_parser
from app.manifest import read_manifest
from app.messages import (
    BuildGallery,
    DeviceChanged,
    Doctor,
    EpochDone,
    ImportCheckpoint,
    JobCancelled,
    Locate,
    Location,
    Progress,
    Report,
    Running,
    UserError,
    ignore,
)

if TYPE_CHECKING:
    from app.engine.shelf import Shelf

COMMANDS = (
    "locate", "object", "gallery", "train", "runs", "evaluate", "pairs", "world", "checkpoint",
    "doctor",
)  # fmt: skip


def run_command(argv: Sequence[str]) -> int:
    """Do one command; returns the exit code: 0 done, 1 failed as said, 2 bad usage, 130 stopped."""
    args = make_parser().parse_args(argv)
    try:
        return ACTS[args.act](args)
    except UserError as error:
        print(f"skyfix: {error}\n  {error.hint}".rstrip(), file=sys.stderr)
        return 1
    except (KeyboardInterrupt, JobCancelled):
        print("skyfix: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 0


# --- what is done -------------------------------------------------------------


def _locate(args: argparse.Namespace) -> int:
    from app.engine.export import table_text, to_json, write_geojson, write_map_html
    from app.engine.locate import locate
    from app.engine.photos import list_photos

    shelf = _shelf(args)
    found = list_photos(args.photos)
    _tell_skipped([f"{skipped.path}: {skipped.reason}" for skipped in found.skipped])
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
                shelf.sharing.tell = report
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
    with _progress() as report:
        checkpoint = _shelf(args, report).checkpoint(args.checkpoint)
        built = build_gallery(request, checkpoint, report)
    manifest = built.manifest
    _tell_skipped(built.skipped, total=manifest.skipped)
    print(
        f"{built.gallery}: {manifest.tiles} tiles of {manifest.tile_size_m:g} m in {manifest.crs}, "
        f"{built.described} described now, {manifest.skipped} skipped"
    )
    return 0


def _gallery_info(args: argparse.Namespace) -> int:
    _print_fields(asdict(read_manifest(args.gallery)))
    return 0


def _world(args: argparse.Namespace) -> int:
    from app.engine.world_files import write_world

    with _progress() as report:
        if args.pairs is None and args.objects is None:
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
        else:
            _world_pairs(args, report)
    print(args.output)
    return 0


def _world_pairs(args: argparse.Namespace, report: Callable[[Running], None]) -> None:
    from app.engine.world import write_pairs
    from app.engine.world_objects import write_object_pairs

    if args.pairs and args.objects:
        raise UserError("--pairs and --objects make different folders", "Ask for one at a time.")
    if not args.train_seeds or not args.val_seeds:
        raise UserError(
            "Pairs need cities to train on and others to hold out",
            "Name them: --train-seeds 1-8 --val-seeds 101,102.",
        )
    write = (
        partial(write_object_pairs, objects_per_world=args.objects)
        if args.objects
        else partial(write_pairs, pairs_per_world=args.pairs)
    )
    splits: tuple[tuple[Literal["train", "val"], tuple[int, ...]], ...] = (
        ("train", args.train_seeds),
        ("val", args.val_seeds),
    )
    for split, seeds in splits:
        write(
            args.output,
            view=args.view,
            seeds=seeds,
            split=split,
            difficulty=args.difficulty,
            report=report,
        )


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


def _checkpoint_pack(args: argparse.Namespace) -> int:
    from app.engine.packing import pack_checkpoint

    done = pack_checkpoint(args.checkpoint, args.output)
    print(f"{done.path}: {done.bytes_before / 1e6:.2f} MB to {done.bytes_after / 1e6:.2f} MB")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    if args.window:
        from app.ui.selftest import checks_json, checks_text, try_window

        checks = try_window()
        print(checks_json(checks) if args.json else checks_text(checks), end="")
        return 0 if all(check.passed for check in checks) else 1
    from app.engine.doctor import examine
    from app.engine.support_bundle import diagnosis_json

    with _progress() as report:
        diagnosis = examine(Doctor(args.bundle), args.device, args.backend, report=report)
    print(diagnosis_json(diagnosis) if args.json else diagnosis.text(), end="")
    return 0 if diagnosis.is_well else 1


def _checkpoint_import(args: argparse.Namespace) -> int:
    from app.engine.importers import import_checkpoint

    request = ImportCheckpoint(
        args.file,
        output=args.output,
        project=args.project,
        preset=args.preset,
        tile_size_m=args.tile_size_m,
        title=args.title,
    )
    with _progress() as report:
        done = import_checkpoint(request, report)
    card = done.card
    sizes = ", ".join(f"{view} {h} x {w}" for view, (h, w) in card.sizes.items())
    beside = ", ".join(done.ignored) or "nothing"
    _print_fields(
        {
            "project": done.project,
            "found": done.found,
            "data": done.data,
            "keys": f"{done.used} used, {len(done.dropped)} dropped; beside them {beside}",
            "network": f"{card.network} ({done.preset}), descriptor {card.descriptor}",
            "sizes": f"{sizes} pixels; tiles of {card.tile_size_m:g} m",
            "notes": card.notes,
            "licence": card.licence,
            "checkpoint": str(done.checkpoint),
        }
    )
    return 0


# --- how it is told -----------------------------------------------------------


def _shelf(args: argparse.Namespace, tell: Report = ignore) -> "Shelf":
    from app.engine.shelf import Shelf

    return Shelf(device=args.device, execution=args.backend, tell=tell)


def _tell_skipped(lines: Sequence[str], *, total: int = 0, most: int = 10) -> None:
    for line in lines[:most]:
        print(f"skipped {line}", file=sys.stderr)
    if (more := max(total, len(lines)) - most) > 0:
        print(f"skipped {more} more", file=sys.stderr)


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
                figures = "".join(f"{k} {v:.3f}  " for k, v in body.metrics.items())
                print(
                    f"{clear}epoch {body.epoch + 1}  loss {body.loss:.4f}  {figures}"
                    f"{body.images_per_s:.0f} images/s",
                    file=sys.stderr,
                    flush=True,
                )
            case DeviceChanged():
                clear = "\r\033[K" if live else ""
                print(f"{clear}on {body.device} now: {body.reason}", file=sys.stderr, flush=True)
            case _:
                pass

    try:
        yield report
    finally:
        if live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


ACTS: dict[str, Callable[[argparse.Namespace], int]] = {
    "locate": _locate,
    "object": partial(cli_objects.object_command, _progress),
    "gallery build": _gallery_build,
    "gallery info": _gallery_info,
    "train": partial(cli_train.train_command, _progress),
    **cli_train.ACTS,
    **{name: partial(act, _progress) for name, act in cli_evaluate.ACTS.items()},
    "pairs": partial(cli_pairs.pairs_command, _progress, _tell_skipped),
    "world": _world,
    "checkpoint info": _checkpoint_info,
    "checkpoint calibrate": partial(cli_objects.calibrate_command, _progress),
    "checkpoint imagenet": _checkpoint_imagenet,
    "checkpoint pack": _checkpoint_pack,
    "checkpoint import": _checkpoint_import,
    "doctor": _doctor,
}
