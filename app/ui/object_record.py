"""The clicked objects of a photo as JSON, and back: what the user made outlives the window."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from app.messages import ObjectsFound
from app.ui.clicked_objects import Pin

FORMAT = 1  # of a record; another one is not read


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of one photo."""

    pins: tuple[Pin, ...] = ()
    answers: tuple[tuple[int, ObjectsFound], ...] = ()  # the last ones, by their pins' numbers


def record_of(
    photo: Path, pins: tuple[Pin, ...], latest: Mapping[tuple[Path, int], ObjectsFound]
) -> Record:
    """``latest`` answers, by photo and number."""
    known = ((pin.number, latest.get((photo, pin.number))) for pin in pins)
    return Record(pins, tuple((number, found) for number, found in known if found is not None))


def record_text(photo: Path, record: Record) -> str:
    """``photo`` is for people who open the file: it is found by its content, not by its name."""
    body = {"format": FORMAT, "photo": str(photo), **asdict(record)}
    return json.dumps(body, indent=1, default=str)


def read_record(text: str) -> Record:
    """Raises ValueError for what is no such record."""
    try:
        body = json.loads(text)
        if body["format"] != FORMAT:
            raise ValueError(f"format {body['format']!r} is not {FORMAT}")
        record: Record = _typed(Record, body)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no record of clicked objects: {error}") from error
    return record


def _typed(kind: Any, value: Any) -> Any:
    """``value`` of JSON as ``kind`` says; fields that are not known here are left out."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        parts = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_typed(part, one) for part, one in zip(parts, value, strict=True))
    if origin in (Union, UnionType):  # only "… | None"
        other = next(part for part in inner if part is not NoneType)
        return None if value is None else _typed(other, value)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        fields = {name: _typed(hints[name], part) for name, part in value.items() if name in hints}
        return kind(**fields)  # type: ignore[operator]  # a type, never an instance
    if kind is Path:
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
