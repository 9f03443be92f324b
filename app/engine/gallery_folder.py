"""The folder that a build writes into, the name it takes when whole, and what may go wrong."""

import contextlib
import errno
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.engine.gallery import BASEMAP, DESCRIPTORS, THUMBNAILS, TILES
from app.engine.gallery_journal import JOURNAL_NAME
from app.errors import UserError
from app.manifest import MANIFEST_NAME

_OURS = {MANIFEST_NAME, TILES, DESCRIPTORS, BASEMAP, THUMBNAILS, JOURNAL_NAME}
_SQLITE_SIDE = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Target:
    """``gallery`` is absolute."""

    gallery: Path

    @property
    def building(self) -> Path:
        """Unfinished, with its journal."""
        return self.gallery.with_name(self.gallery.name + ".building")

    @property
    def replaced(self) -> Path:
        """The older gallery of that name, for a moment."""
        return self.gallery.with_name(self.gallery.name + ".replaced")


def publish(target: Target) -> None:
    """Give the whole folder its name; an older gallery goes only then."""
    if target.gallery.exists():
        target.gallery.rename(target.replaced)
    try:
        target.building.rename(target.gallery)
    except OSError:
        restore_interrupted_swap(target)
        raise
    for name in (JOURNAL_NAME, *(JOURNAL_NAME + side for side in _SQLITE_SIDE)):
        (target.gallery / name).unlink(missing_ok=True)
    if target.replaced.exists():
        shutil.rmtree(target.replaced)


def restore_interrupted_swap(target: Target) -> None:
    """A build killed between the two renames has left the older gallery aside."""
    if target.replaced.exists():
        if target.gallery.exists():
            shutil.rmtree(target.replaced)
        else:
            target.replaced.rename(target.gallery)


def refuse_users_files(gallery: Path) -> None:
    """Only a gallery, all of whose files are ours, or an empty folder may be replaced."""
    if not gallery.exists():
        return
    if not gallery.is_dir():
        raise UserError(f"{gallery} is a file", "Choose another name for the gallery.")
    entries = [entry.name for entry in gallery.iterdir()]
    known = _OURS | {
        name + side for name in (TILES, BASEMAP, JOURNAL_NAME) for side in _SQLITE_SIDE
    }
    foreign = sorted(set(entries) - known)
    if foreign or (entries and MANIFEST_NAME not in entries):
        what = f"it holds {foreign[0]}" if foreign else f"it has no {MANIFEST_NAME}"
        raise UserError(
            f"{gallery} is there already and is not a gallery ({what})",
            "Choose another folder: nothing of yours is overwritten.",
        )


# --- failures ---------------------------------------------------------------


@contextlib.contextmanager
def plain_failures(gallery: Path) -> Iterator[None]:
    """What the file system refuses, in the user's words. All that was done so far is kept."""
    again = "then build again: it goes on where it stopped."
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UserError(
                f"The gallery {gallery.name} is being built already",
                "Wait for the other build, or cancel it.",
            ) from error
        if code == sqlite3.SQLITE_FULL:
            raise UserError(_full(gallery), f"Make room, {again}") from error
        raise UserError(
            f"{gallery.parent} cannot be written ({error})", f"Check its rights, {again}"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(_full(gallery), f"Make room, {again}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(
                f"{error.filename or gallery} may not be written ({error.strerror})",
                "Choose a folder that you may write in.",
            ) from error
        raise UserError(
            f"The gallery {gallery.name} cannot be written ({error})", f"Mend it, {again}"
        ) from error


def _full(gallery: Path) -> str:
    return f"The disk is full: {gallery.name} could not be written in {gallery.parent}"
