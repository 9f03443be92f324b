"""Evaluating from end to end, and its second step alone: figures from a folder of descriptors."""

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from app import __version__, paths
from app.card import identity_of, read_card
from app.engine.checkpoints import write_whole
from app.engine.datasets.catalog import open_data_set
from app.engine.datasets.layout import ObjectData, RetrievalData, RetrievalTest
from app.engine.evaluation_boxes import evaluate_objects, score_boxes
from app.engine.evaluation_describe import describe_test, fits
from app.engine.evaluation_files import (
    Described,
    Trial,
    open_described,
    read_manifest,
    slug,
)
from app.engine.evaluation_intervals import group_numbers, measures, resampled
from app.engine.evaluation_rows import SHOWN, Rows, table_of, write_rows
from app.engine.evaluation_score import Scored, fitted_temperature, score_all
from app.engine.evaluation_trust import reliability, thresholds
from app.engine.protocols import (
    KEEP,
    RULES,
    Column,
    columns,
    curves,
    first_ranks,
    metres,
)
from app.engine.shelf import Shelf
from app.errors import UserError
from app.messages import Evaluate, Evaluated, Report, Score, ignore
from app.results import RESULT_NAME, EvaluationResult, result_to_json


def evaluate(request: Evaluate, shelf: Shelf, report: Report = ignore) -> Evaluated:
    """Both steps for each test that is asked for. Raises UserError."""
    folders = describe(request, shelf, report)
    results: list[EvaluationResult] = []
    for folder in folders:
        score = Score(folder, resamples=request.resamples, seed=request.seed)
        results += score_folder(score, report).results
    return Evaluated(folders, tuple(results))


def describe(request: Evaluate, shelf: Shelf, report: Report = ignore) -> tuple[Path, ...]:
    """The first step: a folder in ``request.output`` for each test."""
    output = request.output or _own_folder(request)
    data = open_data_set(request.data, name=request.name, report=report)
    task = read_card(request.checkpoint).task
    if (task == "object") != isinstance(data, ObjectData):
        raise UserError(
            f"{data.name} is no data set for {request.checkpoint.name}",
            "Retrieval checkpoints are measured on pairs, object checkpoints on clicks.",
        )
    if isinstance(data, ObjectData):
        return evaluate_objects(request, data, output, shelf, report)
    checkpoint = shelf.checkpoint(request.checkpoint)
    tests = _chosen(request, data)
    usable = [test for test in tests if fits(checkpoint, test)]
    if not usable:
        raise UserError(
            f"{checkpoint.card.title} locates {checkpoint.card.query_view} photos; {data.name} "
            "has no test for that",
            "Choose another data set, or a checkpoint for its view.",
        )
    folders = []
    for test in usable:
        folders.append(output / slug(data.name, test.name))
        describe_test(
            checkpoint,
            test,
            folders[-1],
            data=data.name,
            root=data.folder,
            headings=request.headings,
            turns=request.turns,
            report=report,
        )
    return tuple(folders)


def _own_folder(request: Evaluate) -> Path:
    """The same checkpoint, asked in the same way, finds there what it described before."""
    identity = identity_of(request.checkpoint)[:8]
    how = request.headings + (f"-{request.turns}" if request.turns else "")
    where = hashlib.sha256(os.fsencode(request.data.absolute())).hexdigest()[:6]
    return paths.evaluations() / f"{request.checkpoint.stem}-{identity}-{how}-{where}"


def _chosen(request: Evaluate, data: RetrievalData) -> Sequence[RetrievalTest]:
    names = [test.name for test in data.tests]
    if unknown := [name for name in request.tests if name not in names]:
        raise UserError(f"{data.name} has no test {unknown[0]}", f"It has: {', '.join(names)}.")
    if not data.tests:
        raise UserError(f"{data.name} has no pictures to test on", "Choose another data set.")
    return [test for test in data.tests if not request.tests or test.name in request.tests]


# --- the second step ---------------------------------------------------------


def score_folder(request: Score, report: Report = ignore) -> Evaluated:
    """Writes ``result.json`` and ``rows.npz`` beside the descriptors. Raises UserError."""
    if read_manifest(request.folder).task == "object":
        result = score_boxes(request, report)
    else:
        result = score_described(open_described(request.folder), request, report)
    write_whole(request.folder / RESULT_NAME, result_to_json(result).encode())
    return Evaluated((request.folder,), (result,))


def score_described(
    described: Described, request: Score, report: Report = ignore
) -> EvaluationResult:
    """All figures of a retrieval test; also writes ``rows.npz``."""
    trial = described.trial
    single = np.flatnonzero([len(rows) == 1 for rows in trial.positives])
    calibrated = len(single) > 0 and all(len(rows) <= 1 for rows in trial.positives)
    temperature, fitted = described.manifest.temperature, np.empty(0, np.int64)
    if calibrated and temperature is None and len(single) > 1:
        fitted = single[::2]  # the others show whether it holds
        temperature = fitted_temperature(
            described.queries, described.gallery, trial.positives, fitted, report
        )
    scored = score_all(
        described.queries,
        described.gallery,
        trial.positives,
        trial.semi_positives,
        keep=KEEP,
        temperature=temperature if calibrated else None,
        report=report,
    )
    found = columns(trial, scored)
    groups = group_numbers(trial.queries.labels)
    draws = resampled(found, groups, resamples=request.resamples, seed=request.seed, report=report)
    write_rows(described.folder, _rows(trial, scored, found, groups))
    manifest = described.manifest
    first = first_ranks(trial.protocol, scored)
    return EvaluationResult(
        task="retrieval",
        data=manifest.data,
        test=manifest.test,
        protocol=trial.protocol,
        put=manifest.put,
        checkpoint=manifest.checkpoint,
        checkpoint_title=manifest.checkpoint_title,
        network=manifest.network,
        queries=len(trial.queries),
        gallery=len(trial.gallery),
        measures=measures(found, draws),
        curves=curves(trial, scored),
        reliability=reliability(scored.probability, first == 0, fitted, temperature)
        if calibrated and temperature is not None
        else None,
        thresholds=thresholds(scored.top_score[:, 0], scored.wrong_score, first == 0),
        notes=_notes(trial, scored),
        resamples=request.resamples,
        groups=int(groups.max()) + 1,
        seed=request.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=__version__,
    )


def _rows(
    trial: Trial, scored: Scored, found: Sequence[Column], groups: Int64[np.ndarray, " q"]
) -> Rows:
    shown = scored.top[:, :SHOWN]
    away = metres(trial, scored)
    return Rows(
        names=tuple(column.name for column in found),
        units=tuple(column.unit for column in found),
        statistics=tuple(column.statistic for column in found),
        values=table_of(found),
        group=groups,
        rank=first_ranks(trial.protocol, scored),
        top=shown,
        top_score=scored.top_score[:, :SHOWN],
        right_score=scored.right_score,
        probability=scored.probability,
        metres=np.full(shown.shape, np.nan) if away is None else away[:, :SHOWN],
    )


def _notes(trial: Trial, scored: Scored) -> tuple[str, ...]:
    notes = []
    if absent := sum(not rows for rows in trial.positives):
        notes.append(f"{absent} queries have no right picture in the gallery and count as missed")
    if scored.tied:
        how = (
            "favour the query, as in the data set's code"
            if RULES[trial.protocol].strict
            else ("are ranked by the gallery's order")
        )
        notes.append(f"{scored.tied} queries hang on equal scores, which {how}")
    if trial.protocol == "cvact-5m":
        notes.append("every satellite picture within 5 m counts as right")
    return tuple(notes)
