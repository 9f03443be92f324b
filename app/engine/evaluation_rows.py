"""``rows.npz``: what scoring found for each query; comparing and browsing need nothing else."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from app.engine.checkpoints import write_whole
from app.engine.protocols import Column
from app.errors import UserError
from app.results import Unit

ROWS_NAME = "rows.npz"
SHOWN = 10  # candidates kept of each query


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One row a query; columns are the figures of the table, in its order."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    statistics: tuple[str, ...]
    values: Float64[np.ndarray, "q c"]  # NaN: the query has none
    group: Int64[np.ndarray, " q"]  # queries of one place have one number
    rank: Int64[np.ndarray, " q"]  # of the best right picture, from 0; -1: none
    top: Int32[np.ndarray, "q k"]  # gallery rows, best first
    top_score: Float32[np.ndarray, "q k"]
    right_score: Float32[np.ndarray, " q"]  # NaN: none
    probability: Float32[np.ndarray, " q"]  # NaN: not asked for
    metres: Float64[np.ndarray, "q k"]  # from the truth to each of ``top``; NaN: not known

    def columns(self) -> tuple[Column, ...]:
        return tuple(
            Column(name, self.values[:, i], cast(Unit, unit), cast(Any, statistic))
            for i, (name, unit, statistic) in enumerate(
                zip(self.names, self.units, self.statistics, strict=True)
            )
        )


_TEXTS = ("names", "units", "statistics")


def table_of(columns: Sequence[Column]) -> Float64[np.ndarray, "q c"]:
    return np.stack([column.values.astype(np.float64) for column in columns], axis=1)


def write_rows(folder: Path, rows: Rows) -> None:
    arrays = {f.name: np.array(getattr(rows, f.name)) for f in fields(rows)}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_whole(folder / ROWS_NAME, content.getvalue())


def read_rows(folder: Path) -> Rows:
    """Those of a scored evaluation. Raises UserError."""
    path = folder / ROWS_NAME
    try:
        with np.load(path, allow_pickle=False) as file:
            found: dict[str, Any] = {f.name: file[f.name] for f in fields(Rows)}
        for name in _TEXTS:
            found[name] = tuple(str(text) for text in found[name])
        return Rows(**found)
    except FileNotFoundError as error:
        raise UserError(f"{folder} has not been scored yet", "Score it first.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}", "Check its rights.") from error
    except (ValueError, KeyError, TypeError, BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error})", "Score the folder again.") from error
