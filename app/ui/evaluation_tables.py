"""The figures of evaluations as rows of words: for the window, as Markdown and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.engine.published_results import PublishedRow, published
from app.results import EvaluationResult, Measure, Unit
from app.ui.evaluation_folders import Evaluation

OURS = "This checkpoint"
NONE = "–"


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table. ``own`` are the rows of our own figures, ``marked`` those of our networks."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()  # columns
    own: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()


def figure(value: float, unit: Unit) -> str:
    if unit == "share":
        return f"{value:.2%}"
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.1f} {unit}"


def interval(low: float, high: float, unit: Unit) -> str:
    if unit == "share":
        return f"{low:.1%} – {high:.1%}"
    return f"{figure(low, unit)} – {figure(high, unit)}"


def test_of(result: EvaluationResult) -> str:
    return f"{result.data}, {result.test}"


def labels(shown: Sequence[Evaluation]) -> tuple[str, ...]:
    """A name for each that tells it from the others, and says no more than that."""
    parts = [
        (e.result.checkpoint_title, test_of(e.result), e.result.put, e.folder.parent.name)
        for e in shown
    ]
    for count in range(1, 5):
        chosen = tuple(", ".join(_telling(part, parts, count)) for part in parts)
        if len(set(chosen)) == len(chosen):
            return chosen
    return tuple(f"{n}. {part[0]}" for n, part in enumerate(parts, start=1))


def _telling(part: tuple[str, ...], parts: Sequence[tuple[str, ...]], count: int) -> list[str]:
    """The first that differ, at most ``count``; the title where nothing does."""
    differing = [name for at, name in enumerate(part) if len({other[at] for other in parts}) > 1]
    return differing[:count] or [part[0]]


# --- our own figures ---------------------------------------------------------


def measures_sheet(shown: Sequence[Evaluation]) -> Sheet:
    """A row a measure. One evaluation gets its interval in a column of its own."""
    results = [entry.result for entry in shown]
    names = tuple(dict.fromkeys(m.name for r in results for m in r.measures))
    if len(results) == 1:
        head: tuple[str, ...] = ("Measure", OURS, "95 % interval", "Chance", "How it is read")
    else:
        head = ("Measure", *labels(shown), "Chance", "How it is read")
    rows = []
    for name in names:
        found = [result.measure(name) for result in results]
        some = next(measure for measure in found if measure is not None)
        chances = {m.chance for m in found if m is not None}
        chance = some.chance if len(chances) == 1 else None
        rows.append(
            (
                name,
                *(_single(some) if len(results) == 1 else map(_value, found)),
                NONE if chance is None else f"{chance:.2%}",
                some.note,
            )
        )
    return Sheet(head, tuple(rows), frozenset(range(1, len(head) - 1)))


def _single(measure: Measure) -> tuple[str, str]:
    low_high = interval(measure.low, measure.high, measure.unit)
    return figure(measure.value, measure.unit), low_high


def _value(measure: Measure | None) -> str:
    if measure is None:
        return NONE
    low_high = interval(measure.low, measure.high, measure.unit)
    return f"{figure(measure.value, measure.unit)} ({low_high})"


def notes_of(result: EvaluationResult) -> tuple[str, ...]:
    """What a reader of the figures must know."""
    said = [f"Queries: {result.queries:,}, {result.put}. Searched: {result.gallery:,} pictures."]
    if result.resamples:
        unit = "queries" if result.groups == result.queries else "places"
        said.append(
            f"Intervals: 95 % of {result.resamples:,} bootstrap draws of {result.groups:,} {unit}, "
            f"seed {result.seed}."
        )
    said += [f"{note[:1].upper()}{note[1:]}." for note in result.notes]
    said += [
        f"With answers only above score {t.score:.3f}, {t.found:.1%} are found, and "
        f"{t.false_accepts:.0%} of queries from elsewhere still get an answer."
        for t in result.thresholds
    ]
    return tuple(said)


# --- what papers print -------------------------------------------------------


def published_sheet(shown: Sequence[Evaluation]) -> Sheet | None:
    """The papers' rows, best first, ours where they stand among them; None: nothing is published.

    Only evaluations of the first one's test are set beside them. Checkpoints that were trained
    on another data set come last.
    """
    first = shown[0].result
    beside = [e for e in shown if (e.result.data, e.result.test) == (first.data, first.test)]
    rows = published(first.data, first.test)
    known = {m.name: m for e in beside for m in e.result.measures}
    names = [name for name in known if any(name in row.values for row in rows)]
    if not names:
        return None
    order = "R@1" if "R@1" in names else names[0]
    said = _own_lines(beside) + [
        (_method(row), row.values, row) for row in rows if any(name in row.values for name in names)
    ]
    said.sort(key=lambda line: (_elsewhere(line[2]), -line[1].get(order, -1.0)))
    return Sheet(
        head=("Method", *names, "Where it comes from"),
        rows=tuple(
            (
                method,
                *(figure(v[n], known[n].unit) if n in v else NONE for n in names),
                "measured here" if row is None else row.source,
            )
            for method, v, row in said
        ),
        numbers=frozenset(range(1, len(names) + 1)),
        own=frozenset(n for n, (_, _, row) in enumerate(said) if row is None),
        marked=frozenset(n for n, (_, _, row) in enumerate(said) if row is not None and row.paper),
    )


_Line = tuple[str, Mapping[str, float], PublishedRow | None]


def _own_lines(shown: Sequence[Evaluation]) -> list[_Line]:
    names = (OURS,) if len(shown) == 1 else labels(shown)
    return [
        (name, {m.name: m.value for m in entry.result.measures}, None)
        for name, entry in zip(names, shown, strict=True)
    ]


def _method(row: PublishedRow) -> str:
    return f"{row.method} (trained on {row.trained_on})" if row.trained_on else row.method


def _elsewhere(row: PublishedRow | None) -> bool:
    return row is not None and bool(row.trained_on)


# --- to be copied ------------------------------------------------------------


def markdown(shown: Sequence[Evaluation]) -> str:
    """Head, figures, published rows and notes."""
    first = shown[0].result
    parts = [f"**{_cell(labels(shown)[0] if len(shown) == 1 else test_of(first))}**"]
    if len(shown) == 1:
        parts[0] += f" on {_cell(test_of(first))}"
    parts.append(_grid(measures_sheet(shown)))
    if (beside := published_sheet(shown)) is not None:
        parts.append(_grid(beside))
    parts.append("\n".join(f"- {_cell(note)}" for note in notes_of(first)))
    return "\n\n".join(parts) + "\n"


def _grid(sheet: Sheet) -> str:
    rule = ("---:" if n in sheet.numbers else "---" for n in range(len(sheet.head)))
    lines = [sheet.head, tuple(rule)]
    lines += [
        tuple(f"**{_cell(c)}**" if n in sheet.own and c else _cell(c) for c in row)
        for n, row in enumerate(sheet.rows)
    ]
    head, ruled, *rows = lines
    return "\n".join(
        "| " + " | ".join(cells) + " |" for cells in (tuple(map(_cell, head)), ruled, *rows)
    )


def _cell(words: str) -> str:
    return words.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


CSV_HEAD = (
    "who", "data", "test", "put", "measure", "unit", "value", "low", "high", "chance", "note",
    "source",
)  # fmt: skip


def as_csv(shown: Sequence[Evaluation]) -> str:
    """A line a figure, in full precision: shares are 0..1. Published rows come after ours."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for entry in shown:
        r = entry.result
        for m in r.measures:
            figures = (m.value, m.low, m.high, "" if m.chance is None else m.chance)
            writer.writerow(
                (r.checkpoint_title, r.data, r.test, r.put, m.name, m.unit, *figures, m.note,
                 "measured here")
            )  # fmt: skip
    first = shown[0].result
    units = {m.name: m.unit for m in first.measures}
    for row in published(first.data, first.test):
        for name, value in row.values.items():
            if name in units:
                writer.writerow(
                    (_method(row), first.data, first.test, "", name, units[name], value, "", "", "",
                     "", row.source)
                )  # fmt: skip
    return out.getvalue()
