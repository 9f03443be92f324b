"""MSAE against its paper's figures and equations, and its ancestors' code."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from app.card import Card
from app.engine.checkpoints import load_checkpoint, save_checkpoint
from app.errors import UserError
from app.models.base import PairBatch
from app.models.losses import Outsiders, soft_margin_triplet
from app.models.msae import ABLATIONS, MSAE, PRESETS, HardQueue, ScaleMask, build
from app.models.polar import inverse_polar, turned

SMALL = PRESETS["smallest"]
PAPER = PRESETS["paper-cvusa-cvact"]
VGG16_CONVOLUTIONS = 14_714_688
CRN_MASK = 1_058_985


def meta(**changes) -> MSAE:
    with torch.device("meta"):
        return build({**PAPER, **changes}).eval()


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def batch(count=4, *, places=None) -> PairBatch:
    places = torch.arange(count) if places is None else torch.tensor(places)
    n = len(places)
    return PairBatch(torch.randn(n, 3, 32, 128), torch.randn(n, 3, 64, 64), places)


def unit_rows(count: int, width: int = 8) -> torch.Tensor:
    return F.normalize(torch.randn(count, width), dim=1)


# --- published sizes


def test_each_view_has_a_vgg16_trunk_of_its_own():
    net = meta()
    assert count(net.query_net.trunk) == count(net.satellite_net.trunk) == VGG16_CONVOLUTIONS
    assert count(net) == 2 * count(net.query_net)  # and shares nothing


def test_the_trunk_ends_in_conv5_3_at_18_by_18_and_takes_25_37_gmac():
    trunk = meta().satellite_net.trunk
    picture = torch.empty(1, 3, 288, 288, device="meta")
    with FlopCounterMode(display=False) as counter:
        features = trunk(picture, (16,))
    assert features.shape == (1, 512, 18, 18)
    assert counter.get_total_flops() / 2 == pytest.approx(25.37e9, rel=1e-3)


def test_the_trunks_map_is_the_one_before_the_fifth_pooling():
    net = build({**SMALL, "trunk": "vgg11", "stride": 16, "mask_pooling": False})
    layers = list(net.satellite_net.trunk.net.features)
    assert isinstance(layers[-1], torch.nn.ReLU)
    pooled = [layer for layer in layers if isinstance(layer, torch.nn.MaxPool2d)]
    assert len(pooled) == 4


def test_the_mask_has_crns_parameters():
    assert count(meta().query_net.mask) == CRN_MASK


@pytest.mark.parametrize(
    ("head", "outputs", "weights"),
    [
        ("flattened", 512, 21_233_664),
        ("flattened", 1024, 42_467_328),
        ("flattened", 4096, 169_869_312),
        ("pooled", 512, 262_144),
        ("pooled", 4096, 2_097_152),
    ],
)
def test_the_fully_connected_layer_takes_9_by_9_places_or_their_mean(head, outputs, weights):
    net = meta(head=head, outputs=outputs)
    assert net.satellite_net.fc.weight.numel() == weights
    picture = torch.empty(2, 3, 288, 288, device="meta")
    assert net.describe(picture, "satellite").shape == (2, net.descriptor) == (2, outputs)
    panorama = torch.empty(2, 3, 224, 1232, device="meta")
    assert net.describe(panorama, "street").shape == (2, outputs)


def test_the_tiny_network_stays_under_eight_megabytes():
    with torch.device("meta"):
        net = build(PRESETS["tiny-street"])
    assert 2 * sum(t.numel() for t in net.state_dict().values()) < 8e6


# --- the mask (equation 3)


def crn(x: torch.Tensor, mask: ScaleMask) -> torch.Tensor:
    """CRN's layers one after another."""
    small = F.avg_pool2d(x, kernel_size=3, stride=2, padding=0)
    branches = [
        F.conv2d(small, layer.weight, layer.bias, padding=pad).clamp(min=0)
        for layer, pad in zip(mask.scales, (1, 2, 3), strict=True)
    ]
    one = F.conv2d(torch.cat(branches, dim=1), mask.weigh.weight, mask.weigh.bias).clamp(min=0)
    return F.interpolate(one, x.shape[2:], mode="bilinear", align_corners=False)


