"""The pass over all scores, in blocks, against plain loops over the whole matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine import evaluation_score
from app.engine.evaluation_score import cosines, fitted_temperature, score_all
from app.messages import JobCancelled
from tests.engine.brute_force import better_than_best_right, order_of, vigor_hit


def rows(rng, count, turns, length=8, *, coarse=False):
    """Unit rows as float16; ``coarse`` ones repeat, so that scores are equal."""
    made = (
        rng.integers(-1, 2, (count, turns, length))
        if coarse
        else rng.normal(size=(count, turns, length))
    )
    made = made + (np.abs(made).sum(axis=-1, keepdims=True) == 0)
    return (made / np.linalg.norm(made, axis=-1, keepdims=True)).astype(np.float16)


def whole_matrix(queries, gallery):
    """Every query's score with every picture, one by one."""

    def unit(row):
        wide = row.astype(np.float32)
        return wide / np.sqrt(np.float32((wide * wide).sum()))

    return [
        [max(float(unit(a) @ unit(b)) for a in query for b in tile) for tile in gallery]
        for query in queries
    ]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 3))
def test_the_blocks_give_the_scores_of_the_whole_matrix(seed, turns, faces):
    rng = np.random.default_rng(seed)
    queries, gallery = rows(rng, 5, turns), rows(rng, 7, faces)
    np.testing.assert_allclose(cosines(queries, gallery), whole_matrix(queries, gallery), atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_ranks_candidates_and_hits_agree_with_plain_loops(seed, coarse):
    rng = np.random.default_rng(seed)
    count, tiles = 6, 11
    queries, gallery = rows(rng, count, 1, coarse=coarse), rows(rng, tiles, 1, coarse=coarse)
    shuffled = [rng.permutation(tiles).tolist() for _ in range(count)]
    right = [tuple(s[: rng.integers(0, 4)]) for s in shuffled]
    semi = [tuple(s[4:7]) for s in shuffled]
    found = score_all(queries, gallery, right, semi, keep=4, temperature=0.1)
    scores = cosines(queries, gallery).tolist()  # what is tested here is what is made of them
    for i in range(count):
        order = order_of(scores[i])
        assert found.top[i].tolist() == order[:4]
        assert found.top_score[i].tolist() == [scores[i][j] for j in order[:4]]
        assert found.ranks[i].tolist() == sorted(order.index(j) for j in right[i])
        shares = np.exp(np.array(scores[i]) / 0.1)
        assert found.probability[i] == pytest.approx(shares.max() / shares.sum(), rel=1e-4)
        wrong = [s for j, s in enumerate(scores[i]) if j not in right[i] and j not in semi[i]]
        assert found.wrong_score[i] == max(wrong)
        if right[i]:
            assert found.strictly_better[i] == better_than_best_right(scores[i], right[i])
            assert found.right_score[i] == max(scores[i][j] for j in right[i])
            best = max(right[i], key=lambda j: scores[i][j])
            assert found.hit[i] == vigor_hit(scores[i], best, set(semi[i]))
        else:
            assert found.strictly_better[i] == found.first[i] == -1
            assert np.isnan(found.right_score[i])
            assert not found.hit[i]


def test_how_the_work_is_cut_into_blocks_changes_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    queries, gallery = rows(rng, 23, 2), rows(rng, 31, 1)
    right = [(int(j),) for j in rng.integers(0, 31, 23)]
    whole = score_all(queries, gallery, right, keep=5, temperature=0.05)
    monkeypatch.setattr(evaluation_score, "BLOCK_BYTES", 4 * 31 * 4)
    monkeypatch.setattr(evaluation_score, "GALLERY_BYTES", 4 * 8 * 5)
    cut = score_all(queries, gallery, right, keep=5, temperature=0.05)
    assert [r.tolist() for r in cut.ranks] == [r.tolist() for r in whole.ranks]
    np.testing.assert_array_equal(cut.top, whole.top)
    np.testing.assert_allclose(cut.top_score, whole.top_score, atol=1e-6)
    np.testing.assert_allclose(cut.probability, whole.probability, rtol=1e-4)


def test_a_tie_is_counted_where_the_rank_hangs_on_it():
    one = np.eye(4, dtype=np.float16)[:, None]
    queries, gallery = one[[0, 1]], one[[0, 0, 1]]
    found = score_all(queries, gallery, [(1,), (2,)])
    assert found.first.tolist() == [1, 0]  # the earlier of equals is first
    assert found.strictly_better.tolist() == [0, 0]
    assert found.tied == 1


def test_the_temperature_is_fitted_on_few_rows_of_a_large_gallery(monkeypatch):
    rng = np.random.default_rng(0)
    gallery = rows(rng, 50, 1, 16)
    queries = gallery[rng.integers(0, 50, 40)]
    truth = [(int((gallery[:, 0] == q[0]).all(axis=1).argmax()),) for q in queries]
    every = fitted_temperature(queries, gallery, truth, np.arange(40))
    monkeypatch.setattr(evaluation_score, "SAMPLE_SCORES", 50 * 10)
    some = fitted_temperature(queries, gallery, truth, np.arange(40))
    assert 0 < every < 0.2
    assert 0 < some < 0.2


def test_scoring_can_be_cancelled():
    def cancel(_):
        raise JobCancelled

    rng = np.random.default_rng(0)
    with pytest.raises(JobCancelled):
        score_all(rows(rng, 3, 1), rows(rng, 4, 1), [(0,)] * 3, report=cancel)
