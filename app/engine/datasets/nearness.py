"""Which places on Earth lie near others, for hundreds of thousands of them."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from app.geo import EARTH_RADIUS_M, LatLon
from app.messages import Progress, Report, ignore

TELL_EVERY = 2000  # places


def near_count(
    asked: Sequence[LatLon],
    known: Sequence[LatLon],
    *,
    within_m: float,
    report: Report = ignore,
) -> tuple[int, ...]:
    """For each asked place how many known ones lie within this distance, straight through."""
    if not asked or not known:
        return (0,) * len(asked)
    points, others = on_sphere(asked), on_sphere(known)
    cells: dict[tuple[int, ...], list[int]] = {}
    for row, cell in enumerate(np.floor(others / within_m).astype(np.int64).tolist()):
        cells.setdefault(tuple(cell), []).append(row)
    steps = tuple(product((-1, 0, 1), repeat=3))
    counts = []
    asked_cells = np.floor(points / within_m).astype(np.int64).tolist()
    for row, (point, (x, y, z)) in enumerate(zip(points, asked_cells, strict=True)):
        if row % TELL_EVERY == 0:
            report(Progress(row, len(points), "measuring distances"))
        around = [n for dx, dy, dz in steps for n in cells.get((x + dx, y + dy, z + dz), ())]
        apart = others[around] - point
        counts.append(int((np.einsum("nd,nd->n", apart, apart) <= within_m**2).sum()))
    return tuple(counts)


def on_sphere(places: Sequence[LatLon]) -> np.ndarray:
    """[n, 3] metres from the Earth's centre."""
    lat, lon = np.radians([(p.lat, p.lon) for p in places]).reshape(-1, 2).T
    flat = np.cos(lat)
    return EARTH_RADIUS_M * np.column_stack((flat * np.cos(lon), flat * np.sin(lon), np.sin(lat)))