def mask_net(**changes) -> ScaleMask:
    return ScaleMask(replace(build(SMALL).config, mask_filters=(5, 4, 3), **changes), 6)


def test_the_mask_is_crns_three_scales_pooled_weighed_and_enlarged():
    net, x = mask_net(), torch.randn(2, 6, 18, 18)
    assert [layer.kernel_size for layer in net.scales] == [(3, 3), (5, 5), (7, 7)]
    torch.nn.init.normal_(net.weigh.weight)
    torch.nn.init.zeros_(net.weigh.bias)  # so that some places fall to 0
    with torch.inference_mode():
        want = crn(x, net)
        torch.testing.assert_close(net(x), want)
    assert (want == 0).any()
    assert (want > 0).any()


def test_without_pooling_the_mask_is_made_at_the_maps_own_size():
    net, x = mask_net(mask_pooling=False), torch.randn(1, 6, 9, 9)
    x[..., 0, 0] += 100
    with torch.inference_mode():
        moved = net(x) - net(x - 100 * F.one_hot(torch.tensor(0), 81).view(1, 1, 9, 9))
    assert (moved[0, 0, 4:, :] == 0).all()  # 7 x 7 reaches three places and no further
    assert (moved[0, 0, :4, :4] != 0).any()


def test_a_sigmoid_mask_lies_within_0_and_1_and_a_softmax_mask_has_mean_1():
    x = 5 * torch.randn(2, 6, 9, 9)
    with torch.inference_mode():
        sigmoid = mask_net(mask_activation="sigmoid")(x)
        softmax = mask_net(mask_activation="softmax", mask_pooling=False)(x)
    assert sigmoid.min() > 0
    assert sigmoid.max() < 1
    torch.testing.assert_close(softmax.mean(dim=(2, 3)), torch.ones(2, 1))
    assert softmax.std() > 0.01


def test_a_fresh_relu_mask_is_nowhere_dead():
    net = build(SMALL).eval()
    with torch.inference_mode():
        encoded = net.satellite_net.encode(torch.randn(4, 3, 64, 64))
    assert encoded.mask.min() > 0


def test_the_mask_weighs_every_channel_of_the_map_before_the_fifth_pooling():
    net = build(SMALL).eval().satellite_net
    picture = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        features = net.trunk(picture, (8,))
        encoded = net.encode(picture)
        torch.testing.assert_close(encoded.weighted, features * net.mask(features))
        want = net.fc(F.max_pool2d(encoded.weighted, 2).flatten(1))
        torch.testing.assert_close(net(picture), F.normalize(want, dim=1))


# --- the ablations of table 2


@pytest.mark.parametrize(
    ("row", "mask", "points", "queue"),
    [
        ("Ours", True, True, True),
        ("w/o IPT", True, False, True),
        ("w/o MSAE", False, True, True),
        ("w/o GMS", True, True, False),
    ],
)
def test_each_row_of_the_ablation_lacks_its_part_and_no_other(row, mask, points, queue):
    net = build({**SMALL, **ABLATIONS[row]})
    assert (net.query_net.mask is not None) is (net.satellite_net.mask is not None) is mask
    assert hasattr(net, "points") is points
    assert (net.satellite_queue is not None) is queue
    assert net.query_net.size == ((64, 64) if points else (32, 128))
    net.loss(batch()).backward()
    assert [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None] == []


def test_without_the_mask_the_encoder_is_the_plain_fully_connected_one():
    net = build({**SMALL, "attention": False}).eval().satellite_net
    picture = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        want = net.fc(F.max_pool2d(net.trunk(picture, (8,)), 2).flatten(1))
        torch.testing.assert_close(net(picture), F.normalize(want, dim=1))


def test_a_query_is_described_as_what_it_looks_like_from_above():
    net = build(SMALL).eval()
    panorama = torch.randn(1, 3, 32, 128)
    above = inverse_polar(panorama, net.polar.street_points())
    with torch.inference_mode():
        assert torch.equal(net.describe(panorama, "street"), net.query_net(above))


