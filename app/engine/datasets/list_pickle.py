"""Lists in PyTorch's and Python's pickles, read without unpickling.

The instructions of a pickle are followed on paper: strings, numbers, lists, tuples and dicts are
built here, NumPy's numbers and arrays are put together from their bytes. No name is looked up and
nothing is imported or called, so that a list made to harm can only be refused.
"""

import io
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import UserError
from app.messages import Progress, Report, ignore

MAX_BYTES = 256 << 20
MAX_STEPS = 50_000_000
MAX_SHARING = 4  # items for each instruction, once what is shared has been written out
MAX_DEPTH = 32
TELL_EVERY = 50_000  # instructions
HARMFUL = "It may have been made to harm: do not open it with other programs either."

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_FIRST = 3  # pickles of the form before PyTorch 1.6 that come before the value
_NUMBER_TYPES = frozenset(["b1", "?", *(f"{k}{n}" for k in "iu" for n in (1, 2, 4, 8)), "f2", "f4",
                           "f8"])  # fmt: skip
_ENCODE, _DTYPE, _ARRAY = "_codecs encode", "numpy dtype", "numpy ndarray"
_CORES = ("numpy.core", "numpy._core")
_SCALARS = tuple(f"{core}.multiarray scalar" for core in _CORES)
_RECONSTRUCTS = tuple(f"{core}.multiarray _reconstruct" for core in _CORES)
_FROM_BUFFERS = tuple(f"{core}.numeric _frombuffer" for core in _CORES)
_KNOWN = frozenset([_ENCODE, _DTYPE, _ARRAY, *_SCALARS, *_RECONSTRUCTS, *_FROM_BUFFERS])


class _Damaged(Exception):
    """Not a pickle, or one that contradicts itself."""


class _Forbidden(Exception):
    """Asks for something that no list needs."""


@dataclass(frozen=True, slots=True)
class _Name:
    text: str  # module and name, with a blank between


@dataclass(slots=True)
class _Type:
    """A NumPy type of numbers."""

    code: str
    order: str = "<"

    def read(self, content: bytes, count: int) -> np.ndarray:
        kind = np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]  # < or >
        if len(content) != count * kind.itemsize:
            raise _Damaged
        return np.frombuffer(content, kind).astype(kind.newbyteorder("="))


@dataclass(slots=True)
class _Array:
    """An array that has been announced; its state follows."""

    values: np.ndarray | None = None


_MARK = object()


@dataclass(slots=True)
class _Walk:
    """The stack and the memo while a pickle is followed."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        if not self.stack:
            raise _Damaged
        return self.stack.pop()

    def last(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise _Damaged
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def since_mark(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise _Damaged

    def extend(self, items: list[Any]) -> None:
        if not self.stack or not isinstance(self.stack[-1], list):
            raise _Damaged
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, dict) or len(items) % 2:
            raise _Damaged
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                raise _Damaged
            target[key] = value

    def dict_of(self, items: list[Any]) -> None:
        self.stack.append({})
        self.set_items(items)

    def put(self, slot: int) -> None:
        if not self.stack:
            raise _Damaged
        self.memo[slot] = self.stack[-1]

    def get(self, slot: int) -> None:
        if slot not in self.memo:
            raise _Damaged
        self.stack.append(self.memo[slot])

    def name(self, text: str) -> None:
        if text not in _KNOWN:
            raise _Forbidden(text.replace(" ", "."))
        self.stack.append(_Name(text))

    def name_on_stack(self) -> None:
        module, name = self.last(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise _Damaged
        self.name(f"{module} {name}")

    def call(self) -> None:
        arguments = self.pop()
        called = self.pop()
        if not isinstance(called, _Name) or not isinstance(arguments, tuple):
            raise _Damaged
        self.stack.append(_made(called.text, arguments))

    def build(self) -> None:
        state = self.pop()
        target = self.stack[-1] if self.stack else None
        match target, state:
            case _Type(), (3, "<" | ">" | "|" as order, None, None, None, -1, -1, 0):
                target.order = "<" if order == "|" else order
            case _Array(values=None), (1, tuple(shape), _Type() as kind, bool(fortran), content):
                target.values = _filled(shape, kind, content, "F" if fortran else "C")
            case _:
                raise _Damaged


def _made(called: str, arguments: tuple[Any, ...]) -> Any:
    """What a call that NumPy's numbers consist of gives."""
    match arguments:
        case (str(text), "latin1" | "latin-1") if called == _ENCODE:
            return text.encode("latin-1")
        case (str(code), False | 0, True | 1) if called == _DTYPE and code in _NUMBER_TYPES:
            return _Type(code)
        case (_Type() as kind, content) if called in _SCALARS:
            return kind.read(_bytes(content), 1)[0].item()
        case (_Name(text=kind), (0,), first) if called in _RECONSTRUCTS:
            if kind == _ARRAY and _bytes(first) == b"b":
                return _Array()
        case (content, _Type() as kind, tuple(shape), "C" | "F" as order):
            if called in _FROM_BUFFERS:
                return _Array(_filled(shape, kind, content, order))
    raise _Forbidden(called.replace(" ", "."))


def _filled(shape: tuple[Any, ...], kind: _Type, content: Any, order: Any) -> np.ndarray:
    if not all(type(n) is int and 0 <= n <= MAX_BYTES for n in shape) or len(shape) > 4:
        raise _Damaged
    count = 1
    for n in shape:
        count *= n
    return kind.read(_bytes(content), count).reshape(shape, order=order)


