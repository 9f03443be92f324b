"""``skyfix train --check``: look a data set over before training on it."""

import argparse
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from app.messages import Report


def add_check(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("check")
    group.add_argument(
        "--check",
        type=Path,
        metavar="DATA",
        help="do not train: print what this data set holds, what is missing, unreadable or there "
        "twice, and what leaks from training into its tests; --data-name says which layout it has",
    )
    group.add_argument(
        "--sheet", type=Path, metavar="FILE.jpg", help="with --check: draw random pairs there"
    )
    group.add_argument("--json", action="store_true", help="with --check: print JSON")


def check_command(
    telling: Callable[[], AbstractContextManager[Report]], args: argparse.Namespace
) -> int:
    from app.engine.datasets.catalog import open_data_set
    from app.engine.datasets.check import check
    from app.engine.datasets.check_text import check_text
    from app.engine.datasets.contact_sheet import write_contact_sheet

    sheet: Path = args.sheet or Path(f"check-{args.check.resolve().stem}.jpg")
    with telling() as report:
        data = open_data_set(args.check, name=getattr(args, "data_name", ""), report=report)
        found = check(data, workers=max(1, getattr(args, "workers", 0) or 4), report=report)
        drawn = write_contact_sheet(sheet, data)
    if args.json:
        print(json.dumps({**asdict(found), "sheet": str(sheet)}, indent=1))
        return 0
    print(check_text(found))
    print(f"{drawn} random pairs: {sheet}")
    return 0
