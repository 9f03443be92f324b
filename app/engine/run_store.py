"""All runs of this user in one table: found again after a restart, tagged, compared, deleted.

The folders are the truth and the database (SQLite) is their index: what it says of a run is read
from the folder each time. A database that is lost or damaged is made anew from the folders; the
user's tags and notes lie in the folders too.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from app.engine.run_control import CONTROL, EXIT, LIVE, LOCK, STATUS, RunStatus, read_status
from app.engine.runs import BEST, CONFIG, LAST, LOG, METRICS, OUTPUT, STEPS, read_config
from app.engine.writing import write_whole
from app.errors import UserError
from app.paths import data_dir
from app.train_request import Train

NOTES = "notes.json"
# All that a run puts into its folder: what may be deleted with it.
FILES = (CONFIG, METRICS, STEPS, LOG, OUTPUT, STATUS, CONTROL, LOCK, EXIT, NOTES, LAST, BEST)
EPOCHS = "epoch-*.safetensors"
SCHEMA = """
create table if not exists runs (
    id integer primary key,
    path text not null unique,
    added real not null
)
"""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as its folder tells it."""

    id: int
    path: Path
    status: RunStatus
    run: Train | None  # None: its config.json is lost or damaged
    added: float  # when it was first seen, seconds since 1970
    tags: tuple[str, ...] = ()
    notes: str = ""

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that runs do not share, in the order in which the runs were named."""

    field: str
    values: tuple[Any, ...]


def runs_folder() -> Path:
    """Where runs go that the user names no other place for."""
    return data_dir() / "runs"


class RunStore:
    """The table of runs. Every method opens the database and closes it again."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or data_dir() / "runs.sqlite"
        self.notice = ""  # what had to be mended, for the user

    def add(self, run_dir: Path) -> int:
        """Put a run into the table, or find the one that is there; returns its number."""
        with self._open() as db:
            return _added(db, run_dir)

    def list(self) -> tuple[RunRow, ...]:
        """All runs whose folders are there, the newest first."""
        with self._open() as db:
            rows = db.execute("select id, path, added from runs order by id desc").fetchall()
        found = ((number, Path(path), added) for number, path, added in rows)
        return tuple(_row(n, path, added) for n, path, added in found if path.is_dir())

    def find(self, key: str | Path) -> RunRow:
        """By number, name or folder."""
        runs = self.list()
        text = str(key)
        for row in runs:
            if text in (str(row.id), row.name) or Path(key).resolve() == row.path:
                return row
        if (Path(key) / CONFIG).is_file():
            self.add(Path(key))
            return self.find(Path(key).resolve())
        raise UserError(f"There is no run {key}", "skyfix runs list names those that there are.")

    def tag(self, row: RunRow, tags: Sequence[str]) -> None:
        """``tags`` replace those that it has."""
        unique = sorted({tag.strip() for tag in tags} - {""})
        _write_notes(row.path, unique, row.notes)

    def note(self, row: RunRow, text: str) -> None:
        _write_notes(row.path, row.tags, text)

    def delete(self, row: RunRow) -> None:
        """Its own files and, if nothing else lies there, its folder. A live run is refused."""
        if row.status.state in LIVE:
            raise UserError(f"{row.name} is {row.status.state}", "Stop it first.")
        try:
            for path in (*(row.path / name for name in FILES), *row.path.glob(EPOCHS)):
                path.unlink(missing_ok=True)
                path.with_name(path.name + ".partial").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something of the user's is left in it
                row.path.rmdir()
        except OSError as error:
            raise UserError(
                f"{row.path} cannot be deleted: {error.strerror}", "Check its rights."
            ) from error
        with self._open() as db:
            db.execute("delete from runs where id = ?", (row.id,))

    def rebuild(self, roots: Sequence[Path] = ()) -> int:
        """Look for runs in these folders, at most two deep, and in the usual one; how many."""
        found = [
            config.parent
            for root in (runs_folder(), *roots)
            for pattern in (CONFIG, f"*/{CONFIG}", f"*/*/{CONFIG}")
            for config in sorted(root.glob(pattern))
        ]
        runs = [path for path in found if _is_run(path)]
        with self._open() as db:
            for path in sorted(runs, key=lambda path: (path / CONFIG).stat().st_mtime):
                _added(db, path)
        return len(runs)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        fresh = not self.path.exists()
        try:
            db = _connected(self.path)
        except sqlite3.OperationalError as error:  # locked, or no right to it: no damage
            raise self._unusable(error) from error
        except sqlite3.DatabaseError:
            kept = self.path.with_name(f"{self.path.name}.damaged-{time.time():.0f}")
            self.path.replace(kept)
            for side in ("-wal", "-shm"):
                self.path.with_name(self.path.name + side).unlink(missing_ok=True)
            self.notice = f"The table of runs was damaged and made anew; the old one is {kept}"
            fresh, db = True, _connected(self.path)
        try:
            with db:
                if fresh:
                    for config in sorted(runs_folder().glob(f"*/{CONFIG}")):
                        _added(db, config.parent)
                yield db
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        finally:
            db.close()

    def _unusable(self, error: sqlite3.Error) -> UserError:
        return UserError(
            f"The table of runs {self.path} cannot be used: {error}",
            "Check its rights and the disk; the runs themselves are safe in their folders.",
        )


def compare(runs: Sequence[Train]) -> tuple[Difference, ...]:
    """The settings in which they differ. Where a run lies and what it is called count for none."""
    chosen = [asdict(run) for run in runs]
    names = (f.name for f in fields(Train) if f.name not in ("run_dir", "title"))
    rows = (Difference(name, tuple(one[name] for one in chosen)) for name in names)
    return tuple(row for row in rows if any(value != row.values[0] for value in row.values))


def _connected(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=10)
    try:
        db.execute("pragma journal_mode = wal")
        db.execute(SCHEMA)
        (verdict,) = db.execute("pragma quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        columns = [row[1] for row in db.execute("pragma table_info(runs)")]
        if columns != ["id", "path", "added"]:
            raise sqlite3.DatabaseError(f"the table runs has the columns {columns}")
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _added(db: sqlite3.Connection, run_dir: Path) -> int:
    path = str(run_dir.resolve())
    db.execute("insert or ignore into runs (path, added) values (?, ?)", (path, time.time()))
    (number,) = db.execute("select id from runs where path = ?", (path,)).fetchone()
    return int(number)


def _row(number: int, path: Path, added: float) -> RunRow:
    try:
        run = read_config(path)
    except UserError:
        run = None
    tags, notes = _read_notes(path)
    return RunRow(number, path, read_status(path), run, added, tags, notes)


def _is_run(path: Path) -> bool:
    try:
        read_config(path)
    except UserError:
        return False
    return True


def _read_notes(run_dir: Path) -> tuple[tuple[str, ...], str]:
    try:
        raw = json.loads((run_dir / NOTES).read_text(encoding="utf-8"))
        return tuple(str(tag) for tag in raw["tags"]), str(raw["notes"])
    except (OSError, ValueError, TypeError, KeyError):
        return (), ""


def _write_notes(run_dir: Path, tags: Sequence[str], notes: str) -> None:
    body = json.dumps({"tags": list(tags), "notes": notes}, ensure_ascii=False, indent=1)
    write_whole(run_dir / NOTES, body.encode("utf-8"))
