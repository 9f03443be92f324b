"""DetGeo against its published figures and layout, and its fusion against a plain loop."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from app.errors import UserError
from app.models.clicks import CVOGL_ANCHORS
from app.models.cross_view import CVCAM, MHSAM
from app.models.darknet import Darknet, layout
from app.models.detgeo import (
    PORTABILITY,
    PRESETS,
    PUBLISHED_KEYS,
    PUBLISHED_PREFIX,
    QueryAware,
    build,
    our_name,
)
from app.models.object_base import ClickBatch


def meta(preset: str, **changes):
    with torch.device("meta"):
        return build({**PRESETS[preset], **changes}).eval()


def small(**changes):
    return build({**PRESETS["smallest"], **changes}).eval()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def published_names() -> list[str]:
    """Every key of a published file, from the released code's structure; its prefix cut off."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def batch_norm(name: str) -> list[str]:
        return [f"{name}.{value}" for value in norm]

    names = ["conv1.weight", *batch_norm("bn1")]
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            for part in (1, 2):
                names.append(f"layer{layer}.{block}.conv{part}.weight")
                names += batch_norm(f"layer{layer}.{block}.bn{part}")
        if layer > 1:
            names.append(f"layer{layer}.0.downsample.0.weight")
            names += batch_norm(f"layer{layer}.0.downsample.1")
    names = [f"query_resnet.base_model.{name}" for name in names]
    convs = [i for i, layer in enumerate(layout().layers) if layer.op == "conv"]
    for i in convs:
        part = f"reference_darknet.module_list.{i}"
        names.append(f"{part}.conv_{i}.weight")
        if i in (81, 93, 105):
            names.append(f"{part}.conv_{i}.bias")
        else:
            names += batch_norm(f"{part}.batch_norm_{i}")
    for mapped in (
        "combine_clickptns_conv",
        "query_mapping_visu",
        "reference_mapping_visu",
        "fcn_out.0",
    ):
        names += [f"{mapped}.conv.weight", *batch_norm(f"{mapped}.bn")]
    return [*names, "fcn_out.1.weight", "fcn_out.1.bias"]


# --- the published figures


def test_the_network_has_the_published_parameters():
    assert count(meta("paper-drone")) == count(meta("paper-street")) == 73_795_164


def test_each_published_key_has_a_place_and_no_place_is_left_over():
    names = published_names()
    assert len(names) == len(set(names)) == PUBLISHED_KEYS == 584
    ours = [our_name(name) for name in names]
    assert len(set(ours)) == 584
    assert set(ours) == set(meta("paper-street").state_dict())
    assert PUBLISHED_PREFIX == "module."


def test_an_unknown_published_key_keeps_its_name():
    assert our_name("fcn_outer.0.weight") == "fcn_outer.0.weight"


@pytest.mark.parametrize(
    ("preset", "published"), [("paper-drone", 204.539), ("paper-street", 206.940)]
)
def test_by_the_rule_of_the_papers_counter_it_has_the_published_multiplications(preset, published):
    """thop: convolutions without their biases, and four a value of a batch norm.

    The released code computes all of YOLOv3, of which we compute what its one map needs: the
    layers that are left out are counted from their shapes.
    """
    net = meta(preset)
    macs = 0

    def see(layer: nn.Module, _, out: torch.Tensor) -> None:
        nonlocal macs
        is_norm = isinstance(layer, nn.BatchNorm2d)
        macs += out.numel() * (4 if is_norm else layer.weight[0].numel())

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            layer.register_forward_hook(see)
    with torch.device("meta"):
        query = net.encode_query(torch.zeros(1, 3, *net.config.query_size), torch.zeros(1, 2))
        satellite = net.encode_satellite(torch.zeros(1, 3, 1024, 1024))
    found = net.find(query, satellite)
    for number, part in enumerate(net.satellite_trunk.module_list):
        if number not in net.satellite_trunk.needed and len(part):
            side = 32 if number < 83 else 64 if number < 97 else 128
            see(part[0], None, torch.empty(1, part[0].out_channels, side, side, device="meta"))
            if len(part) > 1:
                see(part[1], None, torch.empty(1, part[0].out_channels, side, side, device="meta"))
    assert macs / 1e9 == pytest.approx(published, abs=1e-3)
    assert tuple(satellite.shape[1:]) == (512, 64, 64)
    assert tuple(found.boxes.shape) == (1, 36_864, 4)


def test_the_largest_anchor_comes_first_in_the_head():
    assert meta("paper-drone").config.anchors == CVOGL_ANCHORS[::-1]
    assert meta("paper-drone").config.anchors[0] == (550, 573)


def test_the_click_and_the_mappings_have_the_released_batch_norm():
    net = meta("paper-drone")
    for mapped in (net.click, net.query_mapping, net.satellite_mapping, net.head[0]):
        assert mapped.bn.momentum == 0.999


# --- Darknet


def test_the_layers_have_the_numbers_of_the_published_configuration():
    found = layout()
    assert len(found.layers) == 107
    assert found.feature == 90
    assert [i for i, x in enumerate(found.layers) if x.op == "decode"] == [82, 94, 106]
    assert [i for i, x in enumerate(found.layers) if x.op == "enlarge"] == [85, 97]
    assert found.layers[86].inputs == (85, 61)
    assert found.layers[98].inputs == (97, 36)
    assert sum(x.op == "conv" for x in found.layers) == 75
    assert sum(x.op == "add" for x in found.layers) == 23


