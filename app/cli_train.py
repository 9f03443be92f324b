"""``skyfix train`` and ``skyfix runs``: train, in the foreground or not, and look after runs."""

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import MISSING
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from app.cli_check import add_check, check_command
from app.engine.recipes import BY_NAME, make_train
from app.engine.run_control import LIVE, Word, ask
from app.engine.run_keeper import keep, start
from app.engine.run_store import RunRow, RunStore, compare
from app.engine.runs import LOG, read_config, read_metrics, tail
from app.messages import Report, UserError, ignore
from app.train_request import Option, Train, options

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Telling = Callable[[], AbstractContextManager[Report]]  # shows progress while it is open

# torchrun takes --run for one of its own options, hence the second name.
FLAGS = {"run_dir": ("--run", "--run-dir"), "overrides": ("--set",)}
LISTED_RECIPES = ", ".join(BY_NAME)


def add_train(commands: _Commands) -> None:
    """Every field of ``Train`` is an option; what is not given is the recipe's, or its default."""
    one = commands.add_parser(
        "train",
        help="train or fine-tune a checkpoint; resumes its run",
        description="Train or fine-tune a checkpoint. A run that stopped goes on when the same "
        "command is given again. Under torchrun, with --run-dir, processes share each batch.",
    )
    one.add_argument("--config", type=Path, help="a run's config.json; replaces all other options")
    one.add_argument(
        "--background", action="store_true", help="go on after this command ends; see skyfix runs"
    )
    add_check(one)
    groups = {name: one.add_argument_group(name) for name in _group_names()}
    for option in options():
        _add_option(groups[option.help.group], option)
    one.set_defaults(act="train")


def add_runs(commands: _Commands) -> None:
    one = commands.add_parser("runs", help="list, compare, control and delete trainings")
    acts = one.add_subparsers(dest="what", required=True, metavar="WHAT")
    listing = acts.add_parser("list", help="all runs, the newest first")
    listing.add_argument("--tag", default="", help="those with this tag")
    listing.set_defaults(act="runs list")
    for word, text in (
        ("show", "where a run stands, its settings and its epochs"),
        ("delete", "delete a run's files; a live one is refused"),
        ("pause", "save, and wait"),
        ("resume", "go on, in the background if its process is gone"),
        ("stop", "save, and end"),
        ("save", "save now, and go on"),
        ("keep", "train here and write down how it ends: what a run in the background does"),
    ):
        act = acts.add_parser(word, help=text)
        act.add_argument("run", help="its number, name or folder")
        act.set_defaults(act=f"runs {word}")
    comparing = acts.add_parser("compare", help="the settings in which runs differ, and their best")
    comparing.add_argument("runs", nargs="+", metavar="RUN")
    comparing.set_defaults(act="runs compare")
    tagging = acts.add_parser("tag", help="replace a run's tags")
    tagging.add_argument("run")
    tagging.add_argument("tags", nargs="*", metavar="TAG")
    tagging.set_defaults(act="runs tag")
    noting = acts.add_parser("note", help="replace a run's notes")
    noting.add_argument("run")
    noting.add_argument("text")
    noting.set_defaults(act="runs note")
    rebuilding = acts.add_parser("rebuild", help="find runs in folders and list them again")
    rebuilding.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    rebuilding.set_defaults(act="runs rebuild")


# --- options from the fields ------------------------------------------------------


def _group_names() -> list[str]:
    return list(dict.fromkeys(option.help.group for option in options()))


def _add_option(group: "argparse._ArgumentGroup", option: Option) -> None:
    flags = FLAGS.get(option.name, ("--" + option.name.replace("_", "-"),))
    text = _words(option)
    common = {"dest": option.name, "default": argparse.SUPPRESS, "help": text}
    if option.kind is bool:
        group.add_argument(*flags, action=argparse.BooleanOptionalAction, **common)  # type: ignore[arg-type]  # as argparse takes them
        return
    if option.name == "overrides":
        group.add_argument(*flags, action="append", type=_override, metavar="FIELD=VALUE", **common)  # type: ignore[arg-type]
        return
    kind: Callable[[str], Any] = _numbers if option.kind is tuple else option.kind
    if option.kind in (int, float):
        kind = partial(_within, option)
    metavar = None if option.choices else option.name.rpartition("_")[2].upper()
    group.add_argument(*flags, type=kind, choices=option.choices or None, metavar=metavar, **common)  # type: ignore[arg-type]


def _words(option: Option) -> str:
    text = option.help.text[0].lower() + option.help.text[1:]
    if option.name == "recipe":
        return f"{text}: {LISTED_RECIPES}"
    plain = isinstance(option.default, int | float | str) and not isinstance(option.default, bool)
    shown = f" ({option.default})" if plain and option.default != "" else ""
    return (text + shown).replace("%", "%%")


def _within(option: Option, text: str) -> int | float:
    value: int | float = option.kind(text)
    low, high = option.help.least, option.help.most
    if not (low is None or value >= low) or not (high is None or value <= high):
        limits = " and ".join(
            words
            for words in (
                f"at least {low:g}" if low is not None else "",
                f"at most {high:g}" if high is not None else "",
            )
            if words
        )
        raise argparse.ArgumentTypeError(f"{text} must be {limits}")
    return value


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(",") if part)


