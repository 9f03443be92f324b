"""What the ablations' figures say: effects with their intervals, beside the papers'.

An effect is the difference of two rows that were trained alike with one seed; its interval is
Student's, at 95 %, over the seeds. Test pictures are the same for all, so that it says nothing of
other pictures.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.ablation_data import AREAS
from benchmarks.ablation_tables import Contrast, Method

Verdict = Literal["agrees", "disagrees", "undecided"]
# The 97.5 % points of Student's distribution, from one degree of freedom on; more take the last.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
LEARNT = 3.0  # times chance: a network below it has learnt nothing that a row could take away
SHOWN = {"AP plain": "MRR"}  # where one tile is right the mean precision is that


@dataclass(frozen=True, slots=True)
class Measured:
    """One finished run. Shares, by area and measure."""

    figures: Mapping[str, Mapping[str, float]]
    chance: Mapping[str, float | None]  # of the first measure, by area
    seconds: float  # of a core


Found = Mapping[tuple[str, int], Measured]  # by row and seed, of one method


@dataclass(frozen=True, slots=True)
class Effect:
    """Differences between two rows, one a seed."""

    differences: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.differences)

    @property
    def half(self) -> float:
        """Of the 95 % interval's width; infinite for a single seed."""
        count = len(self.differences)
        if count < 2:
            return math.inf
        student = STUDENT[min(count - 1, len(STUDENT)) - 1]
        return student * statistics.stdev(self.differences) / math.sqrt(count)

    @property
    def sign(self) -> str:
        return sign_of(self.mean)

    def alike(self, sign: str) -> int:
        """Seeds whose own difference has this sign."""
        return sum(sign_of(one) == sign for one in self.differences)

    def verdict(self, sign: str) -> Verdict:
        """Beside the paper's ``sign``."""
        if self.mean == 0 or abs(self.mean) <= self.half:
            return "undecided"
        return "agrees" if self.sign == sign else "disagrees"


def sign_of(difference: float) -> str:
    return "+" if difference > 0 else "-" if difference < 0 else "0"


def paper_sign(contrast: Contrast, area: str) -> str:
    figures = contrast.figures(area)
    return sign_of(figures[0] - figures[1]) if figures else contrast.claim


def effect(
    found: Found, contrast: Contrast, area: str, measure: str, seeds: Sequence[int]
) -> Effect | None:
    """Over the seeds that both rows are finished with; None: there is none."""
    pairs = [
        (found[contrast.row, seed], found[contrast.against, seed])
        for seed in seeds
        if (contrast.row, seed) in found and (contrast.against, seed) in found
    ]
    differences = [a.figures[area][measure] - b.figures[area][measure] for a, b in pairs]
    return Effect(tuple(differences)) if differences else None


@dataclass(frozen=True, slots=True)
class Line:
    """One contrast on one area."""

    contrast: Contrast
    area: str
    effects: tuple[Effect | None, ...]  # of the method's measures

    @property
    def sign(self) -> str:
        """The paper's."""
        return paper_sign(self.contrast, self.area)


def lines(method: Method, found: Found, seeds: Sequence[int]) -> list[Line]:
    return [
        Line(
            contrast,
            area,
            tuple(effect(found, contrast, area, m, seeds) for m in method.measures),
        )
        for contrast in method.contrasts
        for area in AREAS
    ]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many effects fall how beside the paper's signs."""

    agrees: int = 0
    disagrees: int = 0
    undecided: int = 0
    missing: int = 0
    mean_agrees: int = 0  # by the mean alone, whatever its interval

    def __str__(self) -> str:
        of = self.agrees + self.disagrees + self.undecided
        text = (
            f"{self.agrees} agree, {self.disagrees} disagree, {self.undecided} undecided of {of}; "
            f"by the mean's sign alone {self.mean_agrees} of {of}"
        )
        return text + (f" ({self.missing} not measured yet)" if self.missing else "")


