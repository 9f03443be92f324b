"""Two checkpoints on the same queries: how much better one is, and whether that may be chance."""

import numpy as np

from app.engine.evaluation_files import read_manifest
from app.engine.evaluation_intervals import figure, intervals, resampled, sign_test
from app.engine.evaluation_rows import read_rows
from app.errors import UserError
from app.messages import Compare, Compared, Report, ignore
from app.results import Comparison, Difference


def compare(request: Compare, report: Report = ignore) -> Compared:
    """Every figure that both have. Raises UserError unless both were asked the same."""
    manifests = [read_manifest(folder) for folder in (request.first, request.second)]
    first, second = manifests
    if (first.task, first.asked) != (second.task, second.asked):
        raise UserError(
            f"{request.first.name} and {request.second.name} did not measure the same pictures "
            f"({first.data}, {first.test}; {second.data}, {second.test})",
            "Compare two checkpoints on the same test of the same data set.",
        )
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
    judged = "accu@0.5" if first.task == "object" else "R@1"
    right = [table[judged].values == 1 for table in tables]
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
            p_name=f"McNemar's exact test of {judged}"
            if single
            else f"exact sign test of {judged} by place",
            resamples=request.resamples,
            seed=request.seed,
        ),
    )
