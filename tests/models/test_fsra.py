"""FSRA: the published names and shapes, and its trunk against the formulas it is built on."""

import math
import re

import pytest
import torch
import torch.nn.functional as F

from app.errors import UserError
from app.models.base import PairBatch
from app.models.fsra import (
    FSRA,
    PRESETS,
    PUBLISHED_PREFIX,
    UNUSED_PUBLISHED_KEYS,
    SelfAttention,
    build,
)

SMALL = PRESETS["smallest"]


def meta(preset: str) -> FSRA:
    with torch.device("meta"):
        return build(PRESETS[preset]).eval()


def published() -> dict[str, tuple[int, ...]]:
    """Names and shapes of net_119.pth, trunk's unused head and all."""
    trunk: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, 768),
        "pos_embed": (1, 257, 768),
        "patch_embed.proj.weight": (768, 3, 16, 16),
        "patch_embed.proj.bias": (768,),
        "norm.weight": (768,),
        "norm.bias": (768,),
        "fc.weight": (1000, 768),
        "fc.bias": (1000,),
    }
    for i in range(8):
        shapes = {"attn.qkv.weight": (2304, 768), "attn.proj.weight": (768, 768)}
        shapes |= {"mlp.fc1.weight": (2304, 768), "mlp.fc2.weight": (768, 2304)}
        shapes |= {"mlp.fc1.bias": (2304,), "mlp.fc2.bias": (768,), "attn.proj.bias": (768,)}
        for norm in ("norm1", "norm2"):
            shapes |= {f"{norm}.weight": (768,), f"{norm}.bias": (768,)}
        trunk |= {f"blocks.{i}.{name}": shape for name, shape in shapes.items()}
    keys = {f"{PUBLISHED_PREFIX}transformer.{name}": shape for name, shape in trunk.items()}
    for head in ("classifier1", "classifier_heat1", "classifier_heat2", "classifier_heat3"):
        shapes = {"add_block.0.weight": (512, 768), "add_block.0.bias": (512,)}
        shapes |= {"classifier.0.weight": (701, 512), "classifier.0.bias": (701,)}
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"add_block.1.{name}"] = (512,)
        shapes["add_block.1.num_batches_tracked"] = ()
        keys |= {f"{PUBLISHED_PREFIX}{head}.{name}": shape for name, shape in shapes.items()}
    return keys


def test_published_names_and_shapes_are_ours_but_for_the_unused():
    stripped = {key.removeprefix(PUBLISHED_PREFIX): shape for key, shape in published().items()}
    used = {
        key: shape
        for key, shape in stripped.items()
        if not any(re.fullmatch(pattern, key) for pattern in UNUSED_PUBLISHED_KEYS)
    }
    ours = {k: tuple(t.shape) for k, t in meta("paper-university").state_dict().items()}
    assert used == ours
    assert set(stripped) - set(used) == {"transformer.fc.weight", "transformer.fc.bias"}


def test_the_paper_network_describes_a_picture_by_four_features_of_512():
    net = meta("paper-university")
    pictures = torch.empty(2, 3, 256, 256, device="meta")
    assert net.transformer(pictures).shape == (2, 257, 768)
    assert net.parts(pictures, "drone").shape == (2, 4, 512)
    assert net.descriptor == 2048


def test_256_patches_fall_into_runs_of_85_85_and_86_hottest_first():
    net = build({**SMALL, "query_size": (256, 256), "satellite_size": (256, 256)}).eval()
    with torch.inference_mode():
        heat, region, _, _ = net.explain(torch.randn(1, 3, 256, 256), "satellite")
    rank = region.values.long()
    assert F.one_hot(rank.flatten(), 3).sum(dim=0).tolist() == [86, 85, 85]
    assert heat.values[rank == 2].min() >= heat.values[rank == 1].max()


def test_heads_get_the_mean_patches_of_their_region_and_then_the_class_token():
    net = build(SMALL).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        tokens = net.transformer(x)[0]
        normed = net.transformer.norm(tokens)
        *regions, whole = net.pool(x, "drone")
    torch.testing.assert_close(whole[0], normed[0])
    order = tokens[1:].mean(dim=1).argsort(descending=True)
    for got, patches in zip(regions, order.split([5, 5, 6]), strict=True):
        torch.testing.assert_close(got[0], normed[1:][patches].mean(dim=0))


@pytest.mark.parametrize(("scale_by", "per"), [("width", 32), ("head", 16)])
def test_products_are_scaled_by_the_width_as_the_pretrained_weights_want(scale_by, per):
    net = build({**SMALL, "scale_by": scale_by})
    attention = net.transformer.blocks[0].attn
    x = torch.randn(1, 5, 32)
    q, k, v = attention.qkv(x).reshape(5, 3, 2, 16).permute(1, 2, 0, 3)
    weights = (q @ k.mT / math.sqrt(per)).softmax(dim=-1)
    want = attention.proj((weights @ v).transpose(0, 1).flatten(1))
    torch.testing.assert_close(attention(x)[0], want)
    torch.testing.assert_close(attention.paid_by_first(x)[0], weights[:, 0].mean(dim=0))


def test_queries_keys_and_values_have_no_bias():
    assert SelfAttention(8, 2, scale=1.0).qkv.bias is None


def test_a_query_of_another_shape_reads_the_same_positions_resampled():
    net = build({**SMALL, "query_size": (32, 128)}).eval()
    with torch.no_grad():
        grid = net.transformer.pos_embed[0, 1:].reshape(4, 4, -1)
        grid[:] = torch.arange(4.0)[:, None, None]  # each row of patches its number
        wide = net.transformer._positions((2, 8))[0, 1:].reshape(2, 8, -1)
    assert torch.allclose(wide[0], torch.tensor(0.5))
    assert torch.allclose(wide[1], torch.tensor(2.5))
    rows = net.describe(torch.randn(1, 3, 32, 128), "drone")
    assert rows.shape == (1, net.descriptor)


def test_the_released_loss_is_the_entropy_of_both_views_plus_the_triplet():
    net = build({**SMALL, "classes": 701, "joint_batch_norm": False})
    for head in net.heads:
        torch.nn.init.zeros_(head.classifier[0].weight)
    same = torch.randn(4, 3, 64, 64)
    pairs = PairBatch(same, same, torch.arange(4))
    with torch.no_grad():
        query, satellite = net.parts(pairs.query, "drone"), net.parts(same, "satellite")
        nearest = [
            (torch.cdist(*(F.normalize(x[:, i], dim=-1) for x in (query, satellite))))
            .fill_diagonal_(9)
            .amin(dim=1)
            for i in range(4)
        ]
        triplet = torch.stack([(0.3 + 1e-3 - n).relu().mean() for n in nearest]).mean()
        got = net.loss(pairs)
    assert float(got) == pytest.approx(2 * math.log(701) + float(triplet), rel=1e-5)


def test_classes_are_learnt_by_every_head():
    net = build({**SMALL, "classes": 4, "margin": 0.0})
    net.loss(PairBatch(*torch.randn(2, 4, 3, 64, 64), torch.arange(4))).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query_size": (60, 64)}, "60 x 64"),
        ({"satellite_size": (16, 16)}, "1 patches cannot make 3 regions"),
    ],
)
def test_pictures_that_patches_or_regions_do_not_fit_are_refused(change, words):
    with pytest.raises(UserError, match=words):
        build({**SMALL, **change})


def test_the_tiny_network_stays_under_eight_megabytes():
    assert 2 * sum(t.numel() for t in meta("tiny-drone").state_dict().values()) < 8e6