def _bytes(content: Any) -> bytes:
    """Python 2 wrote its bytes as text."""
    if isinstance(content, str):
        return content.encode("latin-1")
    if isinstance(content, bytes | bytearray):
        return bytes(content)
    raise _Damaged


_ACTS: Mapping[str, Callable[[_Walk, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda walk, _: None),
    "MARK": lambda walk, _: walk.stack.append(_MARK),
    "POP": lambda walk, _: walk.pop(),
    "POP_MARK": lambda walk, _: walk.since_mark(),
    "NONE": lambda walk, _: walk.stack.append(None),
    "NEWTRUE": lambda walk, _: walk.stack.append(True),
    "NEWFALSE": lambda walk, _: walk.stack.append(False),
    "EMPTY_LIST": lambda walk, _: walk.stack.append([]),
    "EMPTY_TUPLE": lambda walk, _: walk.stack.append(()),
    "EMPTY_DICT": lambda walk, _: walk.stack.append({}),
    "LIST": lambda walk, _: walk.stack.append(walk.since_mark()),
    "TUPLE": lambda walk, _: walk.stack.append(tuple(walk.since_mark())),
    "TUPLE1": lambda walk, _: walk.stack.append(tuple(walk.last(1))),
    "TUPLE2": lambda walk, _: walk.stack.append(tuple(walk.last(2))),
    "TUPLE3": lambda walk, _: walk.stack.append(tuple(walk.last(3))),
    "APPEND": lambda walk, _: walk.extend(walk.last(1)),
    "APPENDS": lambda walk, _: walk.extend(walk.since_mark()),
    "DICT": lambda walk, _: walk.dict_of(walk.since_mark()),
    "SETITEM": lambda walk, _: walk.set_items(walk.last(2)),
    "SETITEMS": lambda walk, _: walk.set_items(walk.since_mark()),
    "MEMOIZE": lambda walk, _: walk.put(len(walk.memo)),
    "GLOBAL": lambda walk, text: walk.name(text),
    "STACK_GLOBAL": lambda walk, _: walk.name_on_stack(),
    "REDUCE": lambda walk, _: walk.call(),
    "BUILD": lambda walk, _: walk.build(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda walk, slot: walk.put(slot)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda walk, slot: walk.get(slot)),
    **dict.fromkeys(
        [
            *("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4"),
            *("FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
            *("STRING", "BINSTRING", "SHORT_BINSTRING"),
            *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        ],
        lambda walk, value: walk.stack.append(value),
    ),
}  # fmt: skip


def read_list(path: Path, *, report: Report = ignore) -> list[Any]:
    """The list that ``torch.save`` or ``pickle.dump`` wrote: of lists, tuples, dicts, text, numbers
    and arrays. NumPy's single numbers come as Python's.

    Raises UserError, naming the file, for anything else: also a list with one thing in it that
    is something else.
    """
    content = _content(path)
    try:
        value, steps = _follow(content, report)
        if value == _LEGACY_MAGIC:
            for _ in range(_LEGACY_FIRST):
                value, steps = _follow(content, report)
        if not isinstance(value, list):
            raise _Damaged
        budget = _Budget(MAX_SHARING * steps)
        return [_plain(item, budget) for item in value]
    except _Forbidden as error:
        raise UserError(f"{path} holds {str(error)[:80]}, which no list needs", HARMFUL) from error
    except (_Damaged, ValueError, TypeError, OverflowError, UnicodeError) as error:
        raise UserError(
            f"{path} is not a list that torch.save wrote, or is damaged", "Copy the data set again."
        ) from error


def _content(path: Path) -> io.BytesIO:
    """The pickle, in memory: so that a length that lies asks for no more than there is."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is too large for a list", "Is it the right file?")
        content = path.read_bytes()
        if not content.startswith(b"PK\x03\x04"):
            return io.BytesIO(content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = [i for i in archive.infolist() if i.filename.endswith("/data.pkl")]
            if len(inside) != 1 or inside[0].file_size > MAX_BYTES:
                raise UserError(f"{path} is no archive of torch.save", "Copy the data set again.")
            return io.BytesIO(archive.read(inside[0]))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(f"{path} is a damaged archive", "Copy the data set again.") from error


def _follow(content: io.BytesIO, report: Report) -> tuple[Any, int]:
    """Value and number of instructions of the pickle here; ``content`` then stands behind it."""
    walk, step = _Walk(), 0
    for step, (code, argument, _) in enumerate(pickletools.genops(content)):
        if code.name == "STOP":
            break
        if step % TELL_EVERY == 0:
            report(Progress(step, 0, "reading a list"))
        if step > MAX_STEPS:
            raise _Damaged
        act = _ACTS.get(code.name)
        if act is None:
            raise _Forbidden(f"the instruction {code.name}")
        act(walk, argument)
    value = walk.pop()
    if walk.stack:
        raise _Damaged
    return value, step + 1


@dataclass(slots=True)
class _Budget:
    left: int


def _plain(value: Any, budget: _Budget, depth: int = 0) -> Any:
    """Without what is of use here alone; refuses what holds itself or unfolds without end."""
    budget.left -= 1
    if depth > MAX_DEPTH or budget.left < 0:
        raise _Damaged
    match value:
        case list():
            return [_plain(item, budget, depth + 1) for item in value]
        case tuple():
            return tuple(_plain(item, budget, depth + 1) for item in value)
        case dict():
            return {key: _plain(item, budget, depth + 1) for key, item in value.items()}
        case _Array(values=np.ndarray() as values):
            return values
        case None | bool() | int() | float() | str() | bytes() | bytearray():
            return value
    raise _Damaged
