"""Folders of evaluations: those in the user's data, and those that were opened elsewhere."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.engine.writing import write_whole
from app.errors import UserError
from app.messages import Problem
from app.paths import evaluations
from app.results import RESULT_NAME, EvaluationResult, Measure, read_result

MOST_FOUND = 2000  # in and below one folder
DEPTH = 4  # folders below one that is opened
ELSEWHERE = "elsewhere.json"  # folders of results that lie in other places


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A folder with figures."""

    folder: Path
    result: EvaluationResult
    changed_ns: int  # when its figures were written

    @property
    def headline(self) -> Measure | None:
        """The figure that a list shows."""
        name = "R@1" if self.result.task == "retrieval" else "accu@0.5"
        return self.result.measure(name)


@dataclass(frozen=True, slots=True)
class Scan:
    entries: tuple[Evaluation, ...]  # newest first
    damaged: tuple[Problem, ...]


def read_all(before: Mapping[Path, Evaluation]) -> Scan:
    """What has not changed since ``before`` is not read again; what is damaged is told."""
    damaged: list[Problem] = []
    try:
        elsewhere = _remembered()
    except UserError as error:
        elsewhere = ()
        damaged.append(Problem(str(error), error.hint))
    found: list[Evaluation] = []
    for folder in dict.fromkeys((*folders_in(evaluations()), *elsewhere)):
        try:
            changed = (folder / RESULT_NAME).stat().st_mtime_ns
        except OSError:
            continue  # deleted, or on a disk that is not there now
        known = before.get(folder)
        if known is not None and known.changed_ns == changed:
            found.append(known)
            continue
        try:
            found.append(Evaluation(folder, read_result(folder), changed))
        except UserError as error:
            damaged.append(Problem(str(error), error.hint))
    found.sort(key=lambda e: (e.result.created, e.changed_ns, e.folder.name), reverse=True)
    return Scan(tuple(found), tuple(damaged))


def folders_in(folder: Path) -> tuple[Path, ...]:
    """Those with figures, in and below a folder. Links to folders are not followed."""
    found: list[Path] = []
    level = [folder]
    for _ in range(DEPTH):
        deeper: list[Path] = []
        for place in level:
            if (place / RESULT_NAME).is_file():
                found.append(place)
                continue
            try:
                inner = [p for p in place.iterdir() if p.is_dir() and not p.is_symlink()]
            except OSError:
                continue  # not ours to read
            deeper += sorted(p for p in inner if not p.name.startswith("."))
        level = deeper[:MOST_FOUND]
    return tuple(found[:MOST_FOUND])


def _remembered() -> tuple[Path, ...]:
    try:
        raw = json.loads((evaluations() / ELSEWHERE).read_text(encoding="utf-8"))
        return tuple(Path(name) for name in raw if isinstance(name, str))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{evaluations() / ELSEWHERE} cannot be read ({error})",
            "Delete it, and open the folders of results that lie elsewhere again.",
        ) from error


def remember(folders: tuple[Path, ...]) -> None:
    """Those below ``evaluations()`` are found anyhow."""
    new = [f.absolute() for f in folders if not f.absolute().is_relative_to(evaluations())]
    known = _remembered()
    if all(folder in known for folder in new):
        return
    path = evaluations() / ELSEWHERE
    names = [str(folder) for folder in dict.fromkeys((*new, *known))]
    write_whole(path, json.dumps(names, indent=1).encode())
