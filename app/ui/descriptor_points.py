"""The points of a descriptor map: of which kind each is, which lie near or within something."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from app.results import Projection

Kind = Literal["found", "missed", "gallery"]
KINDS: tuple[Kind, ...] = ("gallery", "found", "missed")  # drawn in this order
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Corner:
    """A point of the plane."""

    x: float
    y: float


class Points:
    """Columns of a projection as arrays. Rows are those of the projection."""

    def __init__(self, projection: Projection) -> None:
        self.projection = projection
        self.x: Floats = np.array(projection.x, np.float64)
        self.y: Floats = np.array(projection.y, np.float64)
        side, rank = np.array(projection.side), np.array(projection.rank)
        query = side == "query"
        self._is: dict[Kind, npt.NDArray[np.bool_]] = {
            "found": query & (rank == 1),
            "missed": query & (rank != 1),
            "gallery": ~query,
        }

    def __len__(self) -> int:
        return len(self.x)

    def of_kind(self, kind: Kind) -> Rows:
        return np.flatnonzero(self._is[kind])

    def kind(self, row: int) -> Kind:
        return next(kind for kind in KINDS if self._is[kind][row])

    def of_place(self, row: int) -> Rows:
        """All pictures of the place that a picture shows, itself included."""
        label = self.projection.label[row]
        return np.array([n for n, other in enumerate(self.projection.label) if other == label])

    def nearest(self, at: Corner, reach: Corner, shown: set[Kind]) -> int | None:
        """The nearest shown point; ``reach`` is the farthest in x and in y that counts."""
        if not len(self):
            return None
        away = np.hypot((self.x - at.x) / reach.x, (self.y - at.y) / reach.y)
        away[~self._shown(shown)] = np.inf
        row = int(away.argmin())
        return row if away[row] <= 1 else None

    def within(self, outline: list[Corner], shown: set[Kind]) -> Rows:
        """Shown points inside a closed outline, by the even-odd rule."""
        inside = np.zeros(len(self), bool)
        for a, b in zip(outline, outline[1:] + outline[:1], strict=True):
            if a.y == b.y:
                continue
            crosses = (a.y > self.y) != (b.y > self.y)
            left_of = self.x < a.x + (self.y - a.y) * (b.x - a.x) / (b.y - a.y)
            inside ^= crosses & left_of
        return np.flatnonzero(inside & self._shown(shown))

    def _shown(self, kinds: set[Kind]) -> npt.NDArray[np.bool_]:
        shown = np.zeros(len(self), bool)
        for kind in kinds:
            shown |= self._is[kind]
        return shown

    def words(self, row: int) -> str:
        """What a point stands for, in two lines."""
        p = self.projection
        if p.side[row] == "gallery":
            return f"Gallery picture\nPlace {p.label[row]}"
        rank = p.rank[row]
        told = "not ranked" if rank < 1 else "found" if rank == 1 else f"right one at rank {rank:,}"
        return f"Query, {told}\nPlace {p.label[row]}"
