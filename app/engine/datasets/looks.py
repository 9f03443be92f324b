"""Pictures that look the same though their files differ: saved anew, shrunk, a little brighter.

A picture is known by its grey at 9 x 8 pixels. Two look alike if the bits that say where it grows
brighter to the right differ in at most three of 64, and the greys themselves hardly.
"""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 8
MOST_BITS = 3  # that may differ: less than there are parts, so that one part is always equal
PARTS = 4
MOST_GREY = 6.0  # mean difference of 255, once both are equally bright
EVEN = 3  # steps in grey below this are none


def look_of(image: Image.Image) -> bytes:
    """72 grey values; nothing for a picture that is too even to be told from others."""
    small = image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small)
    steps = np.abs(np.diff(grey.astype(np.int16), axis=1))
    return grey.tobytes() if (steps >= EVEN).mean() >= 0.25 else b""


class Looks:
    """Pictures to be found by their look, the first of those that look alike."""

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._bits: list[int] = []
        self._greys: list[bytes] = []
        self._parts: dict[tuple[int, int], list[int]] = {}

    def find(self, look: bytes) -> Path | None:
        """A picture that looks so."""
        if not look:
            return None
        bits = _bits(look)
        for part in _parts(bits):
            for row in self._parts.get(part, ()):
                few = (bits ^ self._bits[row]).bit_count() <= MOST_BITS
                if few and _difference(look, self._greys[row]) <= MOST_GREY:
                    return self._paths[row]
        return None

    def add(self, path: Path, look: bytes) -> Path:
        """The picture that this one looks like: an earlier one, or itself, which is kept then."""
        if (earlier := self.find(look)) is not None:
            return earlier
        if look:
            bits = _bits(look)
            for part in _parts(bits):
                self._parts.setdefault(part, []).append(len(self._paths))
            self._paths.append(path)
            self._bits.append(bits)
            self._greys.append(look)
        return path


def _bits(look: bytes) -> int:
    grey = np.frombuffer(look, np.uint8).reshape(SIDE, SIDE + 1).astype(np.int16)
    return int.from_bytes(np.packbits(np.diff(grey, axis=1) > 0).tobytes())


def _parts(bits: int) -> list[tuple[int, int]]:
    width = SIDE * SIDE // PARTS
    return [(n, bits >> (n * width) & ((1 << width) - 1)) for n in range(PARTS)]


def _difference(first: bytes, second: bytes) -> float:
    a, b = (np.frombuffer(look, np.uint8).astype(np.float32) for look in (first, second))
    return float(np.abs((a - a.mean()) - (b - b.mean())).mean())
