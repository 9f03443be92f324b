"""What a PyTorch pickle says that it holds, found without unpickling it.

The few instructions that a saved state dict consists of are followed on paper: no object is made,
no name is looked up, nothing is imported. Whatever is not one of them is refused by name, before
PyTorch sees the file.
"""

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.errors import UserError

MAX_STEPS = 2_000_000  # a state dict of 600 tensors with its optimizer takes 100,000
MAX_STACK = 100_000
MAX_TEXT = 4096  # characters of a name
MAX_DIMENSIONS = 16
HARMFUL = "It may have been made to harm: do not open it with other programs either."

ITEM_BYTES = {
    f"torch.{kind}Storage": size
    for kind, size in {
        "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2,
        "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1,
    }.items()
}  # fmt: skip
_COUNTER = "collections.Counter"
_DICTS = ("collections.OrderedDict", _COUNTER)
_REBUILD = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
# A best score is often a NumPy number: its type, and its bytes written as text.
_NUMBER = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_NUMBER_TYPE = "numpy.dtype"
_NUMBER_BYTES = "_codecs.encode"
_NUMBER_KINDS = ("f4", "f8", "i4", "i8")
_KNOWN = frozenset(
    (*ITEM_BYTES, *_DICTS, _REBUILD, _PARAMETER, *_NUMBER, _NUMBER_TYPE, _NUMBER_BYTES)
)


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers beside the pickle; ``kind`` is a key of ITEM_BYTES."""

    kind: str
    key: str
    count: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.count * ITEM_BYTES[self.kind]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor as the pickle describes it; it lies within its storage."""

    storage: Storage
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    text: str


@dataclass(frozen=True, slots=True)
class _Made:
    """What a harmless call gives that nobody asks about further: a NumPy number, its type."""

    by: str
    arguments: tuple[Any, ...]


class _Mark:
    pass


@dataclass(slots=True)
class _Walk:
    """The stack, the memo and what was found, while a pickle is followed."""

    file: str  # its name, for the errors
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)

    # --- the instructions ---

    def pop(self, kind: type | tuple[type, ...] = object) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise self.damaged()
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise self.damaged()
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[at], _Mark):
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise self.damaged()

    def push_last(self, count: int) -> None:
        """A tuple of the last ``count`` values."""
        if count > len(self.stack):
            raise self.damaged()
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.stack.append(items)

    def put(self, slot: int) -> None:
        if not self.stack:
            raise self.damaged()
        self.memo[slot] = self.stack[-1]

    def get(self, slot: int) -> None:
        if slot not in self.memo:
            raise self.damaged()
        self.stack.append(self.memo[slot])

    def append(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise self.damaged()
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):
                raise self.damaged()
            target[key] = value

    def name(self, text: str) -> None:
        module, _, attribute = text.partition(" ")
        full = f"{module}.{attribute}"
        if full not in _KNOWN:
            raise self.forbidden(full)
        self.stack.append(_Name(full))

    def call(self) -> None:
        arguments: tuple[Any, ...] = self.pop(tuple)
        called = self.pop(_Name).text
        if called in _DICTS and arguments in ((), ([],)):
            self.stack.append({})
        elif called == _COUNTER and len(arguments) == 1 and isinstance(arguments[0], dict):
            self.stack.append(arguments[0])  # the milestones of a learning rate
        elif called == _REBUILD:
            self.stack.append(self.tensor(arguments))
        elif called == _PARAMETER and arguments and isinstance(arguments[0], TensorSpec):
            self.stack.append(arguments[0])
        elif _is_number(called, arguments):
            self.stack.append(_Made(called, arguments))
        else:
            raise self.forbidden(called)

    def build(self) -> None:
        """State of an ordered dict (its versions) or of a NumPy type (its byte order)."""
        state = self.pop()
        target = self.stack[-1] if self.stack else None
        if isinstance(target, dict) and isinstance(state, dict):
            return
        if isinstance(target, _Made) and target.by == _NUMBER_TYPE:
            little = (3, "<", None, None, None, -1, -1, 0)
            if state == little:
                return
        raise self.damaged()

    def storage(self) -> None:
        match self.pop(tuple):
            case ("storage", _Name(text=kind), str(key), str(), int(count), *rest):
                pass
            case _:
                raise self.damaged()
        if (
            kind not in ITEM_BYTES
            or isinstance(count, bool)
            or count < 0
            or rest not in ([], [None])
        ):
            raise self.damaged()
        found = Storage(kind, key, count)
        if self.storages.setdefault(key, found) != found:
            raise UserError(f"{self.file} says two things of the size of storage {key}", HARMFUL)
        self.stack.append(found)

    def tensor(self, arguments: tuple[Any, ...]) -> TensorSpec:
        match arguments:
            case (Storage() as storage, int(offset), tuple(shape), tuple(stride), bool(), {}):
                pass
            case _:
                raise self.damaged()
        sizes = (offset, *shape, *stride)
        if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
            raise self.damaged()
        if not all(type(n) is int and n >= 0 for n in sizes):
            raise self.damaged()
        count = 1
        for n in shape:
            count *= n
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if count and (count > storage.count or last >= storage.count):
            raise UserError(
                f"{self.file} has a tensor of {shape} in a storage of {storage.count} numbers",
                HARMFUL,
            )
        return TensorSpec(storage, shape)

    # --- refusals ---

    def damaged(self) -> UserError:
        return UserError(
            f"{self.file} is not a PyTorch state dict, or is damaged",
            "Download it again; only files written by torch.save are read.",
        )

    def forbidden(self, name: str) -> UserError:
        shown = name if len(name) <= 80 else f"{name[:80]}…"
        return UserError(
            f"{self.file} holds {shown}, which is no weight: it was not loaded",
            "Loading such a thing can run whatever its author wrote. Ask for the weights alone: "
            "torch.save(model.state_dict(), file).",
        )


