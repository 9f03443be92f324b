"""JPEG files decoded no larger than they are needed."""

import cv2
import numpy as np
from jaxtyping import UInt8

# Frame headers (SOF0 to SOF15 without the tables among them), which tell the size.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_REDUCED = (  # OpenCV's reduced colour flags bring BGR; these, beside IMREAD_COLOR_RGB, RGB
    (8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
    (4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
    (2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
)


def reduction(code: UInt8[np.ndarray, " n"], least: tuple[int, int]) -> int:
    """The flag for the strongest reduction that keeps ``least`` (height, width); 0 for none."""
    size = jpeg_size(code)
    if size is None:
        return 0
    fits = [flag for factor, flag in _REDUCED if _holds(size, least, factor)]
    return fits[0] if fits else 0


def _holds(size: tuple[int, int], least: tuple[int, int], factor: int) -> bool:
    return all(have // factor >= want for have, want in zip(size, least, strict=True))


def jpeg_size(code: UInt8[np.ndarray, " n"]) -> tuple[int, int] | None:
    """Height and width as the file's header says; None for what is no plain JPEG."""
    head = code[: 1 << 17].tobytes()  # behind EXIF and a preview, at most 64 KiB each
    if not head.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _FRAMES:
            return int.from_bytes(head[at + 5 : at + 7]), int.from_bytes(head[at + 7 : at + 9])
        at += 2 + int.from_bytes(head[at + 2 : at + 4])
    return None
