"""A data set's files: which there are, which its lists name in vain, and what a folder holds."""

import os
import re
from pathlib import Path

from app.errors import UserError
from app.messages import Progress, Report, ignore

PICTURES = frozenset([".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"])
_TELL_EVERY = 5000  # files


class Files:
    """Each folder is listed once: far quicker than to ask for a hundred thousand files one by one.

    ``missing`` are the files that were asked for and are not there, relative to the root.
    """

    def __init__(self, root: Path, report: Report = ignore) -> None:
        self.root = root
        self._report = report
        self._listed: dict[str, dict[str, bool]] = {}  # folder -> name -> is it a folder
        self._missing: dict[str, None] = {}
        self._asked = 0

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(self._missing)

    def has(self, path: Path, *, quiet: bool = False) -> bool:
        """Whether this file is there; if not, it is ``missing``, unless asked quietly."""
        self._tell(path)
        parent, name = os.path.split(path)
        if self._list(parent).get(name) is False:
            return True
        if not quiet:
            self._missing[path.relative_to(self.root).as_posix()] = None
        return False

    def pictures(self, folder: Path) -> tuple[Path, ...]:
        """In natural order; none if there is no such folder."""
        self._tell(folder)
        names = self._list(str(folder)).items()
        found = [n for n, inner in names if not inner and _suffix(n) in PICTURES]
        return tuple(folder / name for name in sorted(found, key=natural))

    def folders(self, folder: Path) -> tuple[Path, ...]:
        """In natural order; none if there is no such folder."""
        self._tell(folder)
        names = self._list(str(folder)).items()
        found = [n for n, inner in names if inner and not n.startswith(".")]
        return tuple(folder / name for name in sorted(found, key=natural))

    def _list(self, folder: str) -> dict[str, bool]:
        if folder not in self._listed:
            try:
                with os.scandir(folder) as entries:
                    self._listed[folder] = {entry.name: entry.is_dir() for entry in entries}
            except (FileNotFoundError, NotADirectoryError):
                self._listed[folder] = {}
            except OSError as error:
                raise UserError(
                    f"{folder} cannot be read: {error.strerror}", "Check its rights and the drive."
                ) from error
        return self._listed[folder]

    def _tell(self, path: Path) -> None:
        """Progress, and so a point at which the job can be cancelled."""
        if self._asked % _TELL_EVERY == 0:
            self._report(Progress(self._asked, 0, f"reading {path.parent.name}"))
        self._asked += 1


def natural(name: str) -> list[tuple[int, int, str]]:
    """To sort image-9 before image-10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(p), "") if p.isdecimal() and p.isascii() else (1, 0, p) for p in parts]


def read_lines(path: Path) -> list[str]:
    """The lines of a list that are not blank, whatever their ends."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"There is no list {path}", "Copy the data set again.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}", "Copy the data set again.") from error
    return [line for line in map(str.strip, text.splitlines()) if line]


def wrong_layout(folder: Path, name: str, expected: str) -> UserError:
    """For a folder that was said to be this data set."""
    return UserError(
        f"{folder} is not laid out as {name}: it {contents(folder)}", f"Expected: {expected}"
    )


def contents(folder: Path, most: int = 8) -> str:
    """What is in a folder, as the end of a sentence: "holds a, b and 3 more"."""
    try:
        names = sorted(entry.name + "/" * entry.is_dir() for entry in os.scandir(folder))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not names:
        return "is empty"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"holds {', '.join(names[:most])}{more}"


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path for each would be slow
