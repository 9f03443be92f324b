"""Which pairs make a batch: places only once, or k times; near or alike ones together if asked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

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

    def of_places(self, unit_m: float) -> Float[np.ndarray, "p 3"]:
        """Row p is where place p lies, in this unit; places of two worlds lie far apart.

        Of a place with several positions it is the first. NaN where it is not known.
        """
        known, first = np.unique(self.place, return_index=True)
        at = np.full((int(known[-1]) + 1, 3), np.nan, dtype=np.float32)
        at[known] = np.column_stack((self.xy[first] / unit_m, 10.0 * self.world[first]))
        return at


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
    """Batches of ``(visit, index)`` in which no place, nor its close surroundings, comes twice.

    With ``neighbour_share`` that part of a batch lies around the batch's first pair: tiles that
    look alike are mostly near ones (hard negatives by position). With ``neighbours`` a batch is
    made of pairs and what their rows of this table name: half the ``neighbour_select`` first ones,
    half drawn from the others (Sample4Geo section 3.3 and code). What is closer than
    ``min_distance_m`` overlaps too much to be a negative. Each pair comes at most once an epoch; a
    rest that fills no batch is left out.

    With ``samples_per_place`` an epoch instead shows each place as often, in a row, each time a
    random one of its pairs (MIFT section 4.4.4). ``visit`` is the epoch, or differs between such
    repetitions: the chance of a pair's augmentation.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        batch_size: int,
        seed: int,
        neighbour_share: float = 0.0,
        neighbour_select: int = 64,
        min_distance_m: float = 0.0,
        samples_per_place: int = 0,
        multiple: int = 1,
    ) -> None:
        """A batch is of ``batch_size``, or fewer if there are fewer places; of a ``multiple``."""
        self.epoch = 0
        self.start = 0  # batches of the epoch to leave out: a run that goes on had them
        self.neighbours: Int[np.ndarray, "n k"] | None = None
        self.ground = ground_of(pairs)
        places = len(np.unique(self.ground.place))
        most = places * max(1, samples_per_place)
        self.batch_size = max(multiple, min(batch_size, most) // multiple * multiple)
        self._seed, self._min_distance_m = seed, min_distance_m
        self._near_count = round(neighbour_share * self.batch_size)
        self._select, self._samples = neighbour_select, samples_per_place

    def __len__(self) -> int:
        """The most batches that an epoch can have; near places can make it fewer."""
        if self._samples:
            return len(np.unique(self.ground.place)) * self._samples // self.batch_size
        return len(self.ground.place) // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng = np.random.default_rng((self._seed, self.epoch))
        batches = self._repeated(rng) if self._samples else self._once(rng)
        return islice(batches, self.start, None)

    def _repeated(self, rng: np.random.Generator) -> Iterator[list[tuple[int, int]]]:
        """Places shuffled, each ``samples_per_place`` times in a row."""
        rows = np.argsort(self.ground.place, kind="stable")
        starts = np.unique(self.ground.place[rows], return_index=True)[1]
        of_place = np.split(rows, starts[1:])
        keys = [
            (self.epoch * self._samples + sample, int(rng.choice(of_place[place])))
            for place in rng.permutation(len(of_place))
            for sample in range(self._samples)
        ]
        for first in range(0, len(keys) - self.batch_size + 1, self.batch_size):
            yield keys[first : first + self.batch_size]

    def _once(self, rng: np.random.Generator) -> Iterator[list[tuple[int, int]]]:
        order = rng.permutation(len(self.ground.place))
        left = dict.fromkeys(order.tolist())  # an ordered set
        while len(left) >= self.batch_size:
            batch: list[int] = []
            if self.neighbours is not None:
                self._fill_alike(batch, left, self.neighbours, rng)
            elif self._near_count:
                first = next(iter(left))
                around = [first, *self.ground.around(first).tolist()]
                self._fill(batch, around, left, self._near_count)
            self._fill(batch, list(left), left, self.batch_size)
            if len(batch) < self.batch_size:
                return
            yield [(self.epoch, index) for index in batch]

    def _fill_alike(
        self,
        batch: list[int],
        left: dict[int, None],
        neighbours: Int[np.ndarray, "n k"],
        rng: np.random.Generator,
    ) -> None:
        half = self._select // 2
        for first in list(left)[: self.batch_size]:
            if len(batch) == self.batch_size:
                return
            if first not in left:  # already in as a neighbour
                continue
            row = neighbours[first]
            row = row[row >= 0]
            chosen = [first, *row[:half], *rng.permutation(row[half:])[:half]]
            self._fill(batch, [int(index) for index in chosen], left, self.batch_size)

    def _fill(
        self, batch: list[int], candidates: Sequence[int], left: dict[int, None], count: int
    ) -> None:
        for index in candidates:
            if len(batch) == count:
                return
            if index in left and not self.ground.clash(index, batch, self._min_distance_m):
                batch.append(index)
                del left[index]
