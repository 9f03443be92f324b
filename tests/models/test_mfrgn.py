"""MFRGN against its paper's figures, and its parts against plain formulas."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from app.errors import UserError
from app.models.backbone import last_maps
from app.models.base import PairBatch
from app.models.losses import info_nce
from app.models.mfrgn import ABLATIONS, MFRGN, PRESETS, build, our_name, scale_grids
from app.models.multi_scale import (
    EPSILON,
    GlobalPromptAttention,
    LiteEncoderLayer,
    SelfCrossAttention,
    linear_attention,
    pyramid_sample,
    sine_code,
)

SMALL = PRESETS["smallest"]


def meta(preset: str, **changes) -> MFRGN:
    with torch.device("meta"):
        return build({**PRESETS[preset], **changes}).eval()


def count(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def pictures(net: MFRGN, view: str, *, n: int = 1) -> torch.Tensor:
    return torch.randn(n, 3, *net.input_size(view), device=net.logit_scale.device)


def batch(net: MFRGN, *, n: int = 4) -> PairBatch:
    query = pictures(net, net.config.query_view, n=n)
    return PairBatch(query, pictures(net, "satellite", n=n), torch.arange(n))


def gmac(net: MFRGN) -> float:
    """Of a pair."""
    with FlopCounterMode(display=False) as counter:
        for view in (net.config.query_view, "satellite"):
            net.describe(pictures(net, view), view)
    return counter.get_total_flops() / 2e9


# --- the published figures


def test_the_network_has_the_published_parameters():
    net = meta("paper-cvusa")
    assert count(net) == 97_876_605
    assert count(net.backbone) == 87_566_464
    assert count(net) - count(net.backbone) == 10_310_141  # the sheet's 10.310 M
    without = meta("paper-cvusa", sampling=False)
    assert count(without) == 97_887_349  # the sheet's 97.887 M
    assert count(meta("paper-university")) == 93_432_595


def test_the_parts_have_the_published_parameters():
    net = meta("paper-cvusa")
    assert net.fourth is not None
    assert count(net.embed, net.fourth) == 1_410_560
    for view in ("street", "satellite"):
        flows = net.flows_of(view)
        assert flows.scam is not None
        assert count(flows.scam.high) == 657_152
        assert count(flows.scam.low) == 328_576
        assert count(flows.global_projection) == 13_426
        assert count(flows.local_projection) == 491_776
        prompts = [gpab.prompt for gpab in flows.gpab]
        # The sheet's figure counts the running statistics of batch norm as well.
        assert sum(t.numel() for p in prompts for t in p.state_dict().values()) == 1_568_648
        assert count(*prompts) == 1_563_776
        assert count(*(gpab.channel for gpab in flows.gpab)) == 1_394_560
    spans = {
        view: [gpab.space.kernel_size for gpab in net.flows_of(view).gpab]
        for view in ("street", "satellite")
    }
    assert spans["satellite"] == [(81, 1), (7, 7), (5, 5), (3, 3)]
    assert spans["street"] == [(91, 1), (7, 13), (7, 13), (7, 13)]


@pytest.mark.parametrize(("sampling", "published"), [(True, 41.871), (False, 42.400)])
def test_a_pair_multiplies_as_often_as_published(sampling, published):
    assert gmac(meta("paper-cvusa", sampling=sampling)) == pytest.approx(published, rel=1e-3)


@pytest.mark.parametrize(
    ("preset", "view", "high", "every"),
    [
        ("paper-cvusa", "satellite", 336, 958),
        ("paper-cvusa", "street", 336, 958),
        ("paper-vigor", "satellite", 525, 1147),
        ("paper-vigor", "street", 1050, 1672),
        ("paper-university", "satellite", 756, 1378),
        ("paper-university", "drone", 756, 1378),
    ],
)
def test_a_picture_has_the_published_tokens(preset, view, high, every):
    net = meta(preset)
    flows = net.flows_of(view)
    maps = net.scale_maps(pictures(net, view))
    scales = flows.scales(maps, net._embedded(maps))
    assert scales.low.shape[1:] == (622, 128)
    assert scales.high.shape[1:] == (high, 128)
    assert flows.global_projection.in_features == every
    assert [m.shape[1] for m in scales.maps] == [256, 512, 1024, 128]
    assert scales.maps[0].shape[2:] == (622, 1)


def test_high_level_tokens_are_a_third_of_the_low_level_ones():
    tokens = meta("paper-cvusa", sampling=False).flows_of("satellite").tokens
    assert tokens == (1024, 256, 64, 16)
    assert sum(tokens[1:]) / tokens[0] == pytest.approx(0.33, abs=0.005)


@pytest.mark.parametrize("preset", [p for p in PRESETS if p.startswith("paper")])
def test_a_descriptor_is_1792_global_and_256_local(preset):
    net = meta(preset)
    flows = net.flows_of("satellite")
    assert flows.global_projection.out_features * net.config.width == 1792
    assert flows.local_projection.out_features == 256
    assert flows.local_projection.in_features == 1920
    assert net.descriptor == 2048 == net.describe(pictures(net, "satellite"), "satellite").shape[1]


# --- published names


def published_keys(net: MFRGN) -> set[str]:
    """As PRETRAINED.md lists them, with the trunk's from timm."""
    keys = {f"backbone.backbone.{key}" for key in net.backbone.state_dict()} | {"logit_scale"}
    both = ("weight", "bias")
    keys |= {f"embed.input_proj.{i}.{j}.{k}" for i in range(4) for j in (0, 1) for k in both}
    views = [""] if net.config.shared else ["_sat", "_grd"]
    keys |= {f"norm{i + 1}.{k}" for i in range(len(views)) for k in both}
    for view in views:
        for layer in (f"{view}_H.layers.0", f"{view}_H.layers.1", f"{view}_L.layers.0"):
            names = [f"{n}.{k}" for n in ("norm1", "norm2") for k in both]
            names += [f"{n}_proj.{k}" for n in ("query", "key", "value") for k in both]
            names += ["merge.weight", "mlp.0.weight", "mlp.3.weight"]
            keys |= {f"transformer{layer}.{name}" for name in names}
        keys |= {f"{name}{view}.{k}" for name in ("proj", "proj_local") for k in both}
        for i in range(4):
            keys |= {f"{gate}{view}.{i}.{k}" for gate in ("ch", "sp") for k in both}
            keys |= {f"proj_gl{view}.{i}.{j}.{k}" for j in (0, 1, 2, 4) for k in both}
            buffers = ("running_mean", "running_var", "num_batches_tracked")
            keys |= {f"proj_gl{view}.{i}.{j}.{k}" for j in (1, 4) for k in buffers}
    return keys


