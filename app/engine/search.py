"""Exact search of a gallery: every tile is scored."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32, Int

BLOCK_BYTES = 32 << 20  # of one block in float32: fits beside the network in any memory


@dataclass(frozen=True, slots=True)
class TileScores:
    """One score a tile: the best over the query's turns, and which turn that was."""

    score: Float32[np.ndarray, " n"]  # cosine
    turn: Int[np.ndarray, " n"]  # row of ``queries``; the first of equals


def score_tiles(
    descriptors: Float16[np.ndarray, "n d"], queries: Float32[np.ndarray, "t d"]
) -> TileScores:
    """Cosines of unit ``queries``, one row a turn, with all tiles, computed in float32.

    ``descriptors`` may be a memory map: it is read once, block by block. float16 rounds a unit
    vector's length by up to 0.05 %; that is undone, so that a tile's own picture scores 1.
    """
    tiles, length = descriptors.shape
    score, turn = np.empty(tiles, np.float32), np.empty(tiles, np.int64)
    block = max(1, BLOCK_BYTES // (4 * max(length, 1)))
    columns = np.ascontiguousarray(queries.T)
    for start in range(0, tiles, block):
        rows = descriptors[start : start + block].astype(np.float32)
        cosines = rows @ columns / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-6)
        best = cosines.argmax(axis=1)
        turn[start : start + block] = best
        score[start : start + block] = np.take_along_axis(cosines, best[:, None], axis=1)[:, 0]
    return TileScores(score, turn)


def top_k(scores: Float32[np.ndarray, " n"], k: int) -> Int[np.ndarray, " k"]:
    """Indices of the ``k`` highest scores (or of all, if fewer), best first, ties by index."""
    k = min(k, len(scores))
    if k <= 0:
        return np.empty(0, np.int64)
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    rivals = np.flatnonzero(scores >= least)
    return rivals[np.argsort(-scores[rivals], kind="stable")][:k]
