"""Clicked objects in words: a line of the list, a tooltip, what goes to the clipboard."""

from collections.abc import Iterable

from app.ui.clicked_objects import Marker
from app.ui.map_marks import ObjectMark
from app.ui.object_layers import share_text

COLUMNS = ("Name", "Latitude, longitude", "Size", "±", "Prob.")
COLUMN_TIPS = (
    "Name; F2 or a double click changes it",
    "Centre of the object, WGS84",
    "West to east × south to north",
    "The centre lies within so far, if the box is as good as those that were measured",
    "Probability that this is the object's box",
)


def cells_of(marker: Marker) -> tuple[str, ...]:
    """As ``COLUMNS``; while there is no box, that stands in the place of the position."""
    box, name = marker.box, marker.pin.title
    if box is None:
        state = "not found" if marker.problem is not None else "not looked for"
        waits = marker.problem is None and not marker.missing
        return name, "looking…" if waits else state, "", "", ""
    error = "–" if box.error_m is None else f"{box.error_m:.1f} m"
    sure = "by hand" if marker.is_fixed else share_text(box)
    return name, str(box.centre), f"{box.width_m:.1f} × {box.height_m:.1f} m", error, sure


def state_words(marker: Marker) -> str:
    if marker.problem is not None:
        return marker.problem.title
    return marker.missing or "looking…"


def tip_of(marker: Marker) -> str:
    """All that is known, line by line."""
    box, reference, answer = marker.box, marker.reference, marker.answer
    click = f"Clicked at {marker.pin.click[0]:.0f}, {marker.pin.click[1]:.0f}"
    if marker.problem is not None:
        return "\n".join((marker.problem.title, marker.problem.hint, click))
    if box is None or reference is None or answer is None:
        return f"{state_words(marker)}\n{click}"
    error = answer.error_basis
    if marker.is_fixed:
        error = "no error bound: the box was drawn by hand"
    elif box.error_m is not None:
        error = f"Centre within {box.error_m:.1f} m: {error}"
    lines = [
        f"{marker.pin.title}: {box.centre}",
        f"{box.width_m:.1f} m west to east, {box.height_m:.1f} m south to north, "
        f"{box.area_m2:,.0f} m²",
        error[:1].upper() + error[1:],
        f"Found around tile {reference.tile}",
        click,
        *answer.notes,
    ]
    return "\n".join(lines)


def map_marks(markers: Iterable[Marker], selected: int | None) -> tuple[ObjectMark, ...]:
    marks = []
    for marker in markers:
        if (box := marker.box) is not None:
            lines = (
                marker.pin.title,
                f"{box.width_m:.1f} × {box.height_m:.1f} m",
                "drawn by hand" if marker.is_fixed else f"probability {share_text(box)}",
                str(box.centre),
            )
            chosen = marker.pin.number == selected
            marks.append(ObjectMark(marker.pin.number, box.polygon, box.centre, lines, chosen))
    return tuple(marks)


def as_table(markers: Iterable[Marker]) -> str:
    """For a spreadsheet: tabs, a point in numbers, metres and degrees without units."""
    head = ("number", "name", "lat", "lon", "width_m", "height_m", "error_m", "probability")
    lines = ["\t".join(head)]
    for marker in markers:
        box = marker.box
        if box is None:
            continue
        cells = (
            str(marker.pin.number),
            _plain(marker.pin.title),
            f"{box.centre.lat:.7f}",
            f"{box.centre.lon:.7f}",
            f"{box.width_m:.2f}",
            f"{box.height_m:.2f}",
            "" if box.error_m is None else f"{box.error_m:.2f}",
            "by hand" if marker.is_fixed else f"{box.probability:.4f}",
        )
        lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"


def _plain(name: str) -> str:
    """A name that a spreadsheet takes for no formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