@pytest.mark.parametrize(
    "change",
    [{"reach": "edge"}, {"vertical_origin": "printed"}, {"azimuth_origin": "printed"}],
)
def test_each_reading_of_the_transform_gives_another_descriptor(change):
    usual, other = build(SMALL).eval(), build({**SMALL, **change}).eval()
    other.load_state_dict(usual.state_dict())
    panorama = torch.randn(1, 3, 32, 128)
    with torch.inference_mode():
        assert not torch.allclose(*(n.describe(panorama, "street") for n in (usual, other)))


# --- the loss (equations 4 to 6)


def naive(query, satellite, place, alpha, queue=(), queue_place=()) -> tuple[float, int]:
    """Sum and number of the terms, in float64."""
    terms: list[float] = []
    q, s = query.double().tolist(), satellite.double().tolist()

    def squared(a, b):
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    for i in range(len(q)):
        match = squared(q[i], s[i])
        for j in range(len(q)):
            if place[j] != place[i]:
                for pair in ((q[i], s[j]), (q[j], s[i])):
                    terms.append(math.log1p(math.exp(alpha * (match - squared(*pair)))))
        for row, stored in zip(queue, queue_place, strict=True):
            if stored != place[i]:
                far = squared(q[i], row.double().tolist())
                terms.append(math.log1p(math.exp(alpha * (match - far))))
    return sum(terms), len(terms)


def test_a_batch_of_64_has_8064_terms_and_the_loss_is_their_mean():
    query, satellite, place = unit_rows(64), unit_rows(64), torch.arange(64)
    total, terms = naive(query, satellite, place, 10)
    assert terms == 8064 == 2 * 64 * 63
    got = soft_margin_triplet(query, satellite, place, alpha=10)
    assert float(got) == pytest.approx(total / terms, rel=1e-5)


def test_the_loss_is_ln_2_where_all_are_equally_far():
    same = unit_rows(1).expand(5, -1)
    got = soft_margin_triplet(same, same, torch.arange(5), alpha=10)
    assert float(got) == pytest.approx(math.log(2))
    far = Outsiders(same, torch.arange(5) + 5, torch.ones(5, dtype=torch.bool))
    got = soft_margin_triplet(same, same, torch.arange(5), alpha=10, satellite_outsiders=far)
    assert float(got) == pytest.approx(math.log(2))


def test_the_queues_triplets_join_the_mean_but_for_those_of_the_anchors_own_place():
    query, satellite, rows = unit_rows(4), unit_rows(4), unit_rows(6)
    place, stored = torch.arange(4), torch.tensor([1, 7, 8, 3, 9, 2])
    filled = torch.tensor([True, True, True, True, True, False])
    total, terms = naive(query, satellite, place, 10, rows[:5], stored[:5])
    assert terms == 2 * 4 * 3 + 4 * 5 - 2
    got = soft_margin_triplet(
        query, satellite, place, alpha=10, satellite_outsiders=Outsiders(rows, stored, filled)
    )
    assert float(got) == pytest.approx(total / terms, rel=1e-5)
    # The other direction: the satellite pictures are the anchors.
    total, terms = naive(satellite, query, place, 10, rows[:5], stored[:5])
    got = soft_margin_triplet(
        query, satellite, place, alpha=10, query_outsiders=Outsiders(rows, stored, filled)
    )
    assert float(got) == pytest.approx(total / terms, rel=1e-5)


def test_a_triplet_with_an_entry_weighs_what_it_is_told():
    query, satellite, rows = unit_rows(4), unit_rows(4), unit_rows(6)
    place, stored = torch.arange(4), torch.arange(6) + 10
    inside, n = naive(query, satellite, place, 10)
    both, m = naive(query, satellite, place, 10, rows, stored)
    entries = Outsiders(rows, stored, torch.ones(6, dtype=torch.bool), weight=0.25)
    got = soft_margin_triplet(query, satellite, place, alpha=10, satellite_outsiders=entries)
    want = (inside + 0.25 * (both - inside)) / (n + 0.25 * (m - n))
    assert float(got) == pytest.approx(want, rel=1e-5)