@pytest.mark.parametrize(("preset", "published"), [("paper-cvusa", 593), ("paper-university", 476)])
def test_every_published_name_is_one_of_ours(preset, published):
    net = meta(preset)
    keys = published_keys(net)
    assert len(keys) == published
    ours = [our_name(key, shared=net.config.shared) for key in keys]
    assert len(set(ours)) == published
    assert set(ours) == set(net.state_dict())


def test_a_name_that_nobody_published_stays_as_it_is():
    assert our_name("head.fc.weight", shared=False) == "head.fc.weight"
    assert our_name("proj_gl_top.0.weight", shared=False) == "proj_gl_top.0.weight"


# --- tokens


def test_the_position_code_is_the_plain_formula():
    code = sine_code(torch.empty(1, 16, 3, 5))
    assert code.shape == (16, 3, 5)
    for channel in range(16):
        wave = 10000.0 ** (-(channel // 4) / 4)
        turn = math.cos if channel % 2 else math.sin
        for row in range(3):
            for column in range(5):
                along = row + 1 if channel % 4 >= 2 else column + 1
                assert float(code[channel, row, column]) == pytest.approx(
                    turn(along * wave), abs=1e-6
                )


def test_samples_are_the_averages_of_each_grid_in_turn():
    x = torch.randn(2, 3, 4, 8)
    samples = pyramid_sample(x, ((1, 1), (2, 4)))
    assert samples.shape == (2, 3, 9)
    assert torch.allclose(samples[..., 0], x.mean(dim=(2, 3)), atol=1e-6)
    for row in range(2):
        for column in range(4):
            cell = x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.allclose(
                samples[..., 1 + 4 * row + column], cell.mean(dim=(2, 3)), atol=1e-6
            )


def test_what_does_not_halve_is_rounded_up():
    assert scale_grids((160, 96)) == ((20, 12), (10, 6), (5, 3), (3, 2))


# --- attention


def quadratic_weights(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """All l x s weights of linear attention, one by one."""
    b, h, queries, _ = q.shape
    weights = torch.zeros(b, h, queries, k.shape[2], dtype=q.dtype)
    for i in range(queries):
        for j in range(k.shape[2]):
            weights[:, :, i, j] = ((F.elu(q[:, :, i]) + 1) * (F.elu(k[:, :, j]) + 1)).sum(dim=-1)
    return weights / (weights.sum(dim=-1, keepdim=True) + EPSILON)


def test_linear_attention_is_the_quadratic_formula():
    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 4)
    want = quadratic_weights(q, k) @ v
    torch.testing.assert_close(linear_attention(q, k, v), want, atol=1e-5, rtol=1e-5)
    assert want.std(dim=2).min() > 1e-3  # the queries do differ


def test_linear_attention_holds_in_half_precision_over_many_tokens():
    q, k = torch.full((1, 1, 1, 32), 40.0), torch.full((1, 1, 1000, 32), 40.0)
    v = torch.ones(1, 1, 1000, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = linear_attention(q.half(), k.half(), v.half())
    torch.testing.assert_close(got, torch.ones_like(got))


@pytest.mark.parametrize("linear", [True, False])
def test_the_shares_of_attention_are_the_mean_weights(linear):
    layer = LiteEncoderLayer(16, 2, 32, dropout=0.0, linear=linear).eval()
    tokens, source = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    q, k = layer._queries_and_keys(tokens, source)
    weights = quadratic_weights(q, k) if linear else (q @ k.mT / 8**0.5).softmax(dim=-1)
    with torch.no_grad():
        got = layer.received(tokens, source)
    torch.testing.assert_close(got, weights.mean(dim=(1, 2)).detach(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(got.sum(dim=1), torch.ones(2), atol=1e-5, rtol=0)
    assert got.std() > 1e-4


@pytest.mark.parametrize("linear", [True, False])
def test_a_layer_adds_what_it_found_and_normalises(linear):
    layer = LiteEncoderLayer(16, 2, 32, dropout=0.3, linear=linear).eval()
    tokens, source = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    q, k = layer._queries_and_keys(tokens, source)
    weights = quadratic_weights(q, k) if linear else (q @ k.mT / 8**0.5).softmax(dim=-1)
    found = weights @ layer.value_proj(source).reshape(2, 7, 2, 8).transpose(1, 2)
    merged = layer.merge(found.transpose(1, 2).reshape(2, 5, 16))
    x = layer.norm1(tokens + merged)
    want = layer.norm2(x + layer.mlp[3](F.gelu(layer.mlp[0](x))))
    torch.testing.assert_close(layer(tokens, source), want, atol=1e-5, rtol=1e-5)


def test_high_tokens_change_against_the_first_low_ones_and_low_tokens_last():
    scam = SelfCrossAttention(
        16, 2, 32, high_updates=2, low_updates=1, dropout=0.0, linear=True
    ).eval()
    low, high = torch.randn(1, 6, 16), torch.randn(1, 4, 16)
    first = scam.high[0](high, torch.cat((low, high), dim=1))
    second = scam.high[1](first, torch.cat((low, first), dim=1))
    updated = scam.low[0](low, torch.cat((low, second), dim=1))
    got_low, got_high = scam(low, high)
    assert torch.equal(got_high, second)
    assert torch.equal(got_low, updated)
    of_low, of_high = scam.received(low, high)
    assert (of_low.shape, of_high.shape) == ((1, 6), (1, 4))
    assert (of_low.sum() + of_high.sum()).item() == pytest.approx(1, abs=1e-5)


# --- the local flow


def test_gates_weigh_channels_by_their_mean_and_places_by_their_strongest_channel():
    block = GlobalPromptAttention(8, 6, kernel=(3, 5), prompt_kernel=5).eval()
    x, tokens = torch.randn(2, 6, 3, 4), torch.randn(2, 12, 8)
    prompt = block.prompt(tokens.transpose(1, 2)).reshape(2, 6, 3, 4)
    channel = torch.sigmoid(block.channel(prompt.mean(dim=(2, 3))[..., None, None]))
    space = torch.sigmoid(block.space(prompt.max(dim=1).values[:, None]))
    torch.testing.assert_close(block(x, tokens), x * channel * space + x)
    got_channel, got_space = block.gates(tokens, (3, 4))
    assert (got_channel.shape, got_space.shape) == ((2, 6, 1, 1), (2, 1, 3, 4))
    assert got_space.std() > 0


def test_initial_prompts_leave_the_local_descriptor_apart_from_scam():
    for prompts, moved in (("global", True), ("initial", False)):
        net = build({**SMALL, "prompts": prompts}).eval()
        flows = net.flows_of("satellite")
        images = pictures(net, "satellite")
        with torch.no_grad():
            maps = net.scale_maps(images)
            before = flows(maps, net._embedded(maps))
            flows.scam.low[0].norm2.bias += torch.randn(16)
            after = flows(maps, net._embedded(maps))
        assert not torch.allclose(before[:, :112], after[:, :112])
        assert torch.allclose(before[:, 112:], after[:, 112:]) is not moved


# --- the whole


@pytest.mark.parametrize("view", ["drone", "satellite"])
@pytest.mark.parametrize("sampling", [True, False])
def test_a_descriptor_is_made_of_its_parts_in_the_papers_order(view, sampling):
    net = build({**SMALL, "query_size": (64, 128), "sampling": sampling}).eval()
    for parameter in net.flows.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    flows = net.flows["satellite" if view == "satellite" else "query"]
    grids = net.config.satellite_grids if view == "satellite" else net.config.query_grids

    def low_level(x: torch.Tensor) -> torch.Tensor:
        if not sampling:
            return x.flatten(2)
        return torch.cat([F.adaptive_avg_pool2d(x, grid).flatten(2) for grid in grids], dim=2)

    images = pictures(net, view, n=2)
    with torch.inference_mode():
        s1, s2, s3 = last_maps(net.backbone, images)
        s4 = net.fourth(s3)
        embedded = [embed(x) for embed, x in zip(net.embed, (s1, s2, s3), strict=True)] + [s4]
        tokens = [x + sine_code(x) for x in embedded]
        low = low_level(tokens[0]).mT
        low = flows.norm(low) if sampling else low
        high = torch.cat([x.flatten(2).mT for x in tokens[1:]], dim=1)
        low, high = flows.scam(low, high)
        places = torch.cat((low, high), dim=1).mT
        of_all = flows.global_projection(places).flatten(1)
        prompts = (low, *high.split([x.flatten(2).shape[2] for x in tokens[1:]], dim=1))
        first = low_level(s1)[..., None] if sampling else s1
        gated = [g(x, t) for g, x, t in zip(flows.gpab, (first, s2, s3, s4), prompts, strict=True)]
        local = flows.local_projection(torch.cat([x.mean(dim=(2, 3)) for x in gated], dim=1))
        want = F.normalize(torch.cat((of_all, local), dim=1), dim=1)
        torch.testing.assert_close(net.describe(images, view), want)
    assert want[0].dot(want[1]) < 0.999


def test_rates_and_groups_are_those_of_the_config():
    net = build({**SMALL, "dropout": 0.25, "norm_groups": 2, "drop_path_rate": 0.3})
    dropouts = [m.p for m in net.flows.modules() if isinstance(m, torch.nn.Dropout)]
    assert dropouts == [0.25] * 2 * 3 * 2  # two in each of three layers, in each view
    norms = [*net.embed.modules(), *net.fourth.modules()]
    groups = [m.num_groups for m in norms if isinstance(m, torch.nn.GroupNorm)]
    assert groups == [2] * 4
    assert max(getattr(m, "drop_prob", 0) for m in net.backbone.modules()) > 0.2


def test_dropout_is_over_what_attention_and_feed_forward_add():
    layer = LiteEncoderLayer(16, 2, 32, dropout=1.0, linear=True).train()
    tokens = torch.randn(2, 5, 16)
    want = layer.norm2(layer.norm1(tokens))
    torch.testing.assert_close(layer(tokens, torch.randn(2, 7, 16)), want)


# --- the loss


def test_the_loss_is_the_smoothed_info_nce_at_the_learnt_temperature():
    net = build(SMALL).eval()
    pairs = batch(net)
    query, satellite = (
        net.describe(pairs.query, "drone"),
        net.describe(pairs.satellite, "satellite"),
    )
    logits = query @ satellite.T / 0.07
    target = torch.arange(4)
    want = sum(F.cross_entropy(x, target, label_smoothing=0.1) for x in (logits, logits.T)) / 2
    assert net.loss(pairs).item() == pytest.approx(want.item(), rel=1e-4)


def test_the_loss_smooths_labels_as_much_as_the_config_says():
    net = build({**SMALL, "label_smoothing": 0.3}).eval()
    pairs = batch(net)
    with torch.inference_mode():
        query = net.describe(pairs.query, "drone")
        satellite = net.describe(pairs.satellite, "satellite")
        scale = net.logit_scale.exp()
        want = info_nce(query, satellite, pairs.place, scale=scale, label_smoothing=0.3)
        torch.testing.assert_close(net.loss(pairs), want)


def test_equal_descriptors_cost_the_logarithm_of_their_number():
    same = F.normalize(torch.ones(6, 8), dim=1)
    scale = torch.tensor(1 / 0.07)
    loss = info_nce(same, same, torch.arange(6), scale=scale, label_smoothing=0.1)
    assert float(loss) == pytest.approx(math.log(6), rel=1e-5)


def test_views_that_share_all_go_through_batch_norm_together_where_asked():
    net = build({**SMALL, "shared": True, "joint_batch_norm": True}).train()
    norm = net.flows["shared"].gpab[0].prompt[1]
    net.loss(batch(net))
    assert int(norm.num_batches_tracked) == 1
    apart = build({**SMALL, "shared": True}).train()
    apart.loss(batch(apart))
    assert int(apart.flows["shared"].gpab[0].prompt[1].num_batches_tracked) == 2


# --- variants


@pytest.mark.parametrize("row", ABLATIONS)
def test_every_row_of_the_papers_ablations_can_be_built(row):
    net = meta("paper-cvusa", **ABLATIONS[row])
    described = net.describe(pictures(net, "street"), "street")
    lengths = {"Baseline": 1024, "MBaseline": 1920}
    assert described.shape == (1, net.descriptor) == (1, lengths.get(row, 2048))


VARIANTS = {
    **ABLATIONS,
    "MBaseline+L_ini": {**ABLATIONS["MBaseline+L_ini"], "local_width": 128},
    "MBaseline+G": {**ABLATIONS["MBaseline+G"], "global_width": 128},
    "only L_p": {"global_width": 0, "local_width": 128},
    "shared": {"shared": True, "joint_batch_norm": True},
    "ConvNeXt": {"backbone": "test_convnext"},
    "wide street": {"query_size": (32, 128)},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_gives_every_parameter_a_gradient_and_explains_itself(name):
    net = build({**SMALL, **VARIANTS[name]}).train()
    pairs = batch(net)
    net.loss(pairs).backward()
    learning = {n: p for n, p in net.named_parameters() if p.requires_grad}
    assert [n for n, p in learning.items() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in learning.values())
    frozen = {n for n, p in net.named_parameters() if not p.requires_grad}
    assert all(n.startswith("backbone.head.norm.") for n in frozen)
    net.eval()
    with torch.inference_mode():
        for view, images in (("drone", pairs.query), ("satellite", pairs.satellite)):
            assert net.describe(images, view).shape == (4, net.descriptor)
            maps = net.explain(images, view)
            assert len({one.name for one in maps}) == len(maps) > 0
            assert all(one.values.isfinite().all() for one in maps)


def test_the_rows_of_the_ablation_differ_where_they_say():
    full, initial = meta("paper-cvusa"), meta("paper-cvusa", prompts="initial")
    assert count(full) == count(initial)  # nothing else changes
    assert count(meta("paper-cvusa", linear_attention=False)) == count(full)
    assert gmac(meta("paper-cvusa", linear_attention=False, sampling=False)) > 42.4 * 1.001
    alone = meta("paper-cvusa", **ABLATIONS["MBaseline+L_ini"])
    assert alone.flows_of("satellite").scam is None
    assert not meta("paper-cvusa", **ABLATIONS["MBaseline+G"]).flows_of("satellite").gpab


# --- use


def test_maps_show_gates_and_attention_on_the_grids_they_come_from():
    net = build({**SMALL, "query_size": (64, 128)}).eval()
    with torch.inference_mode():
        maps = {m.name: m.values for m in net.explain(pictures(net, "drone", n=2), "drone")}
    assert {name: tuple(v.shape[1:]) for name, v in maps.items()} == {
        "alignment of S2 with the local descriptor": (4, 8),
        "GPAB's space gate on S1, finest samples": (3, 7),
        "GPAB's space gate on S2": (4, 8),
        "GPAB's space gate on S3": (2, 4),
        "GPAB's space gate on S4": (1, 2),
        "attention received in SCAM's update of S1, by tokens of S2": (4, 8),
        "attention received in SCAM's update of S1, by tokens of S1, finest samples": (3, 7),
    }
    gates = [v for name, v in maps.items() if "gate" in name]
    assert all(((v > 0) & (v < 1)).all() for v in gates)
    received = [v for name, v in maps.items() if "received" in name]
    assert all((v > 0).all() for v in received)
    assert sum(float(v[0].sum()) for v in received) < 1  # the other tokens get the rest


def test_maps_hold_the_values_of_the_places_that_they_name():
    net = build({**SMALL, "query_size": (64, 128)}).eval()
    flows, images = net.flows_of("drone"), pictures(net, "drone", n=2)
    for parameter in flows.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    with torch.inference_mode():
        shown = {m.name: m.values for m in net.explain(images, "drone")}
        maps = net.scale_maps(images)
        scales = flows.scales(maps, net._embedded(maps))
        of_low, of_high = flows.scam.received(scales.low, scales.high)
        low, high = flows.scam(scales.low, scales.high)
        _, first = flows.gpab[0].gates(low, (low.shape[1], 1))
        _, third = flows.gpab[2].gates(high[:, 32:40], (2, 4))
    received = "attention received in SCAM's update of S1, by tokens of"
    want = {
        f"{received} S2": of_high[:, :32].reshape(2, 4, 8),  # S2, S3 and S4: 32, 8 and 2 tokens
        f"{received} S1, finest samples": of_low[:, -21:].reshape(2, 3, 7),
        "GPAB's space gate on S1, finest samples": first[:, 0, -21:, 0].reshape(2, 3, 7),
        "GPAB's space gate on S3": third[:, 0],
    }
    for name, values in want.items():
        torch.testing.assert_close(shown[name], values)
        assert values.std() > 1e-5


def test_without_sampling_the_map_of_s1_is_whole():
    net = build({**SMALL, "sampling": False}).eval()
    with torch.inference_mode():
        maps = {m.name: m.values for m in net.explain(pictures(net, "satellite"), "satellite")}
    assert maps["GPAB's space gate on S1"].shape == (1, 8, 8)
    received = [v for name, v in maps.items() if "received" in name]
    assert [tuple(v.shape[1:]) for v in received] == [(4, 4), (8, 8)]


def test_the_alignments_average_to_the_scales_part_of_the_local_descriptor():
    net = build(SMALL).eval()
    flows = net.flows_of("satellite")
    channels = slice(32, 32 + 48)  # S2's
    with torch.inference_mode():
        kept = flows.local_projection.weight[:, channels].clone()
        flows.local_projection.weight.zero_()
        flows.local_projection.bias.zero_()
        flows.local_projection.weight[:, channels] = kept
        images = pictures(net, "satellite", n=2)
        alignment = net.explain(images, "satellite")[0].values
        maps = net.scale_maps(images)
        local = flows(maps, net._embedded(maps))[:, 112:]
    torch.testing.assert_close(alignment.mean(dim=(1, 2)), local.norm(dim=1))


def test_a_picture_of_another_size_is_refused():
    net = build(SMALL).eval()
    with pytest.raises(ValueError, match=r"\(64, 64\)"):
        net.describe(torch.randn(1, 3, 64, 128), "drone")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query_size": (60, 64)}, "60 x 64"),
        ({"global_width": 100}, "100 does not divide by the width 16"),
        ({"shared": True, "query_size": (64, 128)}, "one size"),
        ({"joint_batch_norm": True}, "batch norm"),
        ({"low_updates": 0}, "update of S1"),
        ({"satellite_kernels": ((9, 9), (3, 3), (3, 3), (1, 1))}, "81 samples of S1"),
        ({"backbone": "vit_tiny_patch16_224"}, "strides 8, 16 and 32"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(change, words):
    with pytest.raises(UserError, match=words), torch.device("meta"):
        build({**SMALL, **change})


def test_a_configuration_survives_json():
    config = build(SMALL).config
    assert build(json.loads(json.dumps(asdict(config)))).config == config
    assert replace(config, heads=4) != config


@pytest.mark.parametrize("preset", ["tiny-drone", "tiny-street"])
def test_the_tiny_networks_stay_under_eight_megabytes(preset):
    net = meta(preset)
    assert 2 * sum(t.numel() for t in net.state_dict().values()) < 8e6
    assert net.descriptor == 512


def test_frozen_batch_norm_is_the_backbones_alone():
    net = build({**SMALL, "freeze_bn": True, "frozen_stages": 2}).train()
    norms = [m for m in net.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(m.training for m in norms)
    assert net.flows_of("satellite").gpab[0].prompt[1].training
    frozen = {n for n, p in net.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(
        n.startswith(("backbone.conv_stem", "backbone.bn1", "backbone.blocks.")) for n in frozen
    )
