"""Keeps None, True and False alive under PySide6 6.12 on Python 3.11.

That PySide6 returns them without counting a reference, as may be done from Python 3.12 on, where
they are immortal. On 3.11 each such call takes a reference away, and after some thousands of them
Python ends with "deallocating None". So each gets more references than a program can lose.
"""

import ctypes
import sys

SPARE = 1 << 40  # a million calls a second use these up in twelve days


def keep_constants() -> None:
    """Does nothing where they are immortal anyhow."""
    if sys.implementation.name == "cpython" and sys.version_info < (3, 12):
        for constant in (None, True, False, NotImplemented):
            if sys.getrefcount(constant) < SPARE // 2:
                ctypes.c_ssize_t.from_address(id(constant)).value += SPARE