def test_entries_that_share_an_anchors_ground_are_no_negatives_of_it():
    query, satellite, rows = unit_rows(2), unit_rows(2), unit_rows(4)
    place, stored = torch.arange(2), torch.tensor([5, 6, 7, 8])
    ground = torch.tensor([[0.0, 0, 0], [5, 0, 0]])
    # near the first; just as near but in another world; near the second; somewhere
    nan = torch.nan
    lie = torch.tensor([[0.6, 0.7, 0], [0.6, 0.7, 10], [5, -0.9, 0], [nan, nan, nan]])
    counts = torch.tensor([[False, True, True, True], [True, True, False, True]])
    inside, n = naive(query, satellite, place, 10)
    far = 2 - 2 * query @ rows.T
    match = (2 - 2 * (query * satellite).sum(dim=1))[:, None]
    outside = F.softplus(10 * (match - far))[counts].sum()
    entries = Outsiders(rows, stored, torch.ones(4, dtype=torch.bool), ground=lie)
    got = soft_margin_triplet(
        query, satellite, place, alpha=10, ground=ground, satellite_outsiders=entries
    )
    assert float(got) == pytest.approx(float(inside + outside) / (n + 6), rel=1e-5)


def test_outsiders_alone_make_a_loss_where_a_batch_has_one_place():
    query, satellite, rows = unit_rows(2), unit_rows(2), unit_rows(3)
    entries = Outsiders(rows, torch.tensor([5, 6, 4]), torch.ones(3, dtype=torch.bool))
    place = torch.tensor([4, 4])
    total, terms = naive(query, satellite, place, 10, rows, [5, 6, 4])
    assert terms == 4
    got = soft_margin_triplet(query, satellite, place, alpha=10, satellite_outsiders=entries)
    assert float(got) == pytest.approx(total / terms, rel=1e-5)
    assert float(soft_margin_triplet(query, satellite, place, alpha=10)) == 0


# --- the queue


def stored(queue: HardQueue) -> list[int]:
    """Places, oldest first."""
    return queue.place[queue.filled].tolist()


def push(queue: HardQueue, *places: int) -> None:
    rows = torch.tensor([[float(p), 0.0] for p in places])
    queue.push(rows, torch.tensor(places), torch.ones(len(places), dtype=torch.bool))


def test_first_in_is_first_out():
    queue = HardQueue(4, 2)
    push(queue, 3, 1)
    assert stored(queue) == [3, 1]
    push(queue, 7)
    push(queue, 9, 2)
    assert stored(queue) == [1, 7, 9, 2]
    push(queue, 20, 21, 22, 23, 24)
    assert stored(queue) == [21, 22, 23, 24]
    assert queue.descriptors[:, 0].tolist() == [21, 22, 23, 24]


def test_a_place_is_stored_once_with_its_newest_descriptor():
    queue = HardQueue(4, 2)
    push(queue, 1, 2, 3)
    queue.push(torch.tensor([[50.0, 0], [60.0, 0]]), torch.tensor([2, 2]), torch.tensor([True] * 2))
    assert stored(queue) == [1, 3, 2]
    assert queue.descriptors[queue.filled, 0].tolist() == [1, 3, 60]


def test_what_is_not_valid_neither_enters_nor_replaces():
    queue = HardQueue(3, 2)
    push(queue, 1, 0)
    queue.push(torch.zeros(2, 2), torch.tensor([1, 5]), torch.tensor([False, True]))
    assert stored(queue) == [1, 0, 5]  # 0 is a place as any other
    assert queue.descriptors[queue.filled, 0].tolist() == [1, 0, 0]


def test_each_anchor_stores_its_nearest_satellite_picture_of_another_place():
    queue = HardQueue(8, 2)
    angles = torch.tensor([0.0, 10.0, 30.0, 100.0])
    satellite = torch.stack((angles.deg2rad().cos(), angles.deg2rad().sin()), dim=1)
    place = torch.tensor([5, 5, 6, 7])
    queue.push_hardest(satellite, satellite, place)
    # 5 and 5: the one at 30; 6: the one at 10; 7: the one at 30 again.
    assert stored(queue) == [5, 6]
    torch.testing.assert_close(queue.descriptors[queue.filled], satellite[[1, 2]])


