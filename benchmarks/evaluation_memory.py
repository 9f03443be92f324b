"""Peak memory and time of scoring the largest published tests, each in a process of its own.

    python -m benchmarks.evaluation_memory [--descriptor 1024] [--queries 2000] [--whole]  (Linux)

Descriptors are random; only how many there are counts. Goal: at most 4 GB for University-1652's
51,355 drone pictures against 951 satellite pictures and back, and for VIGOR's 90,618 tiles. Of
VIGOR's 52,605 queries some are scored (``--queries``) and the time for all is told from that;
``--whole`` scores them all. Peer: the usual evaluation, which multiplies all descriptors at once
and sorts each row, at a size that fits.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from app.engine.evaluation_files import Side

GOAL_GB = 4.0
VIGOR_QUERIES = 52_605
SHAPES = {  # queries, gallery, right pictures a query
    "university drone to satellite": (37_855, 951, 1),
    "university satellite to drone": (701, 51_355, 54),
    "vigor same area": (VIGOR_QUERIES, 90_618, 1),
}
BLOCK = 4096  # rows written at a time
SMALL = (2_000, 20_000, 1)  # what the peer does too
ROUNDS = 3  # of each at the small size, in turn; the median counts


def peak_gb() -> float:
    """Of this process so far. Not ``ru_maxrss``, which a child inherits from its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


def write_gallery(path: Path, rows: int, length: int) -> None:
    """Random unit rows, block by block, as float16 [rows, 1, length]."""
    rng = np.random.default_rng(rows)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, 1, length))
    for start in range(0, rows, BLOCK):
        block = rng.standard_normal((min(BLOCK, rows - start), length), dtype=np.float32)
        array[start : start + BLOCK, 0] = block / np.linalg.norm(block, axis=1, keepdims=True)
    array.flush()


def write_queries(folder: Path, rows: int, right: int) -> None:
    """Their right pictures' rows and so much noise that about every other one is found."""
    gallery = np.load(folder / "g.npy", mmap_mode="r")
    tiles, _, length = gallery.shape
    rng = np.random.default_rng(1)
    shape = (rows, 1, length)
    array = np.lib.format.open_memmap(folder / "q.npy", mode="w+", dtype=np.float16, shape=shape)
    noise = 1 / math.sqrt(2 * math.log(tiles))  # a true cosine as high as the best false one
    for start in range(0, rows, BLOCK):
        stop = min(start + BLOCK, rows)
        true = gallery[truth(np.arange(start, stop), right, tiles), 0].astype(np.float32)
        block = true + noise * rng.standard_normal(true.shape, dtype=np.float32)
        array[start:stop, 0] = block / np.linalg.norm(block, axis=1, keepdims=True)
    array.flush()


def truth(queries: np.ndarray, right: int, tiles: int) -> np.ndarray:
    """The first right picture of each query."""
    return np.asarray(queries * right % tiles)


def blocks(folder: Path, right: int) -> None:
    """What the program does: one pass in blocks, then the table."""
    from app.engine.evaluation_files import Trial
    from app.engine.evaluation_intervals import measures, resampled
    from app.engine.evaluation_score import score_all
    from app.engine.protocols import KEEP, columns, curves

    queries, gallery = (np.load(folder / n, mmap_mode="r") for n in ("q.npy", "g.npy"))
    count, tiles = len(queries), len(gallery)
    positives = tuple(tuple((i * right + j) % tiles for j in range(right)) for i in range(count))
    started = time.perf_counter()
    scored = score_all(queries, gallery, positives, keep=KEEP, temperature=0.03)
    trial = Trial("university", _side(count), _side(tiles), positives)
    found = columns(trial, scored)
    draws = resampled(found, np.arange(count), resamples=200, seed=0)
    recall = measures(found, draws)[0].value
    curves(trial, scored)
    print(f"{peak_gb():.3f} {time.perf_counter() - started:.2f} {recall:.6f}")


def naive(folder: Path, right: int) -> None:
    """The usual way: all scores at once, every row sorted."""
    queries, gallery = (np.load(folder / n)[:, 0].astype(np.float32) for n in ("q.npy", "g.npy"))
    started = time.perf_counter()
    order = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")
    recall = float((order[:, 0] == truth(np.arange(len(queries)), right, len(gallery))).mean())
    print(f"{peak_gb():.3f} {time.perf_counter() - started:.2f} {recall:.6f}")


def _side(count: int) -> "Side":
    from app.engine.evaluation_files import Side

    names = tuple(map(str, range(count)))
    nowhere = np.full((count, 2), np.nan)
    return Side(names, names, nowhere, nowhere)


def measured(way: str, shape: tuple[int, int, int], length: int) -> tuple[float, float, float]:
    """Peak in GB, seconds, recall at 1."""
    queries, gallery, right = shape
    command = [sys.executable, "-m", "benchmarks.evaluation_memory", "--child", way]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_gallery(folder / "g.npy", gallery, length)
        write_queries(folder, queries, right)
        done = subprocess.run(
            [*command, "--folder", name, "--right", str(right)],
            check=True,
            capture_output=True,
            text=True,
        )
    peak, seconds, recall = map(float, done.stdout.split()[-3:])
    return peak, seconds, recall


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--descriptor", type=int, default=1024)
    parser.add_argument("--queries", type=int, default=2000, help="of VIGOR's that are scored")
    parser.add_argument("--whole", action="store_true", help="score all of VIGOR's queries")
    parser.add_argument("--child", choices=("blocks", "naive"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--right", type=int, default=1)
    args = parser.parse_args()
    if args.child:
        {"blocks": blocks, "naive": naive}[args.child](args.folder, args.right)
        return 0
    worst = 0.0
    for name, (queries, gallery, right) in SHAPES.items():
        asked = queries
        if name.startswith("vigor") and not args.whole:
            asked = min(args.queries, queries)
        peak, seconds, _ = measured("blocks", (asked, gallery, right), args.descriptor)
        worst = max(worst, peak)
        of_all = "" if asked == queries else f", so {seconds / asked * queries:.0f} s for {queries}"
        print(
            f"{name}: {asked} x {gallery} x {args.descriptor}: peak {peak:.2f} GB "
            f"(all scores alone: {queries * gallery * 4 / 1e9:.1f} GB), {seconds:.1f} s{of_all}",
            flush=True,
        )
    told: dict[str, list[tuple[float, float, float]]] = {"blocks": [], "naive": []}
    for _ in range(ROUNDS):
        for way, rounds in told.items():
            rounds.append(measured(way, SMALL, args.descriptor))
    middle = {way: sorted(rounds, key=lambda r: r[1])[ROUNDS // 2] for way, rounds in told.items()}
    for way, (peak, seconds, recall) in middle.items():
        print(f"{way:>7} at {SMALL[0]} x {SMALL[1]}: {peak:.2f} GB, {seconds:.1f} s, R@1 {recall}")
    faster = middle["naive"][1] / middle["blocks"][1]
    print(f"naive / blocks: {faster:.2f} in time, worst peak {worst:.2f} GB (goal {GOAL_GB} GB)")
    return 0 if worst <= GOAL_GB else 1


if __name__ == "__main__":
    sys.exit(main())
