"""TransGeo's stage 1 against its published checkpoint's layout and its code's loss."""

import math

import pytest
import torch
import torch.nn.functional as F

from app.errors import UserError
from app.models.backbone import pooled_backbone
from app.models.base import PairBatch
from app.models.losses import soft_margin_triplet
from app.models.transgeo import PRESETS, PUBLISHED_PREFIX, TransGeo, build

SMALL = PRESETS["smallest"]
DEIT_S_DISTILLED = 22_436_432  # of 198 places and twice 1,000 classes


def meta(preset: str) -> TransGeo:
    with torch.device("meta"):
        return build(PRESETS[preset]).eval()


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def published_keys() -> set[str]:
    layers = ["patch_embed.proj", "norm", "head", "head_dist"]
    for i in range(12):
        parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        layers += [f"blocks.{i}.{part}" for part in parts]
    keys = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    keys |= {"cls_token", "dist_token", "pos_embed"}
    return {f"{PUBLISHED_PREFIX}{n}.{key}" for n in ("query_net", "reference_net") for key in keys}


# --- the published layout


@pytest.mark.parametrize(
    ("preset", "query", "satellite"),
    [
        ("paper-cvusa-cvact", 268, 258),
        ("paper-cvusa-cvact-320", 268, 402),
        ("paper-vigor", 802, 402),
    ],
)
def test_places_are_as_many_as_in_the_published_checkpoints(preset, query, satellite):
    net = meta(preset)
    assert net.query_net.pos_embed.shape == (1, query, 384)
    assert net.reference_net.pos_embed.shape == (1, satellite, 384)
    assert count(net.query_net) == DEIT_S_DISTILLED + (query - 198) * 384
    assert count(net.reference_net) == DEIT_S_DISTILLED + (satellite - 198) * 384


def test_published_names_without_their_prefix_are_ours():
    ours = {f"{PUBLISHED_PREFIX}{key}" for key in meta("paper-cvusa-cvact").state_dict()}
    assert ours == published_keys()


def test_a_descriptor_is_the_thousand_outputs():
    net = meta("paper-cvusa-cvact")
    pictures = torch.empty(2, 3, 112, 616, device="meta")
    assert net.describe(pictures, "street").shape == (2, 1000)
    assert net.descriptor == 1000


def test_it_is_timms_distilled_deit_on_a_picture_that_patches_do_not_fill():
    timms = pooled_backbone(
        "deit_small_distilled_patch16_224",
        img_size=(32, 120),
        embed_dim=32,
        depth=2,
        num_heads=2,
    )
    timms.reset_classifier(64)
    net = build({**SMALL, "query_size": (32, 120)})
    for parameter in net.query_net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    timms.load_state_dict(net.query_net.state_dict())
    pictures = torch.randn(2, 3, 32, 120)
    with torch.inference_mode():
        want = timms.eval()(pictures)
        got = net.eval().query_net(pictures)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    assert want.std() > 0.1


def test_the_output_is_the_mean_of_both_heads():
    net = build(SMALL).eval().query_net
    picture = torch.randn(1, 3, 32, 128)
    with torch.inference_mode():
        both = net(picture)
        net.head_dist.weight.zero_()
        net.head_dist.bias.copy_(torch.full((64,), 3.0))
        one = net(picture)
        net.head.weight.zero_()
        net.head.bias.fill_(1.0)
        assert torch.equal(net(picture), torch.full((1, 64), 2.0))
    assert not torch.allclose(both, one)


# --- its loss


