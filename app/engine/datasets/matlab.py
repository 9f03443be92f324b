"""MATLAB's ``.mat`` files, as far as data sets' lists need them: read as data, nothing is run.

Level 5 (``save -v6`` and ``-v7``, and what SciPy writes): numbers, text, cells and structs. What
``save -v7.3`` writes is HDF5 and is refused with a word on how to save it again, and so is level 4.
Layout: "MAT-File Format", The MathWorks, R2023b.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from app.errors import UserError
from app.messages import Progress, Report, ignore

MAX_FILE_BYTES = 1 << 30
MAX_PLAIN_BYTES = 4 << 30  # of a variable once decompressed
MAX_DEPTH = 16  # of cells and structs in each other
TELL_EVERY = 20_000  # cells

# An array of numbers (its shape as in MATLAB), the lines of a text, the cells of a cell array in
# MATLAB's (column) order, or the fields of a struct of one element.
Value: TypeAlias = np.ndarray | tuple[Any, ...] | Mapping[str, Any]

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
            13: "u8"}  # fmt: skip
_TEXTS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
_INT8, _UINT8, _MATRIX, _COMPRESSED = 1, 2, 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_FIRST_NUMBER, _LAST_NUMBER = 6, 15  # classes double to uint64
_COMPLEX = 0x0800


class _Damaged(Exception):
    """The file breaks off, or contradicts itself."""


@dataclass(frozen=True, slots=True)
class _Element:
    kind: int
    content: memoryview


@dataclass(slots=True)
class _Reader:
    """Reads elements of one byte order; counts what it read, so that it can be cancelled."""

    order: str  # "<" or ">"
    report: Report
    cells: int = 0

    def elements(self, content: memoryview) -> Iterator[_Element]:
        at = 0
        while at < len(content):
            element, at = self.element(content, at)
            yield element

    def element(self, content: memoryview, at: int) -> tuple[_Element, int]:
        """The element at ``at``, and where the next one starts."""
        if at + 8 > len(content):
            raise _Damaged
        kind, size = struct.unpack_from(self.order + "II", content, at)
        if kind >> 16:  # a short one: size and kind share four bytes, content has the next four
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise _Damaged
        else:
            start = at + 8
            # Compressed elements alone are not filled up to eight bytes.
            end = start + (size if kind == _COMPRESSED else (size + 7) // 8 * 8)
        if start + size > len(content):
            raise _Damaged
        return _Element(kind, content[start : start + size]), min(end, len(content))

    def matrix(self, content: memoryview, depth: int) -> tuple[str, Value | None]:
        """Name and value; None for classes that are not read (objects, functions, sparse)."""
        if depth > MAX_DEPTH:
            raise _Damaged
        parts = self.elements(content)
        flags, shape = self.numbers(next(parts)), self.numbers(next(parts))
        name = bytes(next(parts).content).decode("latin-1")
        if len(flags) < 1 or len(shape) < 2 or (shape < 0).any():
            raise _Damaged
        kind = int(flags[0]) & 0xFF
        dims = tuple(int(n) for n in shape)
        if kind == _CELL:
            return name, self.cell_array(parts, dims, depth)
        if kind == _STRUCT:
            return name, self.fields(parts, dims, depth)
        if kind == _CHAR:
            return name, _lines(self.text(next(parts)), dims)
        if _FIRST_NUMBER <= kind <= _LAST_NUMBER and not int(flags[0]) & _COMPLEX:
            values = self.numbers(next(parts))
            if values.size != np.prod(dims, dtype=object):
                raise _Damaged
            return name, values.reshape(dims, order="F")
        return name, None

    def cell_array(
        self, parts: Iterator[_Element], dims: tuple[int, ...], depth: int
    ) -> tuple[Any, ...]:
        cells = []
        for part in parts:
            if part.kind != _MATRIX:
                raise _Damaged
            cells.append(self.matrix(part.content, depth + 1)[1] if part.content else ())
            self.cells += 1
            if self.cells % TELL_EVERY == 0:
                self.report(Progress(self.cells, 0, "reading its lists"))
        if len(cells) != np.prod(dims, dtype=object):
            raise _Damaged
        return tuple(cells)

    def fields(
        self, parts: Iterator[_Element], dims: tuple[int, ...], depth: int
    ) -> Mapping[str, Any] | None:
        """Of a struct with one element; None for an array of them."""
        (length,) = self.numbers(next(parts))[:1].tolist()
        names = bytes(next(parts).content)
        if dims != (1, 1):
            return None
        if not 0 < length <= 64:
            raise _Damaged
        keys = [names[n : n + length].split(b"\0")[0] for n in range(0, len(names), length)]
        values = [self.matrix(part.content, depth + 1)[1] for part in parts]
        if len(keys) != len(values):
            raise _Damaged
        return {k.decode("latin-1"): value for k, value in zip(keys, values, strict=True)}

    def numbers(self, element: _Element) -> np.ndarray:
        if element.kind not in _NUMBERS:
            raise _Damaged
        return np.frombuffer(element.content, self.order + _NUMBERS[element.kind])

    def text(self, element: _Element) -> str:
        if element.kind in (_INT8, _UINT8):
            return bytes(element.content).decode("latin-1")
        if element.kind in _TEXTS:
            end = "" if element.kind == 16 else ("-le" if self.order == "<" else "-be")
            return bytes(element.content).decode(_TEXTS[element.kind] + end)
        return "".join(map(chr, self.numbers(element).tolist()))


def read_mat(path: Path, names: tuple[str, ...], *, report: Report = ignore) -> dict[str, Value]:
    """The variables of these names, each there. Raises UserError naming the file."""
    content = _content(path)
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    if order is None:
        raise UserError(f"{path} is not a MATLAB file of level 5", "Copy the data set again.")
    reader = _Reader(order, report)
    found: dict[str, Value] = {}
    try:
        for element in reader.elements(content[128:]):
            report(Progress(len(found), len(names), path.name))
            name, value = _variable(reader, element)
            if name in names and value is not None:
                found[name] = value
    except (_Damaged, StopIteration, zlib.error, ValueError, struct.error) as error:
        raise UserError(
            f"{path} is damaged, or its download broke off", "Copy the data set again."
        ) from error
    if missing := [name for name in names if name not in found]:
        raise UserError(
            f"{path} lacks the variable {', '.join(missing)}", "Is it the file of another data set?"
        )
    return found


def _variable(reader: _Reader, element: _Element) -> tuple[str, Value | None]:
    if element.kind == _COMPRESSED:
        unpacked = zlib.decompressobj()
        plain = unpacked.decompress(element.content, MAX_PLAIN_BYTES)
        if unpacked.unconsumed_tail:
            raise _Damaged
        element, _ = reader.element(memoryview(plain), 0)
    if element.kind != _MATRIX:
        return "", None
    return reader.matrix(element.content, 0)


def _content(path: Path) -> memoryview:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"{path} is too large for a list", "Is it the right file?")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
    if content.startswith(b"MATLAB 7.3") or content[512:516] == b"\x89HDF":
        raise UserError(
            f"{path} was saved with -v7.3, which is not read",
            "Save it again in MATLAB: load it, then save('ACT_data.mat', '-v7').",
        )
    if len(content) < 128:
        raise UserError(f"{path} is not a MATLAB file", "Copy the data set again.")
    return memoryview(content)


def _lines(text: str, dims: tuple[int, ...]) -> tuple[str, ...]:
    """A matrix of characters, column after column, as its rows without trailing blanks."""
    rows = dims[0]
    if len(text) != np.prod(dims, dtype=object):
        raise _Damaged
    return tuple(text[row::rows].rstrip() for row in range(rows))
