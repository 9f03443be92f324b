"""A clicked object as the window knows it: what the user decided, what was found, both together."""

from dataclasses import dataclass, replace
from pathlib import Path

from app.geo import LatLon
from app.messages import ObjectsFound, Problem
from app.object_messages import FoundBox, FoundObject, Point, Reference

Box = tuple[float, float, float, float]  # left, top, right, bottom in a reference's pixels

LEAST_BOX_PX = 2.0  # as in engine.corrections: a smaller one is a slip of the hand


@dataclass(frozen=True, slots=True)
class Fix:
    """A box that a person put right. It keeps its place whichever tile is looked at."""

    answer: ObjectsFound  # what was corrected
    reference: Reference
    box: Box
    found: Box  # the network's
    added: bool = False  # to the training set


@dataclass(frozen=True, slots=True)
class Pin:
    """What the user decided of one object; all of it can be undone."""

    number: int  # in its photo
    click: Point  # pixels of the photo's file, upright
    name: str = ""
    rank: int = 1  # of the boxes found
    refine: bool = False  # look once more, centred on the best box
    force: bool = False  # look although the click seems to make no sense
    fix: Fix | None = None

    @property
    def title(self) -> str:
        return self.name or f"Object {self.number}"


@dataclass(frozen=True, slots=True)
class Question:
    """What an answer depends on; the same question is never asked twice."""

    photo: Path
    click: Point
    gallery: Path
    checkpoint: Path
    tiles: tuple[str, ...]
    refine: bool
    force: bool


@dataclass(frozen=True, slots=True)
class Marker:
    """A pin with its answer: what a panel shows. Neither answer nor problem: under way."""

    pin: Pin
    answer: ObjectsFound | None = None
    problem: Problem | None = None
    missing: str = ""  # why nothing is asked

    @property
    def boxes(self) -> tuple[FoundBox, ...]:
        return () if self.answer is None else self.answer.objects[0].boxes

    @property
    def is_fixed(self) -> bool:
        return self.pin.fix is not None

    @property
    def box(self) -> FoundBox | None:
        """The one taken: corrected, else of the rank that was chosen."""
        if self.pin.fix is not None:
            return fixed_box(self.pin.fix)
        boxes = self.boxes
        return boxes[min(self.pin.rank, len(boxes)) - 1] if boxes else None

    @property
    def reference(self) -> Reference | None:
        """The picture in which the box lies."""
        if self.pin.fix is not None:
            return self.pin.fix.reference
        box = self.box
        return None if self.answer is None or box is None else self.answer.references[box.reference]


def is_inside(click: Point, width: float, height: float) -> bool:
    return 0 <= click[0] <= width and 0 <= click[1] <= height


def fixed_box(fix: Fix) -> FoundBox:
    """A corrected box on the ground. No network answers for it: it has no error bound."""
    left, top, right, bottom = fix.box
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    reference = fix.reference
    return FoundBox(
        rank=1,
        reference=0,
        box=fix.box,
        probability=1.0,
        score=0.0,
        polygon=tuple(_latlon(reference, *corner) for corner in corners),
        polygon_xy=tuple(reference.to_ground(*corner) for corner in corners),
        centre=_latlon(reference, (left + right) / 2, (top + bottom) / 2),
        width_m=(right - left) * reference.gsd_m,
        height_m=(bottom - top) * reference.gsd_m,
        error_m=None,
    )


def box_between(first: Point, second: Point, side_px: float) -> Box:
    """The box of two opposite corners, kept on the picture and from vanishing."""
    left, right = _span(first[0], second[0], side_px)
    top, bottom = _span(first[1], second[1], side_px)
    return left, top, right, bottom


def _span(one: float, other: float, side_px: float) -> tuple[float, float]:
    low, high = min(one, other), max(one, other)
    low = min(max(low, 0.0), side_px - LEAST_BOX_PX)
    return low, min(max(high, low + LEAST_BOX_PX), side_px)


def _latlon(reference: Reference, x_px: float, y_px: float) -> LatLon:
    """Between the reference's corners: over some hundred metres exact to millimetres."""
    north_west, north_east, south_east, south_west = reference.footprint
    across, down = x_px / reference.size_px, y_px / reference.size_px
    weights = (
        (north_west, (1 - across) * (1 - down)),
        (north_east, across * (1 - down)),
        (south_east, across * down),
        (south_west, (1 - across) * down),
    )
    return LatLon(sum(p.lat * w for p, w in weights), sum(p.lon * w for p, w in weights))


def as_one_answer(markers: tuple[Marker, ...]) -> tuple[ObjectsFound, ...]:
    """For export: the taken boxes of one photo, together where they are of one kind of answer."""
    groups: dict[tuple[Path, Path], list[Marker]] = {}
    for marker in markers:
        if marker.answer is not None and marker.box is not None:
            key = marker.answer.gallery, marker.answer.checkpoint
            groups.setdefault(key, []).append(marker)
    return tuple(_together(group) for group in groups.values())


def _together(markers: list[Marker]) -> ObjectsFound:
    references: list[Reference] = []
    objects: list[FoundObject] = []
    answer = markers[0].answer
    assert answer is not None
    for marker in markers:
        box, reference = marker.box, marker.reference
        assert box is not None
        assert reference is not None
        if reference not in references:
            references.append(reference)
        placed = replace(box, reference=references.index(reference))
        origin = "corrected by hand" if marker.is_fixed else ""
        objects.append(FoundObject(marker.pin.click, (placed,), marker.pin.title, origin))
    return replace(answer, references=tuple(references), objects=tuple(objects))
