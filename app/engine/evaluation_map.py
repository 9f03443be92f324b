"""Descriptors drawn on a plane, so that one can see which pictures a network takes for alike.

By their two main axes, or by t-SNE where openTSNE is installed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float64, Int64

from app.engine.checkpoints import write_whole
from app.engine.evaluation_files import Described, open_described
from app.engine.evaluation_rows import ROWS_NAME, read_rows
from app.errors import UserError
from app.messages import JobCancelled, Progress, Project, Projected, Report, ignore
from app.results import Projection

Method = Literal["pca", "tsne"]
QUERY: Literal["query"] = "query"
TILE: Literal["gallery"] = "gallery"
PERPLEXITY = 30.0
BEFORE_TSNE = 50  # main axes that t-SNE starts from
REPORT_EVERY = 10  # iterations


def project_folder(request: Project, report: Report = ignore) -> Projected:
    """Queries and gallery of an evaluation, kept in its folder for the next time."""
    described = open_described(request.folder)
    kept = request.folder / f"map-{request.method}.json"
    scored = (request.folder / ROWS_NAME).is_file()  # a map from before has no ranks
    manifest = described.manifest
    asked = [manifest.asked, manifest.checkpoint, request.most, request.seed, scored]
    found = _kept(kept, asked)
    if found is None:
        found = _projection(described, request, report)
        body = json.dumps({"asked": asked, **asdict(found)}, ensure_ascii=False)
        write_whole(kept, body.encode())
    return Projected(request.folder, found)


def project(
    descriptors: Float[np.ndarray, "n d"],
    method: Method = "pca",
    *,
    seed: int = 0,
    report: Report = ignore,
) -> Float64[np.ndarray, "n 2"]:
    """Places on a plane. Raises UserError for t-SNE where openTSNE is missing."""
    if method == "pca":
        return _main_axes(descriptors, 2)
    if find_spec("openTSNE") is None:
        raise UserError(
            "t-SNE needs the package openTSNE, which is not installed",
            "Install Skyfix with its evaluation extra, or draw the main axes (PCA).",
        )
    return _tsne(descriptors, seed, report)


def _main_axes(descriptors: Float[np.ndarray, "n d"], axes: int) -> Float64[np.ndarray, "n a"]:
    """Signs are such that the largest weight of each axis is positive: the same on any machine."""
    centred = descriptors.astype(np.float64) - descriptors.mean(axis=0, dtype=np.float64)
    axes = min(axes, *centred.shape)
    wide = centred.shape[1] > centred.shape[0]
    # Of the two products of the matrix with itself the smaller has the same axes.
    _, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    weights = vectors[:, ::-1][:, :axes].T
    if wide:
        weights = weights @ centred
        weights /= np.linalg.norm(weights, axis=1, keepdims=True).clip(1e-12)
    largest = np.abs(weights).argmax(axis=1)
    weights = weights * np.where(weights[np.arange(axes), largest] < 0, -1.0, 1.0)[:, None]
    plane = centred @ weights.T
    return np.pad(plane, ((0, 0), (0, max(0, 2 - axes))))


def _tsne(
    descriptors: Float[np.ndarray, "n d"], seed: int, report: Report
) -> Float64[np.ndarray, "n 2"]:
    from openTSNE import TSNE

    count = len(descriptors)
    if count < 4:
        return _main_axes(descriptors, 2)
    stopped: list[JobCancelled] = []

    def told(iteration: int, _error: float, _embedding: Any) -> bool:
        """Whether to stop: openTSNE takes no exception through its own loop."""
        try:
            report(Progress(iteration, 0, "drawing the map"))
        except JobCancelled as cancelled:
            stopped.append(cancelled)
        return bool(stopped)

    tsne = TSNE(
        perplexity=min(PERPLEXITY, (count - 1) / 3),
        initialization="pca",
        metric="euclidean",  # of unit vectors: the same order as by cosine
        random_state=seed,
        n_jobs=1,  # the same map on any machine
        neighbors="exact",
        callbacks=told,
        callbacks_every_iters=REPORT_EVERY,
    )
    plane = np.asarray(tsne.fit(_main_axes(descriptors, BEFORE_TSNE)), np.float64)
    if stopped:
        raise stopped[0]
    return plane


# --- of a folder -------------------------------------------------------------


def _projection(described: Described, request: Project, report: Report) -> Projection:
    trial = described.trial
    queries, tiles = len(trial.queries), len(trial.gallery)
    half = max(1, request.most // 2)
    shown_queries = _thinned(queries, max(half, request.most - tiles))
    shown_tiles = _thinned(tiles, max(half, request.most - queries))
    rows = np.concatenate(
        [described.queries[shown_queries, 0], described.gallery[shown_tiles, 0]]
    ).astype(np.float32)
    xy = project(rows, request.method, seed=request.seed, report=report)
    ranks = _ranks(described.folder, queries)
    return Projection(
        method=request.method,
        note=_note(request.method, len(rows), queries + tiles),
        x=tuple(xy[:, 0].tolist()),
        y=tuple(xy[:, 1].tolist()),
        side=(QUERY,) * len(shown_queries) + (TILE,) * len(shown_tiles),
        row=(*shown_queries.tolist(), *shown_tiles.tolist()),
        picture=(
            *(str(described.picture(trial.queries.paths[i])) for i in shown_queries),
            *(str(described.picture(trial.gallery.paths[i])) for i in shown_tiles),
        ),
        label=(
            *(trial.queries.labels[i] for i in shown_queries),
            *(trial.gallery.labels[i] for i in shown_tiles),
        ),
        rank=(*(int(ranks[i]) + 1 for i in shown_queries), *(0 for _ in shown_tiles)),
    )


def _thinned(count: int, most: int) -> Int64[np.ndarray, " k"]:
    kept = min(count, most)
    return np.arange(kept, dtype=np.int64) * count // max(kept, 1)


def _ranks(folder: Path, queries: int) -> Int64[np.ndarray, " q"]:
    """From 0; -1 for all where nothing was scored yet."""
    if not (folder / ROWS_NAME).is_file():
        return np.full(queries, -1, np.int64)
    return read_rows(folder).rank


def _note(method: Method, shown: int, all_: int) -> str:
    kept = "the two main axes" if method == "pca" else "who is near whom, not how far"
    left_out = f"; {shown} of {all_} pictures" if shown < all_ else ""
    return f"shows {kept}{left_out}"


def _kept(path: Path, asked: Sequence[object]) -> Projection | None:
    """The map of an earlier request of the same; None if it is another's or damaged."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["asked"] != asked:
            return None
        columns: dict[str, Any] = {f.name: raw[f.name] for f in fields(Projection)}
        return Projection(**{k: _frozen(v) for k, v in columns.items()})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
