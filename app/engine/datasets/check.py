"""What is wrong with a data set, or could make its figures too good, before hours go into it.

Every picture is read once: which are there, can be decoded, are the same file or look the same,
and how large they are. Between what is learnt and what is measured: the same place, the same file,
or ground that lies nearer than a tile's half.
"""

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from app.engine.datasets.layout import ObjectData, RetrievalData
from app.engine.datasets.looks import SIDE, Looks, look_of
from app.engine.datasets.nearness import near_count
from app.errors import UserError
from app.geo import LatLon
from app.messages import Progress, Report, ignore

Data = RetrievalData | ObjectData
Role = str  # "query", "satellite"

NEAR_M = 40.0  # where the size of the satellite pictures is not known
MOST_LISTED = 20
_AHEAD = 64  # pictures that are read ahead for each thread
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, EOFError, UnidentifiedImageError)


@dataclass(frozen=True, slots=True)
class Part:
    """One of the sets that a data set consists of."""

    name: str  # "train", "held out", "drone to satellite: queries"
    pairs: int  # rows of a training part, pictures of a test's
    pictures: int  # different files
    places: int
    located: int  # rows with a position


@dataclass(frozen=True, slots=True)
class Size:
    role: Role
    height: int
    width: int
    pictures: int


@dataclass(frozen=True, slots=True)
class Same:
    """Pictures that are the same file, byte for byte, or that look the same."""

    pictures: tuple[str, ...]
    exact: bool


@dataclass(frozen=True, slots=True)
class Leak:
    """What is learnt from and measured on."""

    kind: str  # "place", "picture" (the same file), "look" (one that looks the same), "ground"
    between: tuple[str, str]  # names of the parts
    count: int
    of: int  # places, pictures or located queries of the second part
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """All that was found. Lists are cut at ``MOST_LISTED``; counts are whole."""

    name: str
    folder: str
    task: str  # "retrieval", "object"
    parts: tuple[Part, ...]
    sizes: tuple[Size, ...]  # the most frequent first
    missing: int
    missing_files: tuple[str, ...]
    unreadable: int
    unreadable_files: tuple[str, ...]
    same: int  # groups of equal files
    alike: int  # groups that look alike without being equal
    groups: tuple[Same, ...]
    leaks: tuple[Leak, ...]
    near_m: float  # what counts as leaking ground
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A pair or a test's picture, as far as leaks go."""

    pictures: tuple[tuple[Path, Role], ...]
    place: int
    position: LatLon | None
    world: str  # "" where it is unknown


@dataclass(frozen=True, slots=True)
class _Seen:
    """One picture, read."""

    digest: bytes
    look: bytes  # see ``looks``; nothing where the picture is too even to tell
    size: tuple[int, int]  # height, width
    problem: str


def check(data: Data, *, workers: int = 4, report: Report = ignore) -> Checked:
    """``workers`` threads read pictures; a picture is decoded at an eighth where it is a JPEG.

    Raises UserError for a data set in which there is nothing to check.
    """
    parts = parts_of(data)
    if not any(parts.values()):
        raise UserError(f"{data.folder} holds no pair whose pictures are there", "Copy it again.")
    roles: dict[Path, Role] = {}
    for rows in parts.values():
        for row in rows:
            for path, role in row.pictures:
                roles.setdefault(path, role)
    seen = dict(_read_all(list(roles), workers, report))
    near_m = _near_m(data)
    report(Progress(len(roles), len(roles), "looking for leaks"))
    leaks = tuple(_leaks(data, parts, seen, near_m, report))
    bad = [f"{_name(data, p)}: {s.problem}" for p, s in seen.items() if s.problem]
    exact, alike = _groups(data, seen)
    return Checked(
        name=data.name,
        folder=str(data.folder),
        task="object" if isinstance(data, ObjectData) else "retrieval",
        parts=tuple(_part(name, rows) for name, rows in parts.items()),
        sizes=_sizes(roles, seen),
        missing=len(data.missing),
        missing_files=data.missing[:MOST_LISTED],
        unreadable=len(bad),
        unreadable_files=tuple(bad[:MOST_LISTED]),
        same=len(exact),
        alike=len(alike),
        groups=tuple((exact + alike)[:MOST_LISTED]),
        leaks=leaks,
        near_m=near_m,
        notes=_notes(data),
    )