def _is_number(called: str, arguments: tuple[Any, ...]) -> bool:
    match arguments:
        case (str(text), "latin1" | "latin-1"):
            return called == _NUMBER_BYTES and len(text) <= 8
        case (str(kind), False | 0, True | 1):
            return called == _NUMBER_TYPE and kind in _NUMBER_KINDS
        case (_Made(by=first), _Made(by=second)):
            return called in _NUMBER and (first, second) == (_NUMBER_TYPE, _NUMBER_BYTES)
    return False


_Act = Callable[[_Walk, Any], object]

_ACTS: dict[str, _Act] = {
    "PROTO": lambda walk, version: None,
    "EMPTY_DICT": lambda walk, _: walk.stack.append({}),
    "EMPTY_LIST": lambda walk, _: walk.stack.append([]),
    "EMPTY_TUPLE": lambda walk, _: walk.stack.append(()),
    "MARK": lambda walk, _: walk.stack.append(_Mark()),
    "NONE": lambda walk, _: walk.stack.append(None),
    "NEWTRUE": lambda walk, _: walk.stack.append(True),
    "NEWFALSE": lambda walk, _: walk.stack.append(False),
    "TUPLE": lambda walk, _: walk.stack.append(tuple(walk.since_mark())),
    "TUPLE1": lambda walk, _: walk.push_last(1),
    "TUPLE2": lambda walk, _: walk.push_last(2),
    "TUPLE3": lambda walk, _: walk.push_last(3),
    "APPEND": lambda walk, _: walk.append([walk.pop()]),
    "APPENDS": lambda walk, _: walk.append(walk.since_mark()),
    "SETITEM": lambda walk, _: walk.set_items([walk.pop(), walk.pop()][::-1]),
    "SETITEMS": lambda walk, _: walk.set_items(walk.since_mark()),
    "GLOBAL": lambda walk, text: walk.name(text),
    "REDUCE": lambda walk, _: walk.call(),
    "BUILD": lambda walk, _: walk.build(),
    "BINPERSID": lambda walk, _: walk.storage(),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda walk, slot: walk.put(slot)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda walk, slot: walk.get(slot)),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"),
        lambda walk, value: walk.stack.append(value),
    ),
}


@dataclass(frozen=True, slots=True)
class Pickled:
    """The value of a pickle, tensors as TensorSpec, and all storages that it names, by key."""

    value: Any
    storages: dict[str, Storage]


def read_pickle(content: io.BytesIO, *, file: str) -> Pickled:
    """Follow the pickle that starts where ``content`` stands; it stands behind it afterwards.

    That it is in memory means that a length that lies asks for no more than there is.
    """
    walk = _Walk(file)
    try:
        for step, (code, argument, _) in enumerate(pickletools.genops(content)):
            if code.name == "STOP":
                break
            act = _ACTS.get(code.name)
            if act is None or step > MAX_STEPS or len(walk.stack) > MAX_STACK:
                raise walk.damaged()
            if isinstance(argument, str) and len(argument) > MAX_TEXT:
                raise walk.damaged()
            act(walk, argument)
    except (ValueError, OverflowError) as error:  # it ends too soon, or names no instruction
        raise walk.damaged() from error
    value = walk.pop()
    if walk.stack:
        raise walk.damaged()
    return Pickled(value, walk.storages)
