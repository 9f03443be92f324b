"""Two checkpoints on the same queries: how much better one is, and whether that may be chance."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from app.engine.evaluation_files import DescriptionManifest, read_manifest
from app.engine.evaluation_intervals import figure, intervals, resampled, sign_test
from app.engine.evaluation_rows import Rows, read_rows
from app.errors import UserError
from app.messages import Compare, Compared, Report, ignore
from app.results import Comparison, Difference

JUDGED = {"retrieval": "R@1", "object": "accu@0.5"}  # by which a query is right or wrong


def same_test(first: Path, second: Path) -> tuple[DescriptionManifest, DescriptionManifest]:
    """Of two folders that were asked the same. Raises UserError for others."""
    one, two = read_manifest(first), read_manifest(second)
    if (one.task, one.asked) != (two.task, two.asked):
        raise UserError(
            f"{first.name} and {second.name} did not measure the same pictures "
            f"({one.data}, {one.test}; {two.data}, {two.test})",
            "Compare two checkpoints on the same test of the same data set.",
        )
    return one, two


def got_right(rows: Rows, task: str) -> Bool[np.ndarray, " q"]:
    """Which queries were answered rightly, as comparing counts them."""
    return np.asarray(rows.values[:, rows.names.index(JUDGED[task])] == 1)


def compare(request: Compare, report: Report = ignore) -> Compared:
    """Every figure that both have. Raises UserError unless both were asked the same."""
    first, second = same_test(request.first, request.second)
    rows = [read_rows(folder) for folder in (request.first, request.second)]
    if not np.array_equal(rows[0].group, rows[1].group):
        raise UserError("The two evaluations group their queries otherwise", "Score both again.")
    tables = [{column.name: column for column in found.columns()} for found in rows]
    names = [name for name in tables[0] if name in tables[1]]
    drawn = [
        resampled(
            [table[name] for name in names],
            rows[0].group,
            resamples=request.resamples,
            seed=request.seed,
            report=report,
        )
        for table in tables
    ]
    ends = intervals(drawn[1] - drawn[0])
    figures = [[figure(table[name]) for name in names] for table in tables]
    differences = tuple(
        Difference(name, a, b, b - a, float(low), float(high), tables[0][name].unit)
        for name, a, b, (low, high) in zip(names, *figures, ends, strict=True)
        if np.isfinite([a, b, low, high]).all()
    )
    right = [got_right(found, first.task) for found in rows]
    only_first, only_second, p_value = sign_test(right[0], right[1], rows[0].group)
    single = len(rows[0].group) == int(rows[0].group.max()) + 1
    return Compared(
        request.first,
        request.second,
        Comparison(
            data=first.data,
            test=first.test,
            first_title=first.checkpoint_title,
            second_title=second.checkpoint_title,
            queries=len(rows[0].group),
            differences=differences,
            only_first=only_first,
            only_second=only_second,
            p_value=p_value,
            p_name=f"McNemar's exact test of {JUDGED[first.task]}"
            if single
            else f"exact sign test of {JUDGED[first.task]} by place",
            resamples=request.resamples,
            seed=request.seed,
        ),
    )