# --- parts ----------------------------------------------------------------------


def parts_of(data: Data) -> dict[str, list[Row]]:
    """What is learnt comes first, as "train"."""
    if isinstance(data, ObjectData):
        return {
            name: [
                Row(((p.query, "query"), (p.satellite, "satellite")), p.place, p.position, p.world)
                for p in pairs
            ]
            for name, pairs in (("train", data.train), ("val", data.val), ("test", data.test))
        }
    parts = {
        name: [
            Row(((p.query, "query"), (p.satellite, "satellite")), p.place, p.position, p.world)
            for p in pairs
        ]
        for name, pairs in (("train", data.train), ("held out", data.held_out))
    }
    worlds = {pair.query: pair.world for pair in (*data.train, *data.held_out)}
    for test in data.tests:
        for role, pictures in (("queries", test.queries), ("gallery", test.gallery)):
            parts[f"{test.name}: {role}"] = [
                Row(
                    ((p.path, "satellite" if p.view == "satellite" else "query"),),
                    int(p.label),
                    p.position,
                    worlds.get(p.path, ""),
                )
                for p in pictures
            ]
    return parts


def _part(name: str, rows: Sequence[Row]) -> Part:
    return Part(
        name=name,
        pairs=len(rows),
        pictures=len({path for row in rows for path, _ in row.pictures}),
        places=len({row.place for row in rows}),
        located=sum(row.position is not None for row in rows),
    )


def _notes(data: Data) -> tuple[str, ...]:
    notes = []
    if isinstance(data, RetrievalData):
        if data.held_out_is_test:
            notes.append(
                "the pairs that a run measures itself on are part of the test: take its last "
                "epoch's figures, or hold some training places back (the word heldback)"
            )
        if data.train and not any(pair.position for pair in data.train):
            notes.append("no positions: distances, and leaks over the ground, cannot be told")
        unknown = sum(pair.heading_deg is None for pair in data.train)
        if unknown:
            notes.append(f"{unknown} of {len(data.train)} training queries have no known heading")
    return tuple(notes)


def _near_m(data: Data) -> float:
    """Tiles that far apart share half their ground."""
    size = data.tile_size_m if isinstance(data, RetrievalData) else None
    return size / 2 if size else NEAR_M


# --- pictures -------------------------------------------------------------------


def _read_all(paths: Sequence[Path], workers: int, report: Report) -> Iterator[tuple[Path, _Seen]]:
    """In their order; a few more than there are threads are under way at a time."""
    left = iter(paths)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting: list[tuple[Path, Future[_Seen]]] = []

        def more(count: int) -> None:
            waiting.extend((path, pool.submit(_look, path)) for path in islice(left, count))

        try:
            more(_AHEAD * max(1, workers))
            done = 0
            while waiting:
                path, future = waiting.pop(0)
                yield path, future.result()
                more(1)
                done += 1
                if done % 16 == 0 or done == len(paths):
                    report(Progress(done, len(paths), "reading pictures"))
        finally:
            pool.shutdown(cancel_futures=True)


def _look(path: Path) -> _Seen:
    try:
        content = path.read_bytes()
    except OSError as error:
        return _Seen(b"", b"", (0, 0), error.strerror or "cannot be read")
    digest = hashlib.blake2b(content, digest_size=16).digest()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd tags in pictures that decode well
        try:
            image = Image.open(io.BytesIO(content))
            width, height = image.size
            image.draft("L", (4 * SIDE, 4 * SIDE))
            look = look_of(image)
        except (*_BROKEN, Image.DecompressionBombError) as error:
            return _Seen(digest, b"", (0, 0), str(error).partition("\n")[0] or "is damaged")
    return _Seen(digest, look, (height, width), "")