def test_a_batch_of_one_place_stores_nothing():
    queue = HardQueue(8, 4)
    queue.push_hardest(unit_rows(3, 4), unit_rows(3, 4), torch.zeros(3, dtype=torch.long))
    assert stored(queue) == []


def queue_of(net: MSAE) -> list[int]:
    assert net.satellite_queue is not None
    return stored(net.satellite_queue)


def described(net: MSAE, shown: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
    return net.describe(shown.query, "street"), net.describe(shown.satellite, "satellite")


def frozen_statistics(**changes) -> MSAE:
    """In training mode, and yet two passes over a batch are alike."""
    return build({**SMALL, "freeze_bn": True, **changes}).train()


def test_later_batches_learn_from_what_earlier_ones_stored():
    net = frozen_statistics()
    first, second = batch(), batch(places=[10, 11, 12, 3])
    alone = soft_margin_triplet(*described(net, second), second.place, alpha=10)
    before = net.loss(first)
    torch.testing.assert_close(
        before, soft_margin_triplet(*described(net, first), first.place, alpha=10)
    )
    entries = net.satellite_queue.entries(1.0)
    after = net.loss(second)
    assert not torch.allclose(after, alone)
    torch.testing.assert_close(
        after,
        soft_margin_triplet(
            *described(net, second), second.place, alpha=10, satellite_outsiders=entries
        ),
    )
    after.backward()
    assert not net.satellite_queue.descriptors.requires_grad
    assert set(queue_of(net)) <= {0, 1, 2, 3, 10, 11, 12}


def test_the_queue_remembers_where_its_places_lie():
    net = frozen_statistics()
    first = batch()
    lie = torch.tensor([[0.0, 0, 0], [3, 0, 0], [6, 0, 0], [9, 0, 0]])
    net.loss(replace(first, ground=lie))
    queue = net.satellite_queue
    kept = queue.place[queue.filled]
    torch.testing.assert_close(queue.ground[queue.filled], lie[kept])
    # The next batch lies where the stored places do: none of them is a negative of any.
    second = batch(places=[10, 11])
    on_top = torch.zeros(2, 3)
    queue.ground[queue.filled] = 0.0
    alone = soft_margin_triplet(*described(net, second), second.place, alpha=10)
    torch.testing.assert_close(net.loss(replace(second, ground=on_top)), alone)


def test_in_evaluation_the_queue_is_neither_used_nor_filled():
    net = frozen_statistics()
    net.loss(batch())
    kept, shown = queue_of(net), batch(places=[20, 21])
    net.eval()
    want = soft_margin_triplet(*described(net, shown), shown.place, alpha=10)
    torch.testing.assert_close(net.loss(shown), want)
    assert queue_of(net) == kept


def test_enqueued_before_the_loss_a_batch_meets_its_own_hardest():
    shown = batch()
    nets = [frozen_statistics(enqueue=when) for when in ("after", "before")]
    nets[1].load_state_dict(nets[0].state_dict())
    after, before = (net.loss(shown) for net in nets)
    assert not torch.allclose(after, before)
    assert queue_of(nets[0]) == queue_of(nets[1]) != []


def test_the_queue_fills_from_the_beginning_but_counts_from_its_start():
    net = frozen_statistics(queue_start=2)
    for first in (0, 10, 20):
        shown = batch(places=range(first, first + 4))
        alone = soft_margin_triplet(*described(net, shown), shown.place, alpha=10)
        assert torch.allclose(net.loss(shown), alone) == (first < 20)
        assert queue_of(net)


def test_a_queue_of_queries_is_kept_only_when_asked_for():
    assert build(SMALL).query_queue is None
    net = frozen_statistics(queues="both")
    net.loss(batch())
    shown = batch(places=[10, 11, 12])
    want = soft_margin_triplet(
        *described(net, shown),
        shown.place,
        alpha=10,
        satellite_outsiders=net.satellite_queue.entries(1.0),
        query_outsiders=net.query_queue.entries(1.0),
    )
    torch.testing.assert_close(net.loss(shown), want)
    only = soft_margin_triplet(
        *described(net, shown),
        shown.place,
        alpha=10,
        satellite_outsiders=net.satellite_queue.entries(1.0),
    )
    assert not torch.allclose(want, only)


def test_the_queue_of_queries_holds_each_satellite_pictures_nearest_query():
    net = frozen_statistics(queues="both")
    shown = batch(6)
    with torch.no_grad():
        query, satellite = described(net, shown)
        net.loss(shown)
    similar = (satellite @ query.T).fill_diagonal_(-2)
    hardest = set(similar.argmax(dim=1).tolist())
    kept = net.query_queue
    assert set(stored(kept)) == hardest
    rows = kept.descriptors[kept.filled]
    torch.testing.assert_close(rows, query[kept.place[kept.filled]])


def test_no_checkpoint_holds_the_queue_and_a_loaded_network_begins_with_none(tmp_path):
    net = frozen_statistics()
    net.loss(batch())
    assert not any("queue" in key or key == "points" for key in net.state_dict())
    card = Card(
        network="msae",
        config=asdict(net.config),
        title="test",
        task="retrieval",
        query_view="street",
        sizes={"street": (32, 128), "satellite": (64, 64)},
        descriptor=64,
        tile_size_m=80.0,
    )
    save_checkpoint(tmp_path / "n.safetensors", net, card)
    assert queue_of(load_checkpoint(tmp_path / "n.safetensors", device="cpu").network) == []


def test_two_runs_of_one_seed_are_alike_with_turns_and_queue():
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        net = build({**SMALL, "rotation_deg": 20.0}).train()
        losses.append([net.loss(batch()).item() for _ in range(3)])
    assert losses[0] == losses[1]


# --- turns in training


def seen_in_training(net: MSAE, shown: PairBatch, monkeypatch) -> list[torch.Tensor]:
    """What the two encoders get."""
    seen: list[torch.Tensor] = []
    for encoder in (net.query_net, net.satellite_net):
        encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    monkeypatch.setattr(torch, "rand", lambda n, device: torch.linspace(0, 1, n))
    net.loss(shown)
    return seen


@pytest.mark.parametrize("rotated", ["query", "both"])
def test_views_from_above_are_turned_by_up_to_so_much_either_way(rotated, monkeypatch):
    net = build({**SMALL, "rotation_deg": 30.0, "rotated": rotated}).train()
    shown = batch(3)
    above, satellite = seen_in_training(net, shown, monkeypatch)
    turns = torch.tensor([-30.0, 0.0, 30.0])
    want = inverse_polar(shown.query, net.points, turn_deg=turns)
    torch.testing.assert_close(above, want)
    assert not torch.allclose(above[0], inverse_polar(shown.query, net.points)[0])
    want = turned(shown.satellite, turns) if rotated == "both" else shown.satellite
    torch.testing.assert_close(satellite, want)


@pytest.mark.parametrize("change", [{"rotation_deg": 0.0}, {"inverse_polar": False}])
def test_nothing_is_turned_where_nothing_is_to_be(change, monkeypatch):
    net = build({**SMALL, "rotation_deg": 30.0, "rotated": "both", **change}).train()
    shown = batch(3)
    seen = seen_in_training(net, shown, monkeypatch)
    assert torch.equal(seen[1], shown.satellite)
    assert torch.equal(seen[0], net._from_above(shown.query, "street"))


def test_nothing_is_turned_in_evaluation():
    net = build({**SMALL, "rotation_deg": 30.0}).eval()
    shown = batch()
    assert net.loss(shown).item() == net.loss(shown).item()


# --- explanations


def test_contributions_and_the_bias_add_up_to_the_output_along_the_descriptor():
    for head in ("flattened", "pooled"):
        net = build({**SMALL, "head": head}).eval().satellite_net
        picture = torch.randn(2, 3, 64, 64)
        with torch.inference_mode():
            share, mask, energy = net.explain(picture)
            out = net.encode(picture).out
            of_bias = F.normalize(out, dim=1) @ net.fc.bias
        assert "contribution" in share.name
        torch.testing.assert_close(
            share.values.sum(dim=(1, 2)) + of_bias, out.norm(dim=1), atol=1e-4, rtol=1e-4
        )
        assert mask.name == "MSAE's mask"
        assert "weighted by the mask" in energy.name


def test_the_maps_of_a_satellite_picture_are_the_mask_and_the_weighted_energy():
    net = build(SMALL).eval()
    picture = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        _, mask, energy = net.explain(picture, "satellite")
        encoded = net.satellite_net.encode(picture)
    torch.testing.assert_close(mask.values, encoded.mask[:, 0])
    torch.testing.assert_close(energy.values, encoded.weighted.norm(dim=1))


def test_without_a_mask_none_is_shown_and_energy_is_said_to_be_plain():
    net = build({**SMALL, "attention": False, "inverse_polar": False}).eval()
    with torch.inference_mode():
        names = [m.name for m in net.explain(torch.randn(1, 3, 32, 128), "street")]
    assert names == ["contribution to the descriptor", "activation energy of the trunk"]


@pytest.mark.parametrize(("direction", "column"), [("east", 24), ("west", 8), ("north", 16)])
def test_what_it_saw_in_a_direction_lies_there_on_the_panorama(direction, column, monkeypatch):
    net = build(SMALL).eval()
    mask = torch.zeros(1, 1, 8, 8)
    rows, columns = {
        "east": (slice(3, 5), slice(5, 7)),
        "west": (slice(3, 5), slice(1, 3)),
        "north": (slice(1, 3), slice(3, 5)),
    }[direction]
    mask[..., rows, columns] = 1
    monkeypatch.setattr(net.query_net.mask, "forward", lambda _: mask)
    with torch.inference_mode():
        shown = net.explain(torch.randn(1, 3, 32, 128), "street")[1]
    assert shown.name == "MSAE's mask, back from the view from above"
    assert shown.values.shape == (1, 8, 32)
    heat = shown.values[0].sum(dim=0)
    around = (torch.arange(32) + 0.5 - column).abs() < 4
    assert heat[around].sum() > 0.9 * heat.sum()
    # The panorama's ground lies in the centre of the view, its sky beyond the square.
    assert shown.values[0, -1].sum() < 0.1 * heat.sum()
    assert shown.values[0, 0, [0, 8, 16, 24]].eq(0).all()


# --- what cannot be


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query_view": "drone"}, "drone pictures cannot be put over"),
        ({"satellite_size": (64, 72)}, "tiles of 64 x 72"),
        ({"satellite_size": (68, 68)}, "68 x 68"),
        ({"satellite_size": (16, 16)}, "16 x 16"),
        ({"inverse_polar": False, "query_size": (32, 100)}, "32 x 100"),
        ({"mask_filters": (4, 4)}, "make no mask"),
        ({"mask_kernels": (3, 4, 7)}, "make no mask"),
        ({"stride": 1}, "no map of stride 1"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(change, words):
    with pytest.raises(UserError, match=words), torch.device("meta"):
        build({**SMALL, **change})


def test_pictures_of_another_size_are_refused():
    net = build(SMALL)
    with pytest.raises(ValueError, match="32, 128"):
        net.describe(torch.randn(1, 3, 64, 128), "street")
    with pytest.raises(ValueError, match="64, 64"):
        net.describe(torch.randn(1, 3, 96, 96), "satellite")


def test_a_drone_network_takes_its_pictures_as_they_are():
    net = build({**SMALL, "query_view": "drone", "query_size": (64, 64), "inverse_polar": False})
    picture = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        got = net.eval().describe(picture, "drone")
        assert torch.equal(got, net.query_net(picture))


def test_a_configuration_survives_json():
    config = build(SMALL).config
    assert build(json.loads(json.dumps(asdict(config)))).config == config
