import torch
import torch.nn.functional as F

from app.models.losses import info_nce

SCALE = torch.tensor(14.0)
PLACES = torch.arange(5)


def unit_rows(seed, count=5):
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_it_is_torchs_cross_entropy_both_ways_where_all_places_differ():
    a, b = unit_rows(0), unit_rows(1)
    logits = SCALE * a @ b.T
    expected = sum(F.cross_entropy(one, PLACES, label_smoothing=0.1) for one in (logits, logits.T))
    torch.testing.assert_close(
        info_nce(a, b, PLACES, scale=SCALE, label_smoothing=0.1), expected / 2
    )


def test_it_treats_the_two_views_alike():
    a, b = unit_rows(0), unit_rows(1)
    torch.testing.assert_close(
        info_nce(a, b, PLACES, scale=SCALE), info_nce(b, a, PLACES, scale=SCALE)
    )


def test_it_is_least_where_each_row_is_nearest_its_own():
    a = unit_rows(0)
    right = info_nce(a, a, PLACES, scale=SCALE)
    assert right < info_nce(a, a.roll(1, dims=0), PLACES, scale=SCALE)


def test_rows_of_one_place_are_no_negatives_of_each_other():
    a, b = unit_rows(0), unit_rows(1)
    twice = torch.cat((a, a[:1])), torch.cat((b, b[:1]))
    places = torch.tensor([0, 1, 2, 3, 4, 0])
    loss = info_nce(*twice, places, scale=SCALE, label_smoothing=0.1)
    assert loss.isfinite()
    # By hand: each of the two rows of place 0 sees the four others and its own partner.
    logits = SCALE * twice[0] @ twice[1].T
    own = []
    for matrix in (logits, logits.T):
        for row in range(6):
            seen = [c for c in range(6) if c == row or places[c] != places[row]]
            target = torch.tensor([seen.index(row)])
            own.append(F.cross_entropy(matrix[row, seen][None], target, label_smoothing=0.1))
    torch.testing.assert_close(loss, torch.stack(own).mean())


def test_gradients_are_finite_with_equal_places():
    a = unit_rows(0).requires_grad_()
    info_nce(a, unit_rows(1), torch.zeros(5, dtype=torch.long), scale=SCALE).backward()
    assert a.grad.isfinite().all()


def test_half_precision_outside_does_not_reach_the_similarities():
    a, b = unit_rows(0), unit_rows(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = info_nce(a, b, PLACES, scale=SCALE)
    assert torch.equal(inside, info_nce(a, b, PLACES, scale=SCALE))