def _groups(data: Data, seen: Mapping[Path, _Seen]) -> tuple[list[Same], list[Same]]:
    """Of equal files, and of files that look alike, the first of equal ones for all."""
    equal: dict[bytes, list[Path]] = {}
    alike: dict[Path, list[Path]] = {}
    looks = Looks()
    for path, one in seen.items():
        if one.problem:
            continue
        copies = equal.setdefault(one.digest, [])
        copies.append(path)
        if len(copies) == 1:
            alike.setdefault(looks.add(path, one.look), []).append(path)

    def told(groups: Iterable[list[Path]], exact: bool) -> list[Same]:
        return [Same(tuple(_name(data, p) for p in g), exact) for g in groups if len(g) > 1]

    return told(equal.values(), True), told(alike.values(), False)


def _sizes(roles: Mapping[Path, Role], seen: Mapping[Path, _Seen]) -> tuple[Size, ...]:
    counts = Counter((roles[path], *one.size) for path, one in seen.items() if not one.problem)
    return tuple(Size(*key, count) for key, count in counts.most_common(MOST_LISTED))


def _name(data: Data, path: Path) -> str:
    return (
        path.relative_to(data.folder).as_posix() if path.is_relative_to(data.folder) else str(path)
    )


# --- leaks ----------------------------------------------------------------------


def _leaks(
    data: Data,
    parts: Mapping[str, list[Row]],
    seen: Mapping[Path, _Seen],
    near_m: float,
    report: Report,
) -> Iterator[Leak]:
    """Between training and each other part, and from val to test for objects.

    A gallery may hold training places, which are only distractors then: just its pictures' own
    queries are held against training.
    """
    train = parts["train"]
    for name, rows in parts.items():
        if name == "train" or name.endswith(": gallery"):
            continue
        yield from _between(data, ("train", name), train, rows, seen, near_m, report)
    if "val" in parts and "test" in parts:
        yield from _between(
            data, ("val", "test"), parts["val"], parts["test"], seen, near_m, report
        )


def _between(
    data: Data,
    names: tuple[str, str],
    first: Sequence[Row],
    second: Sequence[Row],
    seen: Mapping[Path, _Seen],
    near_m: float,
    report: Report,
) -> Iterator[Leak]:
    asked = dict.fromkeys(row.place for row in second)
    learnt = {row.place for row in first}
    shared = [place for place in asked if place in learnt]
    if shared:
        examples = tuple(f"place {place}" for place in shared[:3])
        yield Leak("place", names, len(shared), len(asked), examples)
    known = {seen[path].digest for path in _pictures(first) if not seen[path].problem}
    others = list(dict.fromkeys(_pictures(second)))
    equal = dict.fromkeys(p for p in others if not seen[p].problem and seen[p].digest in known)
    if equal:
        examples = tuple(_name(data, path) for path in islice(equal, 3))
        yield Leak("picture", names, len(equal), len(others), examples)
    looks = Looks()
    for path in dict.fromkeys(_pictures(first)):
        looks.add(path, seen[path].look)
    alike = [p for p in others if p not in equal and looks.find(seen[p].look) is not None]
    if alike:
        examples = tuple(_name(data, path) for path in alike[:3])
        yield Leak("look", names, len(alike), len(others), examples)
    located = [row for row in second if row.position is not None]
    near = [located[n] for n in _near_rows(first, located, near_m, report)]
    if near:
        examples = tuple(_name(data, row.pictures[0][0]) for row in near[:3])
        yield Leak("ground", names, len(near), len(located), examples)


def _pictures(rows: Iterable[Row]) -> Iterator[Path]:
    return (path for row in rows for path, _ in row.pictures)


def _near_rows(
    first: Sequence[Row], second: Sequence[Row], near_m: float, report: Report
) -> list[int]:
    """Rows of ``second`` that have one of ``first`` near, in the same world if both are known."""
    found = []
    worlds = {row.world for row in first}
    for world in dict.fromkeys(row.world for row in second):
        here = [n for n, row in enumerate(second) if row.world == world]
        mine = {world} if world else worlds
        known = [row.position for row in first if row.position is not None and row.world in mine]
        asked = [second[n].position for n in here]
        places = [place for place in asked if place is not None]
        counts = near_count(places, known, within_m=near_m, report=report)
        found += [n for n, count in zip(here, counts, strict=True) if count]
    return found
