"""GeoViewMatch against its paper's figures, and its parts against plain formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from app.errors import UserError
from app.models.backbone import pooled_backbone
from app.models.base import PairBatch
from app.models.geoviewmatch import PRESETS, Aggregation, GeoViewMatch, build
from app.models.losses import soft_margin_triplet
from app.models.strong_weak import (
    TO_YIQ,
    StrongLook,
    blurred,
    luma,
    quarter_turned,
    rolled,
    strong_look,
)
from app.models.swin import SwinV2, WindowAttention

PAPER = PRESETS["paper-cvusa-cvact"]
SMALL = PRESETS["smallest"]


def meta(**changes) -> GeoViewMatch:
    with torch.device("meta"):
        return build({**PAPER, **changes}).eval()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def pictures(net: GeoViewMatch, view: str, *, n: int = 1, seed: int = 0) -> torch.Tensor:
    dice = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, *net.input_size(view), generator=dice)


def shaken(module: nn.Module) -> nn.Module:
    """Weights as after training: fresh blocks are the identity."""
    for p in module.parameters():
        nn.init.normal_(p, std=0.2)
    return module


def gmac(module: nn.Module, *size: int) -> float:
    with FlopCounterMode(display=False) as counter:
        module(torch.empty(1, 3, *size, device="meta"))
    return counter.get_total_flops() / 2e9


def ptflops_gmac(net: nn.Module, *size: int) -> float:
    """What ptflops 0.6.7 counts: modules that are called, with their biases.

    Linear: a product an input and output, and its biases once a call. Conv2d: a bias an output.
    ReLU: one an element. Not: GELU, LayerNorm, softmax, products of q, k and v, and the linear
    layer of q, k and v itself, which is a function call and not a module's.
    """
    total = 0

    def told(module: nn.Module, _, out: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            bias = module.out_features if module.bias is not None else 0
            total += out.numel() * module.in_features + bias
        elif isinstance(module, nn.Conv2d):
            total += out.numel() * (module.weight[0].numel() + 1)
        elif isinstance(module, nn.ReLU):
            total += out.numel()

    hooks = [m.register_forward_hook(told) for m in net.modules()]
    net(torch.empty(1, 3, *size, device="meta"))
    for hook in hooks:
        hook.remove()
    return total / 1e9


# --- the published figures


def test_each_trunk_has_the_published_parameters():
    net = meta()
    assert count(net.query_net.trunk) == count(net.satellite_net.trunk) == 27_578_154
    assert len(list(net.trunk_parameters())) == 2 * len(list(net.query_net.trunk.parameters()))
    assert sum(p.numel() for p in net.trunk_parameters()) == 55_156_308


def test_the_aggregations_have_the_parameters_of_their_formula():
    net = meta()
    want = {"query_net": (320, 80, 875_200), "satellite_net": (256, 64, 560_896)}
    for name, (fine, coarse, total) in want.items():
        parts = net.get_submodule(name).aggregations
        assert [count(parts[f]) for f in ("f3", "f4")] == [
            8 * t**2 + 12 * t for t in (fine, coarse)
        ]
        assert count(parts) == total
        assert [parts[f].weight1.shape[2] for f in ("f3", "f4")] == [fine // 2, coarse // 2]


def test_the_whole_has_the_57_47_million_parameters_of_table_4():
    net = meta()
    assert count(net) - count(net.projection) == 56_592_404
    assert round(count(net) / 1e6, 2) == 57.47


def test_maps_have_the_papers_sizes_and_the_low_street_map_its_own_windows():
    net = meta()
    satellite, street = net.satellite_net.trunk, net.query_net.trunk
    assert satellite.grids == ((64, 64), (32, 32), (16, 16), (8, 8))
    assert street.grids == ((32, 160), (16, 80), (8, 40), (4, 20))
    assert [s.blocks[0].attn.window for s in satellite.layers] == [8, 8, 8, 8]
    assert [s.blocks[0].attn.window for s in street.layers] == [8, 8, 8, 4]
    maps = street(torch.empty(1, 3, 128, 640, device="meta"))
    assert [m.shape[-1] for m in maps] == [96, 192, 384, 768]


def test_a_descriptor_is_3072_of_stage_3_and_6144_of_stage_4():
    net = meta()
    street = torch.empty(2, 3, 128, 640, device="meta")
    assert net.describe(street, "street").shape == (2, 9216)
    assert net.descriptor == 9216
    assert [meta(stages=s).descriptor for s in ((4,), (2, 3, 4))] == [6144, 9216 + 1536]
    assert meta(stages=(1, 2, 3, 4)).descriptor == 9216 + 1536 + 768


def test_ptflops_counts_the_published_operations():
    net = meta()
    trunks = ptflops_gmac(net.satellite_net.trunk, 256, 256)
    trunks += ptflops_gmac(net.query_net.trunk, 128, 640)
    assert round(trunks, 4) == 9.7612
    heads = sum(8 * t**2 + 12 * t for t in (256, 64, 320, 80)) / 1e9  # as Linear modules
    assert round(trunks + heads, 4) == 9.7626


def test_all_products_are_13_34_billion_and_timms_padding_makes_them_13_42():
    net = meta()
    satellite = gmac(net.satellite_net.trunk, 256, 256)
    assert satellite == pytest.approx(5.939, rel=1e-4)
    assert satellite + gmac(net.query_net.trunk, 128, 640) == pytest.approx(13.341, rel=1e-4)
    with torch.device("meta"):
        timms = pooled_backbone("swinv2_tiny_window8_256", img_size=(128, 640)).eval()
    assert satellite + gmac(timms, 128, 640) == pytest.approx(13.42, rel=1e-3)


# --- the trunk


def test_the_trunk_is_timms_with_its_weights():
    sizes = {"depths": (2, 2, 2), "mlp_ratio": 2.0}
    timms = pooled_backbone(
        "swinv2_tiny_window8_256",
        img_size=(64, 128),
        window_size=4,
        embed_dim=16,
        num_heads=(1, 2, 4),
        drop_path_rate=0.0,
        **sizes,
    ).eval()
    ours = SwinV2(size=(64, 128), window=4, width=16, heads=(1, 2, 4), shift_by_axis=True, **sizes)
    shaken(ours).eval()
    timms.load_state_dict(ours.state_dict())
    x = torch.randn(1, 3, 64, 128)
    with torch.inference_mode():
        want = timms.forward_features(x)
        got = ours.norm(ours(x)[-1])
    assert want.shape == got.shape
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-3)
    assert want.std() > 0.1


def test_a_map_as_low_as_a_window_is_not_shifted_unless_asked():
    kinds = {"size": (32, 64), "window": 4, "width": 8, "depths": (2, 2), "heads": (1, 1)}
    shifts = {
        by_axis: [s.blocks[1].attn.shift for s in SwinV2(**kinds, shift_by_axis=by_axis).layers]
        for by_axis in (False, True)
    }
    assert shifts == {False: [(2, 2), (0, 0)], True: [(2, 2), (0, 2)]}


@pytest.mark.parametrize("shift", [(0, 0), (2, 2)])
def test_attention_received_is_the_mean_of_the_weights_mapped_back(shift):
    attention = shaken(WindowAttention(8, 2, grid=(4, 8), window=4, shift=shift)).double()
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    received = attention.received(x)
    tokens = x.flatten(1, 2)[0]
    q, k, _ = (
        F.linear(tokens, attention.qkv.weight)
        + torch.cat((attention.q_bias, torch.zeros(8), attention.v_bias))
    ).chunk(3, dim=-1)
    cells = [(i, j) for i in range(4) for j in range(8)]
    torus = [((i - shift[0]) % 4, (j - shift[1]) % 8) for i, j in cells]
    scale = attention.logit_scale.clamp(max=math.log(100)).exp().flatten()
    want = torch.zeros(32, dtype=torch.float64)
    for head in range(2):
        a, b = (F.normalize(t[:, 4 * head : 4 * head + 4], dim=-1) for t in (q, k))
        for m, (i, j) in enumerate(torus):
            logits = torch.full((32,), -torch.inf, dtype=torch.float64)
            for n, (y, x2) in enumerate(torus):
                if j // 4 != x2 // 4:
                    continue
                o = torch.tensor([i - y, j - x2], dtype=torch.float64) * 8 / 3
                o = o.sign() * (o.abs() + 1).log2() / 3
                bias = 16 * attention.cpb_mlp(o).sigmoid()[head]
                near = all(abs(u - v) < 4 for u, v in zip(cells[m], cells[n], strict=True))
                rolled_in = shift[0] and (
                    (cells[m][0] < 2) != (cells[n][0] < 2)
                    or (j // 4 == 1 and (cells[m][1] < 2) != (cells[n][1] < 2))
                )
                apart = -100.0 if rolled_in or not near else 0.0
                logits[n] = scale[head] * (a[m] @ b[n]) + bias + apart
            want += logits.softmax(dim=0) / 2 / 16
    torch.testing.assert_close(received[0].flatten(), want, atol=1e-6, rtol=1e-5)
    assert float(received.sum().detach()) == pytest.approx(2)


def test_cosines_are_scaled_by_at_most_100():
    attention = shaken(WindowAttention(8, 2, grid=(4, 4), window=4, shift=(0, 0)))
    x = torch.randn(1, 4, 4, 8)
    outs = []
    with torch.inference_mode():
        for scale in (50.0, 100.0, 1000.0):
            attention.logit_scale.fill_(math.log(scale))
            outs.append(attention(x))
    torch.testing.assert_close(outs[1], outs[2])
    assert not torch.allclose(outs[0], outs[1])


def test_branches_are_left_out_more_often_the_deeper_they_are():
    net = build({**SMALL, "drop_path": 0.3})
    for trunk in (net.query_net.trunk, net.satellite_net.trunk):
        rates = [block.drop_path.rate for stage in trunk.layers for block in stage.blocks]
        assert rates == pytest.approx([0.3 * i / (len(rates) - 1) for i in range(len(rates))])
    assert meta().config.drop_path == 0.2


def test_a_fresh_block_passes_its_map_on():
    trunk = build(SMALL).eval().satellite_net.trunk
    x = torch.randn(1, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(trunk.layers[0].blocks[0](x), x)


def test_sizes_that_windows_do_not_tile_are_refused():
    with pytest.raises(UserError, match="200 x 200"):
        build({**PRESETS["tiny-drone"], "satellite_size": (200, 200)})


# --- aggregation


@pytest.mark.parametrize("pooling", ["max", "mean"])
@pytest.mark.parametrize("activation", [False, True])
def test_the_aggregation_is_the_papers_products(pooling, activation):
    fa = shaken(Aggregation(6, 3, pooling=pooling, activation=activation))
    x = torch.randn(1, 6, 5)
    pooled = x[0].max(dim=1).values if pooling == "max" else x[0].mean(dim=1)
    want = []
    for n in range(3):
        hidden = pooled @ fa.weight1[n] + fa.bias1[n]
        hidden = hidden.clamp(min=0) if activation else hidden
        mask = hidden @ fa.weight2[n] + fa.bias2[n]
        want += [sum(mask[t] * x[0, t, c] for t in range(6)) for c in range(5)]
    torch.testing.assert_close(fa(x)[0], torch.stack(want), atol=1e-5, rtol=1e-5)


def test_fresh_aggregations_begin_as_even_sums():
    fa = Aggregation(64, 3, pooling="max", activation=False)
    with torch.inference_mode():
        masks = fa.masks(torch.rand(2, 64, 5))
    torch.testing.assert_close(masks.mean(), torch.tensor(0.1), atol=0.02, rtol=0)
    assert masks.std() < 0.05


@pytest.mark.parametrize("normalise", ["whole", "each"])
def test_a_descriptor_is_the_parts_finer_first_made_unit_as_a_whole_or_each(normalise):
    net = shaken(build({**SMALL, "normalise": normalise})).eval()
    image = pictures(net, "satellite", n=2)
    with torch.inference_mode():
        got = net.describe(image, "satellite")
        trunk = net.satellite_net.trunk
        *maps, last = trunk(image)
        fine, coarse = (
            net.satellite_net.aggregations[name](x.flatten(1, 2))
            for name, x in (("f3", maps[2]), ("f4", trunk.norm(last)))
        )
    if normalise == "each":
        fine, coarse = F.normalize(fine, dim=1), F.normalize(coarse, dim=1)
    want = torch.cat((fine, coarse), dim=1)
    torch.testing.assert_close(got, want / want.norm(dim=1, keepdim=True))
    lengths = got.split((fine.shape[1], coarse.shape[1]), dim=1)[0].norm(dim=1)
    assert torch.allclose(lengths, torch.full((2,), 0.5**0.5)) == (normalise == "each")


# --- augmentation


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_marker_is_in_the_same_direction_on_both_pictures_after_any_turn(quarters):
    edges = {0: (0, 4), 1: (4, 8), 2: (8, 4), 3: (4, 0)}  # north, east, south, west: row, column
    for direction, (row, column) in edges.items():
        tile, panorama = torch.zeros(1, 3, 9, 9), torch.zeros(1, 3, 2, 16)
        tile[..., row, column] = 1
        panorama[..., (8 + 4 * direction) % 16] = 1  # the centre column faces north
        turns = torch.tensor([quarters])
        spot = quarter_turned(tile, turns)[0, 0].nonzero()[0].tolist()
        seen = int(rolled(panorama, turns)[0, 0, 0].argmax())
        assert tuple(spot) == edges[(direction + quarters) % 4]
        assert ((seen - 8) // 4) % 4 == (direction + quarters) % 4


def test_each_picture_of_a_batch_is_turned_by_its_own():
    images = torch.randn(4, 3, 8, 8)
    turned = quarter_turned(images, torch.arange(4))
    for i in range(4):
        assert torch.equal(turned[i], torch.rot90(images[i], -i, dims=(1, 2)))


def test_the_strong_look_keeps_to_its_strengths():
    images = torch.rand(64, 3, 16, 16)
    dice = torch.Generator().manual_seed(0)
    none = StrongLook(chances=(0.0, 0.0, 0.0))
    torch.testing.assert_close(strong_look(images, none, generator=dice), images, atol=1e-4, rtol=0)
    grey = strong_look(images, StrongLook(chances=(0.0, 1.0, 0.0)), generator=dice)
    torch.testing.assert_close(grey, luma(images)[:, None].expand_as(images), atol=1e-4, rtol=0)
    altered = strong_look(images, StrongLook(), generator=dice)
    assert altered.min() >= 0
    assert altered.max() <= 1
    same = (altered - images).abs().amax(dim=(1, 2, 3)) < 1e-3
    assert 1 <= int(same.sum()) <= 16  # 8 % have neither jitter nor grey nor blur


def test_the_strong_look_is_the_same_in_half_precision():
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    whole, half = (torch.Generator().manual_seed(1) for _ in range(2))
    expected = strong_look(images, StrongLook(), generator=whole)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(strong_look(images, StrongLook(), generator=half), expected)


def test_brightness_contrast_and_saturation_scale_what_they_name():
    images = torch.rand(32, 3, 16, 16) * 0.2 + 0.4  # nothing is cut off
    for i in range(3):
        jitter = tuple(0.3 if i == j else 0.0 for j in range(4))
        look = StrongLook(jitter=jitter, chances=(1.0, 0.0, 0.0))
        out = strong_look(images, look, generator=torch.Generator().manual_seed(i))
        mean = luma(images)[:, None]
        centre = (0.0, mean.mean(dim=(2, 3), keepdim=True), mean)[i]
        wanted = ((images - centre).flatten(1) * (out - centre).flatten(1)).sum(dim=1)
        factor = wanted / (images - centre).flatten(1).square().sum(dim=1)
        want = centre + factor[:, None, None, None] * (images - centre)
        torch.testing.assert_close(out, want, atol=1e-3, rtol=0)
        assert 0.7 <= factor.min() < 0.85
        assert 1.15 < factor.max() <= 1.3


def test_hue_turns_the_two_axes_of_colour_and_leaves_luma():
    images = torch.rand(32, 3, 8, 8) * 0.2 + 0.4
    look = StrongLook(jitter=(0.0, 0.0, 0.0, 0.1), chances=(1.0, 0.0, 0.0))
    out = strong_look(images, look, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(luma(out), luma(images), atol=1e-3, rtol=0)
    before, after = (
        torch.view_as_complex(
            torch.einsum("ij,bjhw->bhwi", torch.tensor(TO_YIQ)[1:], x).contiguous()
        )
        for x in (images, out)
    )
    turn = (after * before.conj()).sum(dim=(1, 2))
    circles = turn.angle() / (2 * math.pi)
    torch.testing.assert_close(turn.abs(), before.abs().square().sum(dim=(1, 2)), rtol=0.01, atol=0)
    assert -0.101 < circles.min() < -0.06
    assert 0.06 < circles.max() < 0.101


def test_the_strong_look_blurs_as_many_as_its_chance_says():
    images = torch.rand(64, 3, 16, 16)
    look = StrongLook(chances=(0.0, 0.0, 0.5), sigma=(1.0, 1.5))
    out = strong_look(images, look, generator=torch.Generator().manual_seed(0))
    smooth = out.std(dim=(1, 2, 3)) < 0.6 * images.std(dim=(1, 2, 3))
    same = (out - images).abs().amax(dim=(1, 2, 3)) < 1e-3
    assert 20 <= int(smooth.sum()) == 64 - int(same.sum()) <= 44


def test_a_blur_is_a_gaussian_of_each_pictures_sigma():
    point = torch.zeros(2, 3, 21, 21)
    point[..., 10, 10] = 1
    out = blurred(point, torch.tensor([0.0, 1.5]), radius=6)
    torch.testing.assert_close(out[0], point[0])
    steps = torch.arange(21.0) - 10
    spread = (out[1, 0].sum(dim=0) * steps**2).sum().sqrt()
    assert float(spread) == pytest.approx(1.5, rel=0.01)
    assert float(out[1, 0].sum()) == pytest.approx(1)


def batch(net: GeoViewMatch, *, n: int = 4) -> PairBatch:
    query, satellite = pictures(net, "street", n=n), pictures(net, "satellite", n=n, seed=1)
    return PairBatch(query, satellite, torch.arange(n))


def test_a_batch_is_turned_as_a_whole_pair_and_its_strong_picture_altered_in_place():
    net = build({**SMALL, "chances": (0.0, 0.0, 0.0), "turns": (1,)})
    plain = batch(net)
    inside = (torch.rand(plain.satellite.shape) - net.mean) / net.std
    plain = PairBatch(plain.query, inside, plain.place)
    turned = net.augment(plain, generator=torch.Generator().manual_seed(0))
    ones = torch.ones(4, dtype=torch.long)
    assert torch.equal(turned.satellite, quarter_turned(inside, ones))
    assert torch.equal(turned.query, rolled(plain.query, ones))
    torch.testing.assert_close(turned.satellite_strong, turned.satellite, atol=1e-3, rtol=0)
    literal = build({**SMALL, "chances": (0.0, 0.0, 0.0), "turns": (1,), "strong": "unturned"})
    unturned = literal.augment(plain, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unturned.satellite_strong, inside, atol=1e-3, rtol=0)
    assert torch.equal(unturned.satellite, turned.satellite)


def test_a_drones_picture_is_turned_where_a_panorama_is_rolled():
    changes = {"query_view": "drone", "query_size": (64, 64), "query_turn": "rotate"}
    net = build({**SMALL, **changes, "turns": (3,)})
    plain = PairBatch(torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64), torch.arange(2))
    turned = net.augment(plain, generator=torch.Generator().manual_seed(0))
    threes = torch.full((2,), 3)
    assert torch.equal(turned.query, quarter_turned(plain.query, threes))
    assert torch.equal(turned.satellite, quarter_turned(plain.satellite, threes))


def test_the_strong_look_is_the_configs():
    look = StrongLook(jitter=(0.1, 0.2, 0.3, 0.05), chances=(0.5, 0.6, 0.7), sigma=(1.0, 1.5))
    fields = {"jitter": look.jitter, "chances": look.chances, "sigma": look.sigma}
    assert build({**SMALL, **fields}).look == look


def test_chance_is_the_generators_alone_and_none_without_contrastive_learning():
    net = build(SMALL)
    first, second = (
        net.augment(batch(net), generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first.satellite_strong, second.satellite_strong)
    assert torch.equal(first.query, second.query)
    plain = batch(net)
    dice = torch.Generator().manual_seed(3)
    assert build({**SMALL, "contrastive": False}).augment(plain, generator=dice) is plain


# --- losses


def test_the_soft_margin_at_a_tie_is_ln_2():
    same = torch.ones(4, 8)
    got = soft_margin_triplet(same, same, torch.arange(4), alpha=10)
    assert float(got) == pytest.approx(math.log(2), rel=1e-6)


def test_the_soft_margin_takes_all_triplets_of_other_places_both_ways():
    place = torch.tensor([0, 1, 2, 1])
    q, s = (F.normalize(torch.randn(4, 6), dim=-1) for _ in range(2))
    terms = []
    for i in range(4):
        for j in range(4):
            if place[i] == place[j]:
                continue
            negative = (q[i] - s[j]).square().sum()
            for k in (i, j):
                positive = (q[k] - s[k]).square().sum()
                terms.append(math.log(1 + math.exp(10 * (positive - negative))))
    assert len(terms) == 2 * (4 * 3 - 2)
    got = soft_margin_triplet(q, s, place, alpha=10)
    assert float(got) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_a_batch_of_one_place_gives_zero_and_finite_gradients():
    a = torch.randn(3, 4, requires_grad=True)
    loss = soft_margin_triplet(a, torch.randn(3, 4), torch.zeros(3, dtype=torch.long), alpha=10)
    loss.backward()
    assert loss.item() == 0
    assert a.grad.isfinite().all()


def test_the_loss_weighs_the_contrastive_and_both_retrieval_terms():
    # Other numbers than the paper's, of which two are equal.
    changes = {"loss_weights": (0.5, 0.3, 0.2), "alpha": 4.0}
    net = build({**SMALL, **changes}).eval()
    pairs = net.augment(batch(net), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        query = net.describe(pairs.query, "street")
        strong, weak = (
            net.describe(x, "satellite") for x in (pairs.satellite_strong, pairs.satellite)
        )
        terms = [
            soft_margin_triplet(a, b, pairs.place, alpha=4)
            for a, b in (
                (net.projection(strong), net.projection(weak)),
                (query, strong),
                (query, weak),
            )
        ]
        want = 0.5 * terms[0] + 0.3 * terms[1] + 0.2 * terms[2]
        torch.testing.assert_close(net.loss(pairs), want)
        alone = build({**SMALL, **changes, "contrastive": False}).eval()
        alone.load_state_dict(net.state_dict(), strict=False)
        torch.testing.assert_close(alone.loss(pairs), terms[2])
    assert len({round(float(t), 6) for t in terms}) == 3
    assert build(SMALL).config.loss_weights == (0.5, 0.25, 0.25)


def test_the_projection_is_two_layers_with_a_rectifier_between():
    head = shaken(build(SMALL).projection)
    x = torch.randn(3, head[0].in_features)
    with torch.inference_mode():
        hidden = F.linear(x, head[0].weight, head[0].bias)
        want = F.linear(hidden.clamp(min=0), head[-1].weight, head[-1].bias)
        torch.testing.assert_close(head(x), want)
    assert (hidden < 0).any()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"contrastive": False},
        {"stages": (4,)},
        {"stages": (1, 2, 3, 4)},
        {"final_norm": False, "normalise": "each", "pooling": "mean", "activation": "relu"},
        {"query_view": "drone", "query_size": (64, 64), "query_turn": "rotate"},
    ],
    ids=str,
)
def test_every_variant_gives_every_parameter_a_gradient(change):
    net = build({**SMALL, **change})
    plain = batch(net)
    net.loss(plain).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    net.zero_grad()
    shaken(net).loss(net.augment(plain, generator=torch.Generator().manual_seed(0))).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []


# --- use


def test_a_picture_has_one_unit_descriptor_alone_or_in_company():
    net = shaken(build(SMALL)).eval()
    images = pictures(net, "street", n=3)
    with torch.inference_mode():
        together = net.describe(images, "street")
        alone = torch.cat([net.describe(x[None], "street") for x in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_contributions_sum_to_the_length_of_their_stages_part():
    net = shaken(build(SMALL)).eval()
    image = pictures(net, "satellite")
    with torch.inference_mode():
        shown = {m.name: m.values for m in net.explain(image, "satellite")}
        trunk = net.satellite_net.trunk
        *maps, last = trunk(image)
        for stage, x in ((3, maps[2]), (4, trunk.norm(last))):
            length = net.satellite_net.aggregations[f"f{stage}"](x.flatten(1, 2)).norm()
            share = shown[f"contribution to the descriptor, stage {stage}"]
            assert share.shape[1:] == x.shape[1:3]
            torch.testing.assert_close(share.sum(), length, rtol=1e-4, atol=1e-4)
        final = trunk.layers[-1].blocks[-1].attn
        x = trunk.layers[-1].downsample(maps[2])
        for block in list(trunk.layers[-1].blocks)[:-1]:
            x = block(x)
        received = final.received(x)
    windows = shown["attention received in the last block"]
    torch.testing.assert_close(windows, received)
    assert received.std() > 1e-4
    assert float(windows.sum()) == pytest.approx(1)
    assert next(iter(shown)) == "contribution to the descriptor, stage 4"
    assert len(shown) == 7


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"stages": (3,)}, "Stages"),
        ({"stages": ()}, "Stages"),
        ({"stages": (0, 4)}, "Stages"),
        ({"query_view": "drone"}, "rolled"),
        ({"satellite_size": (64, 128)}, "not square"),
        ({"query_turn": "rotate"}, "not square"),
    ],
    ids=str,
)
def test_what_cannot_be_built_or_turned_is_refused(change, what):
    with pytest.raises(UserError, match=what):
        build({**SMALL, **change})


@pytest.mark.parametrize("preset", ["tiny-street", "tiny-drone"])
def test_the_tiny_networks_stay_under_eight_megabytes(preset):
    with torch.device("meta"):
        net = build(PRESETS[preset])
    assert 2 * sum(t.numel() for t in net.state_dict().values()) < 8e6
