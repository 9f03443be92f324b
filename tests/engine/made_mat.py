"""MATLAB files of level 5, written from the format's description and not by what reads them."""

import struct
import zlib
from pathlib import Path

import numpy as np

CLASSES = {"f8": (6, 9), "f4": (7, 7), "u4": (13, 6), "i4": (12, 5), "u2": (11, 4), "u1": (9, 2)}


def write_mat(path: Path, *, compressed: bool = True, order: str = "<", **variables) -> None:
    head = b"MATLAB 5.0 MAT-file, made for a test".ljust(124)
    head += struct.pack(order + "H", 0x0100) + (b"IM" if order == "<" else b"MI")
    body = b""
    for name, value in variables.items():
        matrix = _matrix(name, value, order)
        if compressed:
            packed = zlib.compress(matrix)
            matrix = struct.pack(order + "II", 15, len(packed)) + packed
        body += matrix
    path.write_bytes(head + body)


def _element(kind: int, content: bytes, order: str) -> bytes:
    if 0 < len(content) <= 4:
        return struct.pack(order + "I", len(content) << 16 | kind) + content.ljust(4, b"\0")
    return struct.pack(order + "II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def _matrix(name: str, value, order: str) -> bytes:
    """Arrays of numbers; arrays of text as a matrix of characters; lists as cells; dicts."""
    if isinstance(value, dict):
        width = max(len(key) for key in value) + 1
        keys = b"".join(key.encode().ljust(width, b"\0") for key in value)
        rest = _element(5, struct.pack(order + "i", width), order) + _element(1, keys, order)
        rest += b"".join(_matrix("", inner, order) for inner in value.values())
        kind, shape = 2, (1, 1)
    elif isinstance(value, list):
        rest = b"".join(_matrix("", np.array([inner]), order) for inner in value)
        kind, shape = 1, (len(value), 1)
    elif value.dtype.kind == "U":
        width = value.dtype.itemsize // 4
        letters = np.array([list(line.ljust(width)) for line in value])
        codes = np.vectorize(ord)(letters).astype(order + "u2")
        rest, kind, shape = _element(4, codes.tobytes("F"), order), 4, (len(value), width)
    else:
        kind, number = CLASSES[value.dtype.str[1:]]
        content = value.astype(value.dtype.newbyteorder(order)).tobytes("F")
        rest, shape = _element(number, content, order), value.shape
    flags = _element(6, struct.pack(order + "II", kind, 0), order)
    dims = _element(5, struct.pack(order + f"{len(shape)}i", *shape), order)
    content = flags + dims + _element(1, name.encode(), order) + rest
    return struct.pack(order + "II", 14, len(content)) + content