def _override(text: str) -> tuple[str, Any]:
    """``attention=mha``, ``classes=0``, ``stages=[3,4]``: a value is JSON, else a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not FIELD=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


# --- what is done ---------------------------------------------------------------


def train_command(telling: Telling, args: argparse.Namespace) -> int:
    if args.check:
        return check_command(telling, args)
    run = request_of(args)
    if args.background:
        start(run)
        print(f"{run.run_dir} is trained in the background; see: skyfix runs show {run.run_dir}")
        return 0
    from app.engine.training import train

    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes one talks
    if not first:
        train(run, ignore)
        return 0
    with telling() as report:
        done = train(run, report)
    where = "in training" if done.best_by == "loss" else "on the held-out data"
    print(f"{done.best_by} {done.recall_at_1:.3f} {where}; {done.checkpoint}")
    return 0


def request_of(args: argparse.Namespace) -> Train:
    """The run that the options ask for."""
    if args.config:
        return read_config(args.config.parent if args.config.is_file() else args.config)
    names = [option.name for option in options()]
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    if "overrides" in given:
        given["overrides"] = dict(given["overrides"])
    needed = [o.name for o in options() if o.default is MISSING and o.name not in given]
    if "run_dir" in needed or ("data" in needed and "imagery" not in given):
        raise UserError("skyfix train needs --run and --data", "Or --config RUN/config.json.")
    return make_train(given.pop("run_dir"), given.pop("data", None), **given)


def _list(args: argparse.Namespace) -> int:
    store = RunStore()
    rows = [row for row in store.list() if not args.tag or args.tag in row.tags]
    if store.notice:
        print(store.notice)
    for row in rows:
        print(_line(row))
    if not rows:
        print("no runs; runs elsewhere are found by: skyfix runs rebuild FOLDER")
    return 0


def _line(row: RunRow) -> str:
    status = row.status
    network = row.run.network if row.run else "?"
    at = f"{status.epoch}/{status.epochs}" if status.epochs else "-"
    best = "-" if status.best is None else f"{status.best_by} {status.best:.3f}"
    tags = " ".join(f"#{tag}" for tag in row.tags)
    words = (
        f"{row.id:>4}  {status.state:<8}  {network:<13}  {at:>7}  {best:<16}  {row.path}  {tags}"
    )
    return words.rstrip()


def _show(args: argparse.Namespace) -> int:
    row = RunStore().find(args.run)
    status = row.status
    print(_line(row))
    if status.state in LIVE and status.seconds_left is not None:
        print(f"{status.note}, about {status.seconds_left / 60:.0f} min left on {status.device}")
    if status.beat and status.state in LIVE:
        print(f"last heartbeat {time.time() - status.beat:.0f} s ago, process {status.pid}")
    for words in (status.problem, status.hint, row.notes):
        if words:
            print(words)
    if row.run is not None:
        for difference in compare([Train(row.run.run_dir, row.run.data), row.run]):
            print(f"{difference.field:>22}  {difference.values[1]}")
    for done in read_metrics(row.path)[-10:]:
        figures = "  ".join(f"{name} {value:.4f}" for name, value in done.metrics.items())
        print(f"epoch {done.epoch + 1:>3}  loss {done.loss:.4f}  {figures}")
    print("\n".join(tail(row.path, LOG, lines=5)))
    return 0


def _compare(args: argparse.Namespace) -> int:
    store = RunStore()
    rows = [store.find(name) for name in args.runs]
    runs = [row.run for row in rows if row.run is not None]
    if len(runs) != len(rows):
        raise UserError("A run has no readable config.json", "Leave it out.")
    table = [("run", *(row.name for row in rows))]
    table += [(d.field, *map(str, d.values)) for d in compare(runs)]
    table.append(("best", *(_best(row) for row in rows)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip())
    return 0


def _best(row: RunRow) -> str:
    return "-" if row.status.best is None else f"{row.status.best:.4f}"


def _delete(args: argparse.Namespace) -> int:
    store = RunStore()
    row = store.find(args.run)
    store.delete(row)
    print(f"deleted {row.path}")
    return 0


def _tag(args: argparse.Namespace) -> int:
    store = RunStore()
    store.tag(store.find(args.run), args.tags)
    return 0


def _note(args: argparse.Namespace) -> int:
    store = RunStore()
    store.note(store.find(args.run), args.text)
    return 0


def _rebuild(args: argparse.Namespace) -> int:
    print(f"{RunStore().rebuild(args.folders)} runs")
    return 0


def _tell(word: Word, args: argparse.Namespace) -> int:
    row = RunStore().find(args.run)
    if word == "resume" and row.status.state not in LIVE:
        start(read_config(row.path))
        print(f"{row.path} goes on in the background")
        return 0
    ask(row.path, word)
    return 0


def _keep(args: argparse.Namespace) -> int:
    return keep(Path(args.run))


ACTS: dict[str, Callable[[argparse.Namespace], int]] = {
    "runs list": _list,
    "runs show": _show,
    "runs compare": _compare,
    "runs delete": _delete,
    "runs tag": _tag,
    "runs note": _note,
    "runs rebuild": _rebuild,
    "runs keep": _keep,
    **{f"runs {word}": partial(_tell, word) for word in ("pause", "resume", "stop", "save")},
}
