"""The error browser: a scored evaluation's queries that were not found, worst or surest first."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from app.engine.evaluation_boxes import centre_error_px, overlap, read_boxes
from app.engine.evaluation_compare import got_right, same_test
from app.engine.evaluation_files import Described, open_described, read_manifest
from app.engine.evaluation_rows import Rows, read_rows
from app.engine.evaluation_score import cosines
from app.messages import BrowseErrors, ErrorsBrowsed
from app.results import BoxRow, ErrorRow, Shown

RIGHT_SHOWN = 3
FOUND_IOU = 0.5  # a box that overlaps so much is no error


def browse(request: BrowseErrors) -> ErrorsBrowsed:
    """One page. Raises UserError where the folder, or the other one, has not been scored."""
    task = read_manifest(request.folder).task
    only = None
    if request.found_by is not None:
        same_test(request.folder, request.found_by)
        own, other = (read_rows(folder) for folder in (request.folder, request.found_by))
        only = got_right(other, task) & ~got_right(own, task)
    if task == "object":
        return _browse_boxes(request, only)
    rows = read_rows(request.folder)
    order = _kept(_order(rows, request.order), only)
    page = order[request.start : request.start + request.count]
    found = error_rows(open_described(request.folder), rows, page)
    return ErrorsBrowsed(request.folder, len(order), request.start, found)


def _kept(
    order: Int64[np.ndarray, " e"], only: Bool[np.ndarray, " q"] | None
) -> Int64[np.ndarray, " k"]:
    return order if only is None else order[only[order]]


def _order(rows: Rows, order: str) -> Int64[np.ndarray, " e"]:
    """Queries that are not found at rank 1.

    "worst": those without any right picture last, else by rank, then by the gap. "sure": by the
    probability that the wrong answer was given, or where there is none by its score.
    """
    missed = np.flatnonzero(rows.rank != 0)
    gap = np.nan_to_num(rows.top_score[:, 0] - rows.right_score)
    sure = np.where(np.isfinite(rows.probability), rows.probability, rows.top_score[:, 0])
    if order == "sure":
        return np.asarray(missed[np.lexsort((missed, -sure[missed]))])
    return np.asarray(missed[np.lexsort((missed, -gap[missed], -rows.rank[missed]))])


def error_rows(
    described: Described, rows: Rows, which: Int64[np.ndarray, " e"]
) -> tuple[ErrorRow, ...]:
    """What the browser shows of these queries. The best right pictures are scored here, anew."""
    positives = described.trial.positives
    return tuple(_error_row(described, rows, int(row), positives[row]) for row in which)


def _error_row(described: Described, rows: Rows, row: int, right: tuple[int, ...]) -> ErrorRow:
    side = described.trial.queries
    best = tuple(
        _shown(described, int(tile), float(score), tile in right, float(away))
        for tile, score, away in zip(rows.top[row], rows.top_score[row], rows.metres[row])  # noqa: B905 - one shape
    )
    scores = (
        cosines(described.queries[row : row + 1], described.gallery[list(right)])[0]
        if right
        else np.empty(0, np.float32)
    )
    order = np.argsort(-scores, kind="stable")[:RIGHT_SHOWN]
    rank, share = int(rows.rank[row]), float(rows.probability[row])
    away = float(rows.metres[row, 0])
    return ErrorRow(
        query=described.picture(side.paths[row]),
        row=row,
        label=side.labels[row],
        rank=None if rank < 0 else rank + 1,
        right=tuple(
            _shown(described, right[i], float(scores[i]), True, float("nan")) for i in order
        ),
        best=best,
        gap=float(rows.top_score[row, 0] - rows.right_score[row]) if right else None,
        probability=share if np.isfinite(share) else None,
        metres=away if np.isfinite(away) else None,
    )


def _shown(described: Described, tile: int, score: float, right: bool, away: float) -> Shown:
    picture = described.picture(described.trial.gallery.paths[tile])
    return Shown(picture, tile, score, right, away if np.isfinite(away) else None)


# --- objects -----------------------------------------------------------------


def _browse_boxes(request: BrowseErrors, only: Bool[np.ndarray, " q"] | None) -> ErrorsBrowsed:
    lines, numbers = read_boxes(request.folder)
    iou, away = overlap(numbers), centre_error_px(numbers)
    missed = np.flatnonzero(iou < FOUND_IOU)
    key = -numbers["score"] if request.order == "sure" else iou
    order = _kept(missed[np.lexsort((missed, -away[missed], key[missed]))], only)
    root = Path(read_manifest(request.folder).root)
    page = order[request.start : request.start + request.count]

    def box_row(row: int) -> BoxRow:
        n = {name: float(column[row]) for name, column in numbers.items()}
        ground = away[row] * n["gsd_m"]
        return BoxRow(
            query=root / lines[row]["query"],
            satellite=root / lines[row]["satellite"],
            row=row,
            click=(n["click_x"], n["click_y"]),
            truth=(n["left"], n["top"], n["right"], n["bottom"]),
            found=(n["x0"], n["y0"], n["x1"], n["y1"]),
            score=n["score"],
            iou=float(iou[row]),
            category=lines[row]["category"],
            centre_px=float(away[row]),
            centre_m=float(ground) if np.isfinite(ground) else None,
        )

    rows = tuple(box_row(int(row)) for row in page)
    return ErrorsBrowsed(request.folder, len(order), request.start, rows)
