"""What a check of a data set found, in words for a terminal."""

from collections.abc import Iterator

from app.engine.datasets.check import Checked, Leak

SHOWN = 5  # of each kind of trouble; --json has more


def check_text(checked: Checked) -> str:
    return "\n".join(_lines(checked))


def _lines(checked: Checked) -> Iterator[str]:
    yield f"{checked.name}: {checked.folder}"
    yield f"  {'':<34}{'rows':>9}{'pictures':>10}{'places':>9}{'located':>9}"
    for part in checked.parts:
        counts = f"{part.pairs:>9,}{part.pictures:>10,}{part.places:>9,}{part.located:>9,}"
        yield f"  {part.name:<34}{counts}"
    for size in checked.sizes[:SHOWN]:
        yield f"  {size.pictures:,} {size.role} pictures of {size.width} x {size.height}"
    if len(checked.sizes) > SHOWN:
        yield f"  and {len(checked.sizes) - SHOWN} or more other sizes"
    yield from _files("missing", checked.missing, checked.missing_files)
    yield from _files("unreadable", checked.unreadable, checked.unreadable_files)
    yield from _groups(checked)
    if not checked.leaks:
        yield "no leaks: no place, picture or ground is both learnt from and measured on"
    for leak in checked.leaks:
        yield _leak(leak, checked.near_m)
    for note in checked.notes:
        yield f"note: {note}"


def _files(kind: str, count: int, files: tuple[str, ...]) -> Iterator[str]:
    if not count:
        yield f"no {kind} files"
        return
    yield f"{count:,} {kind} files"
    for name in files[:SHOWN]:
        yield f"  {name}"
    if count > SHOWN:
        yield f"  and {count - SHOWN:,} more"


def _groups(checked: Checked) -> Iterator[str]:
    if not checked.same and not checked.alike:
        yield "no duplicate pictures"
        return
    yield f"{checked.same:,} groups of equal files, {checked.alike:,} of pictures that look alike"
    for group in checked.groups[:SHOWN]:
        more = f" and {len(group.pictures) - 3} more" if len(group.pictures) > 3 else ""
        sign = "=" if group.exact else "~"
        yield f"  {f' {sign} '.join(group.pictures[:3])}{more}"


def _leak(leak: Leak, near_m: float) -> str:
    first, second = leak.between
    what = {
        "place": f"places of {second} are places of {first} too",
        "picture": f"pictures of {second} are files of {first} too",
        "look": f"pictures of {second} look like ones of {first}",
        "ground": f"located queries of {second} lie within {near_m:.0f} m of one of {first}",
    }[leak.kind]
    return f"leak: {leak.count:,} of {leak.of:,} {what} ({', '.join(leak.examples)})"