def tally(rows: Sequence[Line], measure: int) -> Tally:
    """``measure`` is 0 for the paper's kind of figure, 1 for the finer one."""
    effects = [(line.effects[measure], line.sign) for line in rows]
    known = [(one, sign) for one, sign in effects if one is not None]
    verdicts = [one.verdict(sign) for one, sign in known]
    return Tally(
        verdicts.count("agrees"),
        verdicts.count("disagrees"),
        verdicts.count("undecided"),
        len(effects) - len(known),
        sum(one.sign == sign for one, sign in known),
    )


# --- text ------------------------------------------------------------------------


def report(
    found: Mapping[str, Found], methods: Sequence[Method], seeds: Sequence[int]
) -> Iterator[str]:
    """The lines of the whole report."""
    everything: list[Line] = []
    for method in methods:
        rows = lines(method, found[method.name], seeds)
        everything += rows
        yield from _head(method, found[method.name], seeds)
        yield from (_told(line) for line in rows)
        yield from _counts(method.measures, rows)
        yield from (f"  left out: {what}" for what in method.left_out)
        yield ""
    if everything:
        yield "All methods"
        yield from _counts(("R@1 or accu@0.5", "MRR or mean IoU"), everything)
    seconds = sum(one.seconds for runs in found.values() for one in runs.values())
    yield f"  {sum(map(len, found.values()))} rows measured, {seconds / 60:.0f} core-minutes"


def _head(method: Method, found: Found, seeds: Sequence[int]) -> Iterator[str]:
    yield f"{method.name}: the paper's figures are of {method.published}"
    for area in AREAS:
        runs = [found[method.full, seed] for seed in seeds if (method.full, seed) in found]
        if runs:
            yield _level(method, area, runs)
    first, second = (SHOWN.get(name, name) for name in method.measures)
    yield (
        f"  {'table':<10}{'row':<23}{'beside':<21}{'area':<6}{'paper':>15}{'':>2} "
        f"{first + ', points':>18} {'':<10} {second + ', points':>18} {'':<10} {'seeds':>5}"
    )


def _level(method: Method, area: str, runs: Sequence[Measured]) -> str:
    parts = []
    for measure in method.measures:
        values = [100 * run.figures[area][measure] for run in runs]
        spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
        parts.append(f"{SHOWN.get(measure, measure)} {statistics.fmean(values):.1f}{spread}")
    chance = runs[0].chance[area]
    text = f"  {method.full}, {area}-area: {', '.join(parts)}"
    if chance is None:
        return text
    first = statistics.fmean(run.figures[area][method.measures[0]] for run in runs)
    note = "" if first >= LEARNT * chance else "; IT HAS NOT LEARNT, its effects mean nothing"
    return f"{text}; chance {100 * chance:.1f}{note}"


def _told(line: Line) -> str:
    contrast, figures = line.contrast, line.contrast.figures(line.area)
    of_other = (contrast.same if line.area == "same" else contrast.cross) is None
    paper = "says so" if figures is None else f"{figures[0]:.2f} - {figures[1]:.2f}"
    paper = f"({paper})" if figures is not None and of_other else paper
    first, second = (_effect_told(one, line.sign) for one in line.effects)
    finer = line.effects[1]
    seeds = "" if finer is None else f"{finer.alike(line.sign)}/{len(finer.differences)}"
    return (
        f"  {contrast.table:<10}{contrast.row:<23}{contrast.against:<21}{line.area:<6}"
        f"{paper:>15}{line.sign:>2} {first} {second} {seeds:>5}"
    )


def _effect_told(one: Effect | None, sign: str) -> str:
    if one is None:
        return f"{'-':>18} {'':<10}"
    half = f"± {100 * one.half:.1f}" if math.isfinite(one.half) else ""
    return f"{100 * one.mean:>+8.1f} {half:<7}{one.sign:>2} {one.verdict(sign):<10}"


def _counts(measures: tuple[str, str], rows: Sequence[Line]) -> Iterator[str]:
    printed = [line for line in rows if not line.contrast.claim]
    said = [line for line in rows if line.contrast.claim]
    for number, measure in enumerate(measures):
        yield f"  {SHOWN.get(measure, measure)}: {tally(printed, number)}"
        if said:
            yield f"    of what the paper says without figures: {tally(said, number)}"