def test_darknet_computes_what_its_layers_say():
    net = Darknet(width=4, blocks=(1, 1, 1, 1, 1), whole=True).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        outputs = {-1: images}
        for number, layer in enumerate(net.layout.layers[: net.layout.feature + 1]):
            inputs = [outputs[i] for i in layer.inputs]
            if layer.op == "conv":
                outputs[number] = net.module_list[number](inputs[0])
            elif layer.op == "add":
                outputs[number] = inputs[0] + inputs[1]
            elif layer.op == "enlarge":
                outputs[number] = inputs[0].repeat_interleave(2, 2).repeat_interleave(2, 3)
            elif layer.op == "join":
                outputs[number] = torch.cat(inputs, dim=1)
        ours = net(images)
    torch.testing.assert_close(ours, outputs[net.layout.feature])
    assert tuple(ours.shape) == (2, 64, 4, 4)


def test_darknet_without_what_no_pass_needs_gives_the_same_map():
    whole = Darknet(width=4, blocks=(1, 1, 1, 1, 1), whole=True).eval()
    part = Darknet(width=4, blocks=(1, 1, 1, 1, 1), whole=False).eval()
    weights = whole.state_dict()
    part.load_state_dict({key: weights[key] for key in part.state_dict()})
    assert count(part) == sum(p.numel() for p in whole.parameters() if p.requires_grad)
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(part(images), whole(images))


# --- the fusion


def test_the_fusion_is_the_plain_loop():
    query, satellite = torch.randn(2, 6, 3, 4), torch.randn(2, 6, 4, 5)
    fused = QueryAware()(query, satellite)
    for b in range(2):
        asked = query[b].flatten(1).mean(dim=1)
        asked = asked / asked.norm()
        places = [satellite[b, :, i, j] for i in range(4) for j in range(5)]
        units = [place / place.norm() for place in places]
        scores = [float(unit @ asked) for unit in units]
        low, high = min(scores), max(scores)
        for n, (unit, score) in enumerate(zip(units, scores, strict=True)):
            expected = (score - low) / (high - low) * unit
            torch.testing.assert_close(fused[b, :, n // 5, n % 5], expected)


def test_the_attention_reaches_from_0_to_1_and_its_ends_are_constants():
    query = torch.randn(1, 6, 2, 2, requires_grad=True)
    satellite = torch.randn(1, 6, 3, 3)
    attention = QueryAware().attention(query, satellite)
    assert attention.min() == 0
    assert attention.max() == 1
    (found,) = torch.autograd.grad(attention.sum(), query)
    asked = F.normalize(query.mean(dim=(2, 3), keepdim=True), dim=1)
    alike = (asked * F.normalize(satellite, dim=1)).sum(dim=1)
    span = (alike.max() - alike.min()).item()
    (expected,) = torch.autograd.grad(alike.sum() / span, query)
    torch.testing.assert_close(found, expected)


def test_a_picture_that_is_everywhere_alike_gives_no_nan():
    fused = QueryAware()(torch.randn(1, 4, 2, 2), torch.ones(1, 4, 3, 3))
    assert fused.isfinite().all()


# --- what else may stand in its places


@pytest.mark.parametrize("row", PORTABILITY)
def test_a_row_of_table_4_has_the_parts_that_its_name_says(row):
    size = {"satellite_size": (96, 96)}
    net = small(**PORTABILITY[row], **size, heads=2, iterations=1, ffn_width=32)
    assert isinstance(net.fusion, CVCAM) == ("CVCAM" in row)
    assert isinstance(net.mhsam, MHSAM) == ("MHSAM" in row)
    batch = ClickBatch(
        torch.randn(2, 3, 64, 64),
        torch.tensor([[3.0, 60], [30, 31]]),
        torch.randn(2, 3, 96, 96),
        torch.tensor([[3.0, 5, 20, 21], [30, 30, 60, 40]]),
    )
    assert net.loss(batch).isfinite()
    maps = net.explain(batch.query, batch.click, batch.satellite)
    assert len(maps.satellite) == (3 if "MHSAM" in row else 2)


def test_confidence_is_the_best_boxs_share_of_a_softmax_over_all():
    net = small()
    query, click = torch.randn(1, 3, 64, 64), torch.zeros(1, 2)
    satellite = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        found = net.find(net.encode_query(query, click), net.encode_satellite(satellite))
        confidence = net.explain(query, click, satellite).satellite[0].values
    expected = found.scores.softmax(dim=1).view(1, 3, 8, 8).amax(dim=1)
    torch.testing.assert_close(confidence, expected)


def test_a_timm_backbone_can_take_darknets_place():
    net = small(satellite_backbone="test_efficientnet", satellite_strides=(8, 16))
    features = net.encode_satellite(torch.randn(1, 3, 64, 64))
    assert tuple(features.shape) == (1, 32, 8, 8)


def test_darknet_has_but_one_map_to_take():
    with pytest.raises(UserError, match="stride 16"):
        small(satellite_strides=(8,))
