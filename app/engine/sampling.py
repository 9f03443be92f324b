"""Which pairs make a batch: places only once, and near ones together when asked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch.utils.data import Sampler

from app.engine.datasets.pairs import Pair
from app.geo import EARTH_RADIUS_M


@dataclass(frozen=True, slots=True)
class Ground:
    """Where pairs lie, in metres: distances count only within one world."""

    xy: Float[np.ndarray, "n 2"]  # nan where the position is unknown
    world: Int[np.ndarray, " n"]
    place: Int[np.ndarray, " n"]

    def around(self, index: int) -> Int[np.ndarray, " k"]:
        """Those of the same world, nearest first, itself among them; none if it has no place."""
        rows = np.flatnonzero((self.world == self.world[index]) & ~np.isnan(self.xy[:, 0]))
        if np.isnan(self.xy[index, 0]):
            return rows[:0]
        return rows[np.argsort(np.hypot(*(self.xy[rows] - self.xy[index]).T), kind="stable")]

    def clash(self, index: int, others: Sequence[int], min_distance_m: float) -> bool:
        """Whether another one shows the same place, or one so near that it is no negative."""
        rows = np.asarray(others, dtype=np.intp)
        if (self.place[rows] == self.place[index]).any():
            return True
        near = np.hypot(*(self.xy[rows] - self.xy[index]).T) < min_distance_m  # nan: False
        return bool((near & (self.world[rows] == self.world[index])).any())


def ground_of(pairs: Sequence[Pair]) -> Ground:
    """Positions on a plane for each world, true to about 0.1 % over some kilometres."""
    latlon = np.array(
        [(p.position.lat, p.position.lon) if p.position else (np.nan, np.nan) for p in pairs]
    )
    world = np.unique([p.world for p in pairs], return_inverse=True)[1]
    xy = np.full((len(pairs), 2), np.nan)
    for w in np.unique(world):
        here = (world == w) & ~np.isnan(latlon[:, 0])
        if not here.any():
            continue
        rad = np.radians(latlon[here])
        mid = rad.mean(axis=0)
        xy[here, 0] = EARTH_RADIUS_M * (rad[:, 1] - mid[1]) * np.cos(mid[0])
        xy[here, 1] = EARTH_RADIUS_M * (rad[:, 0] - mid[0])
    return Ground(xy, world.astype(np.int64), np.array([p.place for p in pairs], dtype=np.int64))


class PlaceBatches(Sampler[list[tuple[int, int]]]):
    """Batches of ``(epoch, index)`` in which no place, nor its close surroundings, comes twice.

    With ``neighbour_share`` that part of a batch lies around the batch's first pair: tiles that
    look alike are mostly near ones (hard negatives by position, Sample4Geo section 3.3). What is
    closer than ``min_distance_m`` overlaps too much to be a negative. Each pair comes at most once
    an epoch; a rest that fills no batch is left out.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        batch_size: int,
        seed: int,
        neighbour_share: float = 0.0,
        min_distance_m: float = 0.0,
    ) -> None:
        self.epoch = 0
        self._ground = ground_of(pairs)
        self._batch_size = min(batch_size, len(np.unique(self._ground.place)))
        self._seed, self._min_distance_m = seed, min_distance_m
        self._near_count = round(neighbour_share * self._batch_size)

    def __len__(self) -> int:
        """The most batches that an epoch can have; near places can make it fewer."""
        return len(self._ground.place) // self._batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng((self._seed, self.epoch)).permutation(len(self._ground.place))
        left = dict.fromkeys(order.tolist())  # an ordered set
        while len(left) >= self._batch_size:
            batch: list[int] = []
            if self._near_count:
                first = next(iter(left))
                around = [first, *self._ground.around(first).tolist()]
                self._fill(batch, around, left, self._near_count)
            self._fill(batch, list(left), left, self._batch_size)
            if len(batch) < self._batch_size:
                return
            yield [(self.epoch, index) for index in batch]

    def _fill(
        self, batch: list[int], candidates: Sequence[int], left: dict[int, None], count: int
    ) -> None:
        for index in candidates:
            if len(batch) == count:
                return
            if index in left and not self._ground.clash(index, batch, self._min_distance_m):
                batch.append(index)
                del left[index]
