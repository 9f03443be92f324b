"""What ``skyfix doctor`` is asked and what it answers: plain data, shown by window and terminal."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

# "note": works, but not as well as it could; "problem": something does not work at all.
Severity = Literal["good", "note", "problem"]

_MARKS: dict[Severity, str] = {"good": " ", "note": "-", "problem": "!"}


@dataclass(frozen=True, slots=True)
class Doctor:
    """Look at this installation; with ``bundle``, also pack what is found for whoever helps."""

    bundle: Path | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    area: str  # "Versions", "Device": findings of one area follow each other
    name: str
    words: str
    severity: Severity = "good"
    fix: str = ""  # what to do; there is one unless all is good


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The answer to Doctor."""

    findings: tuple[Finding, ...]
    bundle: Path | None = None  # where it was packed

    @property
    def is_well(self) -> bool:
        """Nothing prevents work."""
        return not any(finding.severity == "problem" for finding in self.findings)

    @property
    def summary(self) -> str:
        problems = sum(finding.severity == "problem" for finding in self.findings)
        notes = sum(finding.severity == "note" for finding in self.findings)
        told = _counted(notes, "thing") + " could be better" if notes else ""
        if problems:
            return f"{_counted(problems, 'problem')}{f'; {told}' if told else ''}."
        return f"All is well{f', though {told}' if told else ''}."

    def text(self) -> str:
        """For a terminal or a mail: aligned, a mark before what is not good."""
        width = max((len(finding.name) for finding in self.findings), default=0)
        lines = []
        for area, findings in groupby(self.findings, key=lambda finding: finding.area):
            lines.append(area)
            for finding in findings:
                lines += _lines_of(finding, width)
            lines.append("")
        return "\n".join([*lines, self.summary]) + "\n"


def _lines_of(finding: Finding, width: int) -> Iterator[str]:
    yield f"{_MARKS[finding.severity]} {finding.name:<{width}}  {finding.words}"
    if finding.fix:
        yield f"  {'':<{width}}  -> {finding.fix}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
