"""Every tile is scored, exactly; equals stay in order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine import search
from app.engine.search import score_tiles, top_k


def unit(rows, length, seed=0):
    found = np.random.default_rng(seed).normal(size=(rows, length)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("block_bytes", [1, 64 * 4 * 7, 1 << 25])
def test_scores_are_those_of_full_precision_whatever_the_block(monkeypatch, block_bytes):
    monkeypatch.setattr(search, "BLOCK_BYTES", block_bytes)
    tiles, queries = unit(50, 64).astype(np.float16), unit(6, 64, seed=1)
    wide = tiles.astype(np.float64)
    exact = wide / np.linalg.norm(wide, axis=1, keepdims=True) @ queries.T.astype(np.float64)
    found = score_tiles(tiles, queries)
    assert np.abs(found.score - exact.max(axis=1)).max() < 1e-6
    assert (found.turn == exact.argmax(axis=1)).all()


def test_a_tile_finds_itself_with_score_one(tmp_path):
    rows = unit(300, 128)
    np.save(tmp_path / "descriptors.npy", rows.astype(np.float16))
    mapped = np.load(tmp_path / "descriptors.npy", mmap_mode="r", allow_pickle=False)
    queries = np.stack((rows[7], rows[123]))
    found = score_tiles(mapped, queries)
    assert found.score[[7, 123]] == pytest.approx([1, 1], abs=2e-4)
    assert found.turn[[7, 123]].tolist() == [0, 1]
    assert sorted(top_k(found.score, 2).tolist()) == [7, 123]


def test_a_descriptor_of_zeros_scores_nothing():
    found = score_tiles(np.zeros((3, 8), np.float16), unit(1, 8))
    assert found.score.tolist() == [0, 0, 0]


def test_no_more_are_returned_than_there_are():
    assert top_k(np.array([0.1, 0.9], np.float32), 20).tolist() == [1, 0]
    assert top_k(np.empty(0, np.float32), 3).tolist() == []
    assert top_k(np.ones(3, np.float32), 0).tolist() == []


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 60))
def test_the_best_come_first_and_equals_by_index(values, k):
    scores = np.array(values, np.float32)
    wanted = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    assert top_k(scores, k).tolist() == wanted
