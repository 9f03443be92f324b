"""MIFT against its paper's figures, and its parts against plain formulas."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from app.errors import UserError
from app.models.base import PairBatch
from app.models.crossformer import (
    DynamicPositionBias,
    FullAttention,
    GroupAttention,
    group_tokens,
    ungroup_tokens,
)
from app.models.losses import cross_view_triplet
from app.models.mift import (
    MIFT,
    PRESETS,
    PUBLISHED_PREFIX,
    UNUSED_PUBLISHED_KEYS,
    build,
    gradient_regions,
    k_sampling,
)
from app.models.parts import PartHead, heat_runs, region_means

SMALL = {**PRESETS["smallest"], "depths": (2, 2, 2, 2)}


def meta(preset: str, **changes) -> MIFT:
    with torch.device("meta"):
        return build({**PRESETS[preset], **changes}).eval()


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def gmac(module: torch.nn.Module, *inputs) -> float:
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() / 2e9


def picture(*, side: int = 224, n: int = 1) -> torch.Tensor:
    return torch.empty(n, 3, side, side, device="meta")


# --- the published figures


def test_the_trunk_has_the_published_parameters():
    assert count(meta("paper-university-released").transformer) == 29_888_394


def test_the_released_network_with_its_unused_head_has_the_published_parameters():
    unused = 768 * 1000 + 1000
    assert count(meta("paper-university-released")) + unused == 33_674_854


def test_a_head_has_the_published_parameters():
    assert count(PartHead(768, 512, classes=701, dropout=0.5)) == 754_365


def test_the_fusion_has_the_published_parameters():
    net = meta("paper-university")
    assert net.fusion is not None
    assert count(net.fusion) == 17_646_336
    threes = [m for m in net.fusion.modules() if getattr(m, "kernel_size", None) == (3, 3)]
    assert len(threes) == 10
    assert sum(m.weight.numel() for m in threes) == 17_178_624
    assert count(net.transformer) + count(net.fusion) == 47_534_730


def test_the_trunk_and_the_fusion_multiply_as_often_as_published():
    net = meta("paper-university")
    assert gmac(net.transformer, picture()) == pytest.approx(4.905, rel=1e-3)
    assert gmac(net.fusion, net.transformer(picture())) == pytest.approx(0.900, rel=1e-3)


def test_stages_hold_the_papers_tokens_in_the_papers_groups():
    net = meta("paper-university")
    grids = net.transformer.grids((224, 224))
    assert [h * w for h, w in grids] == [3136, 784, 196, 49]
    assert [(h // 7) * (w // 7) for h, w in grids] == [64, 16, 4, 1]
    assert [m.shape[-1] for m in net.transformer(picture())] == [96, 192, 384, 768]


def test_scales_share_the_embedding_as_in_the_paper():
    trunk = meta("paper-university").transformer
    assert [p.out_channels for p in trunk.patch_embed.projs] == [48, 24, 12, 12]
    assert [p.kernel_size[0] for p in trunk.patch_embed.projs] == [4, 8, 16, 32]
    assert [r.out_channels for r in trunk.layers[0].downsample.reductions] == [96, 96]


@pytest.mark.parametrize("preset", ["paper-university", "paper-university-released"])
def test_a_picture_has_four_features_of_512(preset):
    net = meta(preset)
    assert net.parts(picture(n=2), "drone").shape == (2, 4, 512)
    assert net.descriptor == 2048 == net.describe(picture(n=2), "drone").shape[1]


def test_full_attention_costs_most_and_windows_all_the_same():
    cost = {
        kind: gmac(meta("paper-university", attention=kind).transformer, picture())
        for kind in ("mha", "pvt", "swin", "glra")
    }
    assert cost["mha"] > 1.8 * cost["glra"]
    assert cost["pvt"] < cost["mha"]
    assert cost["swin"] == cost["glra"]


# --- published names


def _block(prefix: str) -> Iterator[str]:
    for norm in ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
        yield from (f"{prefix}.{norm}.weight", f"{prefix}.{norm}.bias")
    for linear in ("pos_proj", "pos1.0", "pos1.2", "pos2.0", "pos2.2", "pos3.0", "pos3.2"):
        yield from (f"{prefix}.attn.pos.{linear}.{kind}" for kind in ("weight", "bias"))
    yield from (f"{prefix}.attn.biases", f"{prefix}.attn.relative_position_index")


def _head(prefix: str) -> Iterator[str]:
    for layer in ("add_block.0", "add_block.1", "classifier.0"):
        yield from (f"{prefix}.{layer}.weight", f"{prefix}.{layer}.bias")
    for buffer in ("running_mean", "running_var", "num_batches_tracked"):
        yield f"{prefix}.add_block.1.{buffer}"


def published_keys() -> set[str]:
    keys = set()
    trunk = f"{PUBLISHED_PREFIX}transformer"
    for layer in (
        *(f"patch_embed.projs.{i}" for i in range(4)),
        "patch_embed.norm",
        "norm",
        "head",
    ):
        keys |= {f"{trunk}.{layer}.weight", f"{trunk}.{layer}.bias"}
    for stage, depth in enumerate((2, 2, 6, 2)):
        for block in range(depth):
            keys |= set(_block(f"{trunk}.layers.{stage}.blocks.{block}"))
        if stage < 3:
            for layer in ("reductions.0", "reductions.1", "norm"):
                prefix = f"{trunk}.layers.{stage}.downsample.{layer}"
                keys |= {f"{prefix}.weight", f"{prefix}.bias"}
    for name in ("classifier1", "classifier_heat1", "classifier_heat2", "classifier_heat3"):
        keys |= set(_head(f"{PUBLISHED_PREFIX}{name}"))
    return keys


def test_published_names_without_their_prefix_are_ours_but_for_the_unused():
    stripped = {key.removeprefix(PUBLISHED_PREFIX) for key in published_keys()}
    used = {k for k in stripped if not any(re.fullmatch(p, k) for p in UNUSED_PUBLISHED_KEYS)}
    assert used == set(meta("paper-university-released").state_dict())
    assert len(stripped - used) == 2 + 2 * 12


# --- attention


@pytest.mark.parametrize("far", [False, True])
def test_grouping_follows_the_explicit_index(far):
    h, w, side = 6, 8, 2
    x = torch.arange(2 * h * w).reshape(2, h, w, 1).float()
    groups = group_tokens(x, side, far=far)
    rows, columns = h // side, w // side
    for b in range(2):
        for i in range(h):
            for j in range(w):
                if far:
                    group = (i % rows) * columns + j % columns
                    place = (i // rows) * side + j // columns
                else:
                    group = (i // side) * columns + j // side
                    place = (i % side) * side + j % side
                assert groups[b * rows * columns + group, place] == x[b, i, j]
    assert torch.equal(ungroup_tokens(groups, (h, w), side, far=far), x)


def _together(rule: str, a: tuple[int, int], b: tuple[int, int], *, size: int, side: int):
    """Whether two tokens share a group, and then how far apart they are within it."""
    step = size // side
    if rule == "far":
        same = all(p % step == q % step for p, q in zip(a, b, strict=True))
        return tuple((p - q) // step for p, q in zip(a, b, strict=True)) if same else None
    shift = side // 2 if rule == "shifted" else 0
    # A shifted window begins at shift, shift + side, ...; before the first lies a cut-off one.
    same = all((p - shift) // side == (q - shift) // side for p, q in zip(a, b, strict=True))
    return tuple(p - q for p, q in zip(a, b, strict=True)) if same else None


@pytest.mark.parametrize("rule", ["near", "far", "shifted"])
def test_group_attention_is_full_attention_that_stays_within_groups(rule):
    size, side, dim, heads = 6, 3, 8, 2
    if rule == "shifted":
        side = 2
    attention = GroupAttention(dim, heads, group=side, rule=rule).double()
    x = torch.randn(1, size, size, dim, dtype=torch.float64)
    got = attention(x)
    cells = [(i, j) for i in range(size) for j in range(size)]
    offset_bias = attention.pos
    mask = torch.full((heads, len(cells), len(cells)), -torch.inf, dtype=torch.float64)
    for m, a in enumerate(cells):
        for n, b in enumerate(cells):
            if (apart := _together(rule, a, b, size=size, side=side)) is not None:
                o = torch.tensor([apart], dtype=torch.float64)
                p = offset_bias
                mask[:, m, n] = p.pos3(p.pos2(p.pos1(p.pos_proj(o))))[0]
    q, k, v = attention.qkv(x.flatten(1, 2)).reshape(len(cells), 3, heads, -1).permute(1, 2, 0, 3)
    weights = (q @ k.mT / math.sqrt(dim // heads) + mask).softmax(dim=-1)
    want = attention.proj((weights @ v).permute(1, 0, 2).flatten(1)).reshape(x.shape)
    assert torch.allclose(got, want, atol=1e-12)
    assert (want - want.mean(dim=(1, 2), keepdim=True)).abs().max() > 1e-3  # not all the same
    if rule != "shifted":  # there windows at the border are smaller, and so their means
        received = weights.mean(dim=0).sum(dim=0).reshape(1, size, size) / side**2
        assert torch.allclose(attention.received(x), received, atol=1e-12)


def test_blocks_take_turns_at_near_and_far_and_at_shifting():
    def rules(kind: str) -> list[str]:
        stages = meta("paper-university", attention=kind).transformer.layers
        return [block.attn.rule for block in stages[2].blocks]

    assert rules("glra") == ["near", "far"] * 3
    assert rules("swin") == ["near", "shifted"] * 3


def test_the_position_bias_depends_on_the_offset_and_its_sign_alone():
    bias = DynamicPositionBias(64, 2)(4).reshape(2, 4, 4, 4, 4)
    assert torch.equal(bias[:, 1, 1, 2, 3], bias[:, 0, 0, 1, 2])
    assert not torch.allclose(bias[:, 0, 0, 1, 2], bias[:, 1, 2, 0, 0])


@pytest.mark.parametrize("reduction", [1, 2])
def test_what_full_attention_pays_sums_to_one(reduction):
    received = FullAttention(8, 2, reduction=reduction).received(torch.randn(2, 4, 4, 8))
    assert received.shape == (2, 4 // reduction, 4 // reduction)
    assert torch.allclose(received.sum(dim=(1, 2)), torch.ones(2))


# --- regions


def test_regions_are_cut_at_the_largest_jumps_of_the_sorted_heat():
    heat = torch.tensor([[0.1, 5.0, 0.2, 2.0, 5.1, 2.1, 0.3]])
    assert gradient_regions(heat, 3).tolist() == [[0, 2, 0, 1, 2, 1, 0]]
    assert gradient_regions(heat, 2).tolist() == [[0, 1, 0, 0, 1, 0, 0]]
    assert gradient_regions(heat, 1).tolist() == [[0] * 7]


def test_no_region_is_empty_even_when_every_token_is_as_hot():
    for heat in (torch.zeros(2, 49), torch.randn(2, 49).round()):
        for parts in (1, 2, 3, 5, 49):
            region = gradient_regions(heat, parts)
            assert all(set(row.tolist()) == set(range(parts)) for row in region)


def test_equal_runs_of_49_tokens_are_16_16_and_17_hottest_first():
    heat = torch.randn(3, 49)
    region = heat_runs(heat, 3)
    assert F.one_hot(region, 3).sum(dim=1).tolist() == [[16, 16, 17]] * 3
    assert heat[0][region[0] == 0].min() > heat[0][region[0] == 1].max()
    assert heat[0][region[0] == 1].min() > heat[0][region[0] == 2].max()


def test_a_region_is_the_mean_of_its_tokens():
    tokens, heat = torch.randn(2, 10, 4), torch.randn(2, 10)
    region = gradient_regions(heat, 3)
    means = region_means(tokens, region, 3)
    for b in range(2):
        for i in range(3):
            assert torch.allclose(means[b, i], tokens[b][region[b] == i].mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("fusion", [True, False])
def test_the_last_head_gets_the_mean_of_the_whole_picture_fused_in_the_paper(fusion):
    net = build({**SMALL, "fusion": fusion}).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        maps = net.transformer(x)
        last = net.transformer.norm(maps[-1])
        want = last.mean(dim=(1, 2))
        if net.fusion is not None:
            want = net.fusion((*maps[:-1], last)).flatten(2).mean(dim=2)
        *regions, whole = net.pool(x, "drone")
    torch.testing.assert_close(whole, want)
    assert len(regions) == 3


# --- losses


def test_the_triplet_is_the_mean_of_the_hardest_ones_across_views_only():
    torch.manual_seed(3)
    place = torch.tensor([0, 0, 1, 2, 1])
    query, satellite = torch.randn(5, 8), torch.randn(5, 8)
    both = F.normalize(torch.cat((query, satellite)), dim=-1)
    total = 0.0
    for a in range(10):
        other = range(5, 10) if a < 5 else range(5)
        far = [float((both[a] - both[o]).norm()) for o in other if place[o % 5] == place[a % 5]]
        near = [float((both[a] - both[o]).norm()) for o in other if place[o % 5] != place[a % 5]]
        total += max(max(far) - min(near) + 0.3, 0)
    got = cross_view_triplet(query, satellite, place, margin=0.3)
    assert float(got) == pytest.approx(total / 10, rel=1e-5)


def test_the_triplet_of_equal_features_is_the_margin_and_of_one_place_zero():
    same = torch.ones(4, 8, requires_grad=True)
    places = torch.arange(4)
    assert cross_view_triplet(same, same, places, margin=0.3).item() == pytest.approx(0.3)
    alone = cross_view_triplet(same, torch.randn(4, 8), torch.zeros(4).long(), margin=0.3)
    alone.backward()
    assert alone.item() == 0
    assert torch.isfinite(same.grad).all()


def batch(net: MIFT, *, n: int = 4) -> PairBatch:
    h, w = net.config.query_size
    sh, sw = net.config.satellite_size
    return PairBatch(torch.randn(n, 3, h, w), torch.randn(n, 3, sh, sw), torch.arange(n))


def test_the_released_loss_adds_the_entropy_of_701_places_for_each_view():
    net = build({**SMALL, "classes": 701, "dropout": 0.0})
    pairs = batch(net)
    for head in net.heads:
        torch.nn.init.zeros_(head.classifier[0].weight)
    with torch.no_grad():
        with_classes = net.loss(pairs)
        net.config = replace(net.config, classes=0)
        without = net.loss(pairs)
    assert float(with_classes - without) == pytest.approx(2 * math.log(701), rel=1e-5)


def test_a_place_beyond_the_classes_is_refused_with_the_number_needed():
    net = build({**SMALL, "classes": 3})
    with pytest.raises(UserError, match="built for 3 classes") as caught:
        net.loss(batch(net))
    assert "at least 4" in caught.value.hint


def test_without_any_loss_the_network_is_refused():
    with pytest.raises(UserError, match="no loss"):
        build({**SMALL, "margin": 0.0})


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"fusion": False},
        {"fusion_pooling": "max"},
        {"region_rule": "equal", "classes": 4, "joint_batch_norm": False},
        {"attention": "mha"},
        {"attention": "pvt"},
        {"attention": "swin"},
        {"kernels": (4,), "merge_kernels": (2,)},
        {"kernels": (4, 8), "merge_kernels": (2, 4, 8)},
        {"regions": 1},
        {"regions": 4},
        {"query_size": (32, 128)},
    ],
    ids=str,
)
def test_every_variant_gives_every_parameter_a_gradient(change):
    net = build({**SMALL, "margin": 3.0, **change})
    if "attention" in change and change["attention"] == "pvt":
        assert net.transformer.layers[0].blocks[0].attn.reduce is not None
    net.loss(batch(net)).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert net.descriptor == net.eval().describe(batch(net).satellite, "satellite").shape[1]


# --- use


def test_a_picture_has_one_unit_descriptor_alone_or_in_company():
    net = build(SMALL).eval()
    pictures = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        together = net.describe(pictures, "drone")
        alone = torch.cat([net.describe(p[None], "drone") for p in pictures])
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together.norm(dim=1), torch.ones(3))
    lengths = together.reshape(3, 4, -1).norm(dim=-1)
    assert torch.allclose(lengths, torch.full((3, 4), 0.5))  # every part weighs the same
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_the_flip_sum_makes_a_mirrored_picture_the_same():
    pictures = torch.randn(1, 3, 64, 64)
    net = build(SMALL).eval()
    mirrored = pictures.flip(-1)
    assert torch.allclose(
        net.describe(pictures, "drone"), net.describe(mirrored, "drone"), atol=1e-6
    )
    plain = build({**SMALL, "flip_sum": False}).eval()
    assert not torch.allclose(
        plain.describe(pictures, "drone"), plain.describe(mirrored, "drone"), atol=1e-3
    )


@pytest.mark.parametrize("rule", ["gradient", "equal"])
def test_regions_are_shown_from_the_coldest_to_the_hottest(rule):
    sizes = {"query_size": (96, 96), "satellite_size": (96, 96)}
    net = build({**SMALL, "region_rule": rule, "group": 3, **sizes}).eval()
    heat, region, alignment, received = net.explain(torch.randn(2, 3, 96, 96), "satellite")
    assert heat.values.shape == region.values.shape == alignment.values.shape == (2, 3, 3)
    assert set(region.values.unique().tolist()) == {0.0, 1.0, 2.0}
    for h, r in zip(heat.values, region.values, strict=True):
        assert h[r == 0].max() <= h[r == 1].min()
        assert h[r == 1].max() <= h[r == 2].min()
    assert torch.allclose(received.values.sum(dim=(1, 2)), torch.ones(2))


def test_a_regions_alignments_average_to_the_length_of_its_feature():
    net = build(SMALL).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        _, region, alignment, _ = net.explain(x, "drone")
        lengths = net.parts(x, "drone")[0, :3].norm(dim=-1)
    for i in range(3):
        mean = alignment.values[region.values == i].mean()
        assert float(mean) == pytest.approx(float(lengths[i]), rel=1e-4)


def test_sizes_that_groups_do_not_divide_are_refused():
    with pytest.raises(UserError, match="250 x 250") as caught:
        build({**PRESETS["tiny-drone"], "query_size": (250, 250)})
    assert "128" in caught.value.hint


def test_fewer_tokens_than_regions_are_refused():
    with pytest.raises(UserError, match="4 tokens cannot make 5 regions"):
        build({**SMALL, "regions": 5})


def test_an_epoch_takes_each_place_k_times_in_a_row_in_a_new_order():
    dice = torch.Generator().manual_seed(1)
    first, second = (k_sampling(7, 3, generator=dice).reshape(7, 3) for _ in range(2))
    assert (first == first[:, :1]).all()
    assert sorted(first[:, 0].tolist()) == list(range(7))
    assert not torch.equal(first, second)


def test_the_tiny_network_stays_under_eight_megabytes():
    net = meta("tiny-drone")
    assert 2 * sum(t.numel() for t in net.state_dict().values()) < 8e6
