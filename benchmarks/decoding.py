"""Pictures a second that the training loader prepares, against bare decoding of the same files.

    python -m benchmarks.decoding [--pairs 96] [--rounds 5] [--workers 0,2] [--data FOLDER]

Bare: as many OpenCV loops as the loader has workers (0: one, in this process) decode whole
pictures and do nothing else. The loader reads the file, decodes no more of it than it needs,
turns, crops, resizes, alters (with the usual augmentation) and stacks, on one thread a worker. A
ratio below 1 is what that costs beside decoding; above 1, what decoding at a half or less saves.
A GPU that learns from N pairs a second is not kept waiting by 2 N / (pictures a second and worker)
workers. Bare and loaded are timed in turn; the median of the rounds counts. Without --data the
pictures are made: drone photos and tiles of 512 pixels as in University-1652, panoramas of 2048 x
1024 and tiles of 640 as in VIGOR, at about 0.3 bytes a pixel.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from app.engine.datasets.catalog import open_data_set
from app.engine.datasets.layout import ObjectData
from app.engine.datasets.loading import Size
from app.engine.datasets.pairs import Augment, Pair, PairDataset, pair_loader
from app.errors import UserError

BATCH = 32
DIFFERENT = 8  # made pictures


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    query_px: Size
    satellite_px: Size
    query_size: Size  # of the network's input
    satellite_size: Size


MADE = (
    Case("drone 512, as they are", (512, 512), (512, 512), (384, 384), (384, 384)),
    Case("drone 512, tiny network", (512, 512), (512, 512), (128, 128), (128, 128)),
    Case("panorama 2048 x 1024", (1024, 2048), (640, 640), (384, 768), (384, 384)),
    Case("panorama, tiny network", (1024, 2048), (640, 640), (96, 384), (128, 128)),
)
LOOKS = {"plain": None, "altered": Augment(heading_jitter_deg=15.0, zoom=0.1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", default="0,2", help="numbers of worker processes to try")
    parser.add_argument("--data", type=Path, help="a data set of pairs, in place of made pictures")
    args = parser.parse_args()
    workers = [int(word) for word in args.workers.split(",")]
    print(f"{'pictures':<26}{'workers':>8}{'bare/s':>10}", end="")
    print("".join(f"{name + '/s':>12}{'ratio':>8}" for name in LOOKS))
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory(prefix="skyfix-decoding-") as work:
        for case in MADE if args.data is None else (None,):
            if case is None:
                pairs, case = _own(args.data, args.pairs), _own_case(args.data)
            else:
                pairs = _made(Path(work), case, args.pairs)
            for count in workers:
                _measure(case, pairs, count, args.rounds)


def _measure(case: Case, pairs: Sequence[Pair], workers: int, rounds: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in ("bare", *LOOKS)}
    for _ in range(rounds + 1):  # the first warms up
        times["bare"].append(_bare_s(pairs, workers))
        for name, augment in LOOKS.items():
            times[name].append(_loaded_s(case, pairs, augment, workers))
    rate = {k: 2 * len(pairs) / statistics.median(seconds[1:]) for k, seconds in times.items()}
    print(f"{case.name:<26}{workers:>8}{rate['bare']:>10.0f}", end="")
    print("".join(f"{rate[name]:>12.0f}{rate[name] / rate['bare']:>8.2f}" for name in LOOKS))


def _bare_s(pairs: Sequence[Pair], workers: int) -> float:
    """As many processes as the loader has, started before the clock."""
    paths = [path for pair in pairs for path in (pair.query, pair.satellite)]
    if workers == 0:
        started = time.perf_counter()
        _decode(paths)
        return time.perf_counter() - started
    parts = [paths[n :: workers * 4] for n in range(workers * 4)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(_decode, [paths[:2]] * workers)  # they are up
        started = time.perf_counter()
        pool.map(_decode, parts, chunksize=1)
        return time.perf_counter() - started


def _decode(paths: Sequence[Path]) -> None:
    cv2.setNumThreads(0)  # also in the processes that are started for this
    for path in paths:
        assert cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB) is not None


def _loaded_s(case: Case, pairs: Sequence[Pair], augment: Augment | None, workers: int) -> float:
    """The second epoch of a loader: its workers are up."""
    dataset = PairDataset(
        pairs, query_size=case.query_size, satellite_size=case.satellite_size, augment=augment
    )
    keys = [(0, index) for index in range(len(pairs))]
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    with pair_loader(dataset, batches, workers=workers, pinned=False) as loader:
        if workers:
            _drain(loader)
        started = time.perf_counter()
        _drain(loader)
        return time.perf_counter() - started


def _drain(loader: Iterable[object]) -> None:
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch


# --- pictures ---------------------------------------------------------------------


def _made(folder: Path, case: Case, count: int) -> list[Pair]:
    """Copies of a few: decoding takes as long, making does not."""
    street = case.query_px[1] > case.query_px[0]
    few = [(_jpeg(case.query_px, n), _jpeg(case.satellite_px, 100 + n)) for n in range(DIFFERENT)]
    pairs = []
    for number in range(count):
        paths = [folder / f"{case.name} {number} {part}.jpg" for part in ("query", "tile")]
        for path, content in zip(paths, few[number % DIFFERENT], strict=True):
            path.write_bytes(content)
        pairs.append(
            Pair(
                query=paths[0],
                satellite=paths[1],
                place=number,
                position=None,
                heading_deg=30.0,
                view="street" if street else "drone",
                kind="panorama" if street else "perspective",
                world="",
            )
        )
    return pairs


def _jpeg(size: Size, seed: int) -> bytes:
    """Detail at every scale, as of a photo: about 0.4 bytes a pixel."""
    dice = np.random.default_rng(seed)
    image = np.zeros((*size, 3), np.float32)
    for pitch in (100, 20, 6, 3):
        cells = (size[0] // pitch + 1, size[1] // pitch + 1, 3)
        coarse = dice.normal(0, 22, cells).astype(np.float32)
        image += cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    pixels = (image + 128).clip(0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())


def _own(folder: Path, count: int) -> list[Pair]:
    data = open_data_set(folder)
    if isinstance(data, ObjectData):
        raise UserError(f"{folder} has clicks, not pairs", "Name a data set of pairs.")
    return list(data.train[:count])


def _own_case(folder: Path) -> Case:
    return Case(folder.name[:24], (0, 0), (0, 0), (128, 128), (128, 128))


if __name__ == "__main__":
    main()
