"""Files that are written whole or not at all. Loads nothing heavy."""

import contextlib
import errno
import os
from pathlib import Path

from app.errors import UserError


def write_whole(path: Path, content: bytes, *, lasting: bool = True) -> None:
    """A program killed or a disk full while writing leaves what was there before.

    ``lasting``: wait until the disk has it, so that a power cut leaves it whole too.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"The disk is full: {path.name} was not written ({len(content) >> 20} MiB)",
                f"Make room on the disk of {path.parent} and try again.",
            ) from error
        raise UserError(
            f"{path} cannot be written: {error.strerror}", "Check its rights, or choose another."
        ) from error