def test_the_loss_is_that_of_the_published_code_with_20_on_cosines():
    torch.manual_seed(1)
    q, s = (F.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    cosine = (q @ s.T).double()
    terms = [
        math.log(1 + math.exp(20 * (cosine[i, j] - cosine[k, k])))
        for i in range(5)
        for j in range(5)
        if i != j
        for k in (i, j)
    ]
    assert len(terms) == 2 * 5 * 4
    got = soft_margin_triplet(q, s, torch.arange(5), alpha=10)
    assert float(got) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_the_loss_goes_by_the_configs_alpha_and_by_place():
    net = build({**SMALL, "alpha": 4.0}).eval()
    query, satellite = torch.randn(4, 3, 32, 128), torch.randn(4, 3, 64, 64)
    place = torch.tensor([0, 1, 2, 1])
    with torch.inference_mode():
        got = net.loss(PairBatch(query, satellite, place))
        q, s = net.describe(query, "street"), net.describe(satellite, "satellite")
        want = soft_margin_triplet(q, s, place, alpha=4)
        assert not torch.allclose(want, soft_margin_triplet(q, s, torch.arange(4), alpha=4))
    torch.testing.assert_close(got, want)


def test_every_parameter_gets_a_gradient():
    net = build(SMALL)
    h, w = net.config.query_size
    net.loss(
        PairBatch(torch.randn(3, 3, h, w), torch.randn(3, 3, 64, 64), torch.arange(3))
    ).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


# --- training


def test_branches_are_left_out_more_often_the_deeper_they_are():
    net = build({**SMALL, "depth": 3, "drop_path": 0.4})
    for trunk in (net.query_net, net.reference_net):
        assert [b.drop_path.rate for b in trunk.blocks] == pytest.approx([0, 0.2, 0.4])


def test_each_branch_of_a_block_is_left_out_by_itself():
    net = build({**SMALL, "drop_path": 0.5}).train()
    block = net.query_net.blocks[-1]
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(1, 5, 32).expand(200, -1, -1)
    with torch.inference_mode():
        outs = block(x)
    # Both, one of the two, or none; the last leaves the tokens as they came.
    assert len(outs.flatten(1)[:, 0].round(decimals=3).unique()) == 4
    assert (outs == x).all(dim=(1, 2)).any()


def test_fresh_tokens_and_places_differ_a_little():
    net = build(SMALL).query_net
    for parameter in (net.cls_token, net.dist_token, net.pos_embed):
        assert 0.01 < float(parameter.detach().std()) < 0.03


def test_the_hidden_layer_is_as_wide_as_the_ratio_says():
    net = build({**SMALL, "mlp_ratio": 2.5})
    assert {b.mlp.fc1.out_features for b in net.query_net.blocks} == {80}


# --- use


def test_the_views_have_weights_of_their_own():
    net = build({**SMALL, "query_size": (64, 64)}).eval()
    picture = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert not torch.allclose(
            net.describe(picture, "street"), net.describe(picture, "satellite")
        )


def test_a_picture_has_one_unit_descriptor_alone_or_in_company():
    net = build(SMALL).eval()
    pictures = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        together = net.describe(pictures, "satellite")
        alone = torch.cat([net.describe(p[None], "satellite") for p in pictures])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_its_maps_are_the_two_tokens_attention_in_the_last_block():
    net = build(SMALL).eval()
    trunk = net.query_net
    for parameter in trunk.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    picture = torch.randn(1, 3, 32, 128)
    with torch.inference_mode():
        maps = net.explain(picture, "street")
        x = trunk._embed(picture)
        last = trunk.blocks[1]
        x = last.norm1(trunk.blocks[0](x))
        q, k, _ = last.attn.qkv(x).chunk(3, dim=-1)
        weights = [
            (a @ b.mT / math.sqrt(16)).softmax(dim=-1)
            for a, b in zip(q.split(16, dim=-1), k.split(16, dim=-1), strict=True)
        ]
    want = sum(weights)[0] / 2
    assert ["class" in m.name for m in maps] == [True, False]
    for token, one in enumerate(maps):
        assert one.values.shape == (1, 2, 8)
        torch.testing.assert_close(one.values[0].flatten(), want[token, 2:], atol=1e-5, rtol=1e-4)


def test_each_views_maps_are_its_own_networks():
    net = build({**SMALL, "query_size": (64, 64)}).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    picture = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        for view, trunk in (("street", net.query_net), ("satellite", net.reference_net)):
            want = trunk.last_attention(picture)
            got = torch.stack([m.values for m in net.explain(picture, view)], dim=1)
            torch.testing.assert_close(got, want)


def test_pictures_smaller_than_a_patch_are_refused():
    with pytest.raises(UserError, match="8 x 128"):
        build({**SMALL, "query_size": (8, 128)})


@pytest.mark.parametrize("preset", ["tiny-street", "tiny-drone"])
def test_the_tiny_networks_stay_under_eight_megabytes(preset):
    assert 2 * sum(t.numel() for t in meta(preset).state_dict().values()) < 8e6
