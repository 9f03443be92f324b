"""AttenGeo against its paper's figures, and its parts against plain formulas."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from app.errors import UserError
from app.models.attengeo import ABLATIONS, PRESETS, build
from app.models.boxes import AnchorGrid, box_iou, confidence_loss, location_loss
from app.models.clicks import CVOGL_ANCHORS, click_map
from app.models.cross_view import CVCAM, MHSAM, CrossAttentionBlock, MeanSum, tokens_of
from app.models.object_base import ClickBatch


def meta(preset: str, **changes):
    with torch.device("meta"):
        return build({**PRESETS[preset], **changes}).eval()


def small(**changes):
    return build({**PRESETS["smallest"], **changes}).eval()


def shown(network, count: int = 2) -> ClickBatch:
    generator = torch.Generator().manual_seed(1)
    query, satellite = (
        torch.randn(count, 3, *size, generator=generator)
        for size in (network.config.query_size, network.config.satellite_size)
    )
    click = torch.rand(count, 2, generator=generator) * 60
    box = torch.tensor([[10.0, 20, 22, 30], [33, 34, 63, 64], [0, 0, 6, 6]])[:count]
    return ClickBatch(query, click, satellite, box)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def passed(network):
    """Features and boxes of one pair, on the meta device: shapes without numbers."""
    c = network.config
    with torch.device("meta"):
        query = network.encode_query(torch.zeros(1, 3, *c.query_size), torch.zeros(1, 2))
        satellite = network.encode_satellite(torch.zeros(1, 3, *c.satellite_size))
    return query, satellite, network.find(query, satellite)


# --- the published figures


def test_the_network_has_the_published_parameters_part_by_part():
    net = meta("paper-drone")
    assert count(net) == 44_584_767
    assert count(net.trunk) == 27_866_496
    assert count(net.click) == 18
    assert count(net.query_mapping) == count(net.satellite_mapping) == 197_120
    assert isinstance(net.fusion, CVCAM)
    assert count(net.fusion.query_blocks) == count(net.fusion.satellite_blocks) == 3_159_040
    assert count(net.fusion.fusion) == 789_760
    assert net.mhsam is not None
    assert count(net.mhsam.convs) == 4_589_056
    assert count(net.mhsam.deconvs) == 4_588_288
    assert count(net.head) == 38_829


@pytest.mark.parametrize(
    ("preset", "tokens", "published", "with_attention"),
    [("paper-drone", 64, 110.800, 111.102), ("paper-street", 128, 116.841, 117.445)],
)
def test_it_multiplies_as_often_as_the_sheet_says(preset, tokens, published, with_attention):
    # On a CPU the counter passes over fused attention, whose multiplications 110.800 is without.
    with FlopCounterMode(display=False) as counter:
        query, satellite, _ = passed(meta(preset))
    found = counter.get_total_flops() / 2
    attention = 9 * 2 * tokens * 1024 * 256
    assert query.flatten(2).shape[2] == tokens
    assert satellite.flatten(2).shape[2] == 1024
    assert found / 1e9 == pytest.approx(with_attention, rel=1e-5)
    assert (found - attention) / 1e9 == pytest.approx(published, rel=1e-5)


@pytest.mark.parametrize(
    ("preset", "published"), [("paper-drone", 110.4626), ("paper-street", 116.4300)]
)
def test_by_the_rule_of_the_papers_counter_it_has_the_figures_of_table_5(preset, published):
    """thop knows layers by their very type: not MultiheadAttention, nor timm's own layers."""
    net = meta(preset)
    macs, weights = 0, 0

    def see(layer: nn.Module, _, out: torch.Tensor) -> None:
        nonlocal macs, weights
        weights += sum(p.numel() for p in layer.parameters())
        if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            macs += 4 * out.numel()
        elif isinstance(layer, nn.ConvTranspose2d):
            macs += out.numel() * layer.in_channels * math.prod(layer.kernel_size)
        elif isinstance(layer, nn.Linear):
            macs += out.numel() * layer.in_features
        else:
            macs += out.numel() * layer.weight[0].numel()

    known = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm)
    layers = [m for m in net.modules() if type(m) in known]
    for layer in layers:
        layer.register_forward_hook(see)
    passed(net)
    assert macs / 1e9 == pytest.approx(published, abs=1e-4)
    assert sum(count(layer) for layer in layers) / 1e6 == pytest.approx(42.1469, abs=1e-4)


def test_nine_anchors_at_each_cell_make_9216_boxes():
    query, satellite, found = passed(meta("paper-drone"))
    assert tuple(query.shape[1:]) == (256, 8, 8)
    assert tuple(satellite.shape[1:]) == (256, 32, 32)
    assert tuple(found.boxes.shape) == (1, 9216, 4)
    assert tuple(found.scores.shape) == (1, 9216)


def test_the_maps_inside_mhsam_shrink_and_come_back():
    mhsam = MHSAM(8)
    fused = torch.randn(1, 8, 32, 32)
    inner = [conv(fused) for conv in mhsam.convs]
    assert [x.shape[-1] for x in inner] == [32, 30, 28]
    assert {x.shape[1] for x in inner} == {16}
    weights = mhsam.weights(fused)
    assert weights.shape == fused.shape
    expected = sum(d(F.relu(x)) for d, x in zip(mhsam.deconvs, inner, strict=True)).sigmoid()
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(mhsam(fused), weights * fused)


# --- CVCAM


def code_at(x: int, y: int, d: int) -> list[float]:
    """Equation 2 at a place counted from 1."""
    code = []
    for j in range(d // 4):
        scale = 10000 ** (2 * j / d)
        code += [math.sin(x / scale), math.cos(x / scale), math.sin(y / scale), math.cos(y / scale)]
    return code


def plain_code(h: int, w: int, d: int) -> torch.Tensor:
    rows = [code_at(x + 1, y + 1, d) for y in range(h) for x in range(w)]
    return torch.tensor(rows, dtype=torch.float64)


def plain_block(block: CrossAttentionBlock, asking, other, asking_code, other_code):
    """Equations 3 to 5 for one picture, head by head and token by token."""
    attention = block.attention
    d, heads = attention.embed_dim, attention.num_heads
    w_q, w_k, w_v = attention.in_proj_weight.chunk(3)
    b_q, b_k, b_v = attention.in_proj_bias.chunk(3)
    q = (asking + asking_code) @ w_q.T + b_q
    k = (other + other_code) @ w_k.T + b_k
    v = other @ w_v.T + b_v
    seen = torch.zeros_like(asking)
    each = d // heads
    for head in range(heads):
        part = slice(head * each, (head + 1) * each)
        for i in range(len(asking)):
            scores = torch.stack([q[i, part] @ k[j, part] for j in range(len(other))])
            weights = (scores / math.sqrt(each)).softmax(dim=0)
            seen[i, part] = sum(weights[j] * v[j, part] for j in range(len(other)))
    x = block.norm1(asking + seen @ attention.out_proj.weight.T + attention.out_proj.bias)
    wide, narrow = block.ffn[0], block.ffn[3]
    hidden = F.relu(x @ wide.weight.T + wide.bias)
    return block.norm2(x + hidden @ narrow.weight.T + narrow.bias)


@pytest.mark.parametrize("order", ["before", "after"])
def test_cvcam_is_the_plain_loop(order):
    net = CVCAM(8, 2, 16, iterations=2, dropout=0.3, order=order).double().eval()
    query, satellite = torch.randn(1, 8, 2, 3).double(), torch.randn(1, 8, 3, 4).double()
    q, s = query[0].flatten(1).T, satellite[0].flatten(1).T
    q_code, s_code = plain_code(2, 3, 8), plain_code(3, 4, 8)
    with torch.inference_mode():
        for to_query, to_satellite in zip(net.query_blocks, net.satellite_blocks, strict=True):
            updated = plain_block(to_query, q, s, q_code, s_code)
            s = plain_block(to_satellite, s, q if order == "before" else updated, s_code, q_code)
            q = updated
        fused = plain_block(net.fusion, s, q, s_code, q_code)
        ours = net(query, satellite)
    # The codes of the network are made in float32.
    torch.testing.assert_close(ours[0].flatten(1).T, fused, atol=1e-6, rtol=0)


def test_position_codes_are_equation_2_and_no_part_of_the_values():
    tokens = tokens_of(torch.zeros(1, 16, 5, 7, dtype=torch.float64))
    torch.testing.assert_close(tokens.codes, plain_code(5, 7, 16), atol=1e-6, rtol=0)
    block = CrossAttentionBlock(16, 2, 32, dropout=0.0).double()
    # All the other view's tokens being alike, what is seen of them cannot tell its places apart.
    seen = block(tokens_of(torch.zeros(1, 16, 1, 1).double()), tokens)
    fewer = tokens_of(torch.zeros(1, 16, 2, 2).double())
    moved = block(tokens_of(torch.zeros(1, 16, 1, 1).double()), fewer)
    torch.testing.assert_close(seen.values, moved.values)


def test_shown_weights_are_those_that_the_fused_attention_uses():
    block = CrossAttentionBlock(8, 1, 16, dropout=0.0).eval()
    asking, other = tokens_of(torch.randn(2, 8, 2, 2)), tokens_of(torch.randn(2, 8, 3, 3))
    weights = block.weights(asking, other)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 4))
    value = F.linear(other.values, *(p.chunk(3)[2] for p in params(block.attention)))
    seen = block.attention.out_proj(weights @ value)
    fused, _ = block.attention(asking.placed, other.placed, other.values, need_weights=False)
    torch.testing.assert_close(seen, fused)


def params(attention: nn.MultiheadAttention) -> tuple[torch.Tensor, torch.Tensor]:
    return attention.in_proj_weight, attention.in_proj_bias


def test_the_shown_maps_are_of_the_clicked_place_and_of_the_found_box():
    net = small(query_size=(64, 96), satellite_size=(96, 64))
    query, satellite = torch.randn(2, 3, 64, 96), torch.randn(2, 3, 96, 64)
    click = torch.tensor([[90.0, 20.0], [5.0, 63.9]])  # of a grid of 4 x 6 cells
    with torch.inference_mode():
        maps = net.explain(query, click, satellite)
        q, s = net.encode_query(query, click), net.encode_satellite(satellite)
        found = net.find(q, s)
        asked, other = net.fusion.interact(q, s)
        weights = net.fusion.fusion.weights(other, asked)
    for b, clicked in enumerate((1 * 6 + 5, 3 * 6 + 0)):
        left, top, right, bottom = found.boxes[b, found.scores[b].argmax()].tolist()
        place = int((top + bottom) / 2 / 8) * 8 + int((left + right) / 2 / 8)  # of 12 x 8 cells
        assert maps.satellite[0].values[b].argmax() == place
        torch.testing.assert_close(maps.query[0].values[b].flatten(), weights[b, place])
        torch.testing.assert_close(maps.satellite[1].values[b].flatten(), weights[b, :, clicked])
    assert tuple(maps.query[0].values.shape[1:]) == (4, 6)
    assert tuple(maps.satellite[1].values.shape[1:]) == (12, 8)


# --- the click


@pytest.mark.parametrize("size", [(256, 256), (256, 512)])
def test_the_click_map_is_detgeos(size):
    h, w = size
    clicks = torch.tensor([[100.9, 30.2], [0.0, 255.99]])
    ours = click_map(clicks, size, whole_pixels=True)
    for b, (x, y) in enumerate(((100, 30), (0, 255))):
        for row, column in ((0, 0), (30, 100), (255, 0), (h - 1, w - 1), (17, 203)):
            distance = math.sqrt((row - y) ** 2 + (column - x) ** 2)
            expected = (1 - distance / math.sqrt(h * h + w * w)) ** 2
            assert ours[b, 0, row, column].item() == pytest.approx(expected, abs=1e-6)
    assert ours[0, 0, 30, 100] == 1


def test_a_click_can_also_be_taken_where_it_is():
    whole = click_map(torch.tensor([[10.9, 5.1]]), (16, 32), whole_pixels=True)
    there = click_map(torch.tensor([[10.9, 5.1]]), (16, 32), whole_pixels=False)
    centre = click_map(torch.tensor([[10.5, 5.5]]), (16, 32), whole_pixels=False)
    torch.testing.assert_close(centre, whole)
    expected = (1 - math.hypot(10.9 - 20.5, 5.1 - 7.5) / math.hypot(16, 32)) ** 2
    assert there[0, 0, 7, 20].item() == pytest.approx(expected, abs=1e-6)


def test_another_click_asks_for_something_else():
    net = small()
    batch = shown(net, 1)
    with torch.inference_mode():
        satellite = net.encode_satellite(batch.satellite)
        first, second = (
            net.find(net.encode_query(batch.query, torch.tensor([at])), satellite).scores
            for at in ([5.0, 5.0], [60.0, 40.0])
        )
    assert (first - second).abs().max() > 1e-4


# --- boxes


def grid(cells=(4, 8), picture=(64, 128)) -> AnchorGrid:
    return AnchorGrid(torch.tensor([[10.0, 20.0], [30.0, 12.0]]), cells, picture)


def test_a_head_that_says_what_it_should_is_decoded_to_the_box():
    boxes = torch.tensor([[3.0, 5, 17, 30], [100, 40, 128, 52], [60, 0, 70, 22]])
    g = grid()
    right = g.assign(boxes)
    raw = torch.randn(3, 2, 5, 4, 8)
    rows = torch.arange(3)
    offsets = right.offsets.clone()
    offsets[:, :2] = offsets[:, :2].logit()
    raw[rows, right.anchor, :4, right.row, right.column] = offsets
    decoded = g.decode(raw)
    assert decoded.shape == (3, 64, 4)
    torch.testing.assert_close(decoded[rows, right.index(g)], boxes)
    torch.testing.assert_close(location_loss(raw, right), torch.tensor(0.0), atol=1e-9, rtol=0)


def test_the_anchor_of_the_most_similar_shape_at_the_centres_cell_is_responsible():
    g = grid()
    right = g.assign(torch.tensor([[10.0, 4, 40, 20], [10, 0, 22, 22]]))
    assert right.anchor.tolist() == [1, 0]
    assert right.column.tolist() == [1, 1]
    assert right.row.tolist() == [0, 0]
    torch.testing.assert_close(right.offsets[0, :2], torch.tensor([25 / 16 - 1, 12 / 16]))
    torch.testing.assert_close(right.offsets[0, 2:], torch.tensor([0.0, math.log(16 / 12)]))


def test_a_box_that_leaves_the_picture_is_cut_and_keeps_a_cell_in_it():
    g = grid()
    right = g.assign(torch.tensor([[120.0, 60, 150, 90], [127.9, 63.9, 300, 300]]))
    assert right.column.tolist() == [7, 7]
    assert right.row.tolist() == [3, 3]
    torch.testing.assert_close(right.offsets[0, :2], torch.tensor([124 / 16 - 7, 62 / 16 - 3]))
    # A tenth of a pixel is left of the second one: it counts as one pixel.
    torch.testing.assert_close(right.offsets[1, 2:].exp(), torch.tensor([1 / 10, 1 / 20]))


def test_boxes_overlap_as_counted_by_hand():
    boxes = torch.tensor([[0.0, 0, 4, 4], [2, 2, 6, 6], [10, 10, 11, 11], [3, 3, 3, 3]])
    overlap = box_iou(boxes[:, None], boxes[None])
    assert overlap[0, 0] == 1
    assert overlap[0, 1].item() == pytest.approx(4 / 28)
    assert overlap[0, 2] == 0
    assert overlap[3, 3] == 0
    torch.testing.assert_close(overlap, overlap.T)


# --- losses


@pytest.mark.parametrize(("boxes", "log"), [(9216, 9.129), (36_864, 10.515)])
def test_the_softmax_starts_at_the_log_of_the_boxes(boxes, log):
    loss = confidence_loss(
        torch.zeros(2, boxes), torch.tensor([3, 8000]), kind="softmax", reduction="sum"
    )
    assert loss.item() == pytest.approx(math.log(boxes))
    assert loss.item() == pytest.approx(log, abs=1e-3)


def test_the_binary_loss_adds_a_pictures_boxes_or_averages_them():
    logits, right = torch.randn(3, 50), torch.tensor([4, 0, 49])
    plain = 0.0
    for row, target in zip(logits.sigmoid(), right, strict=True):
        for i, p in enumerate(row):
            plain -= math.log(p) if i == target else math.log(1 - p)
    added, averaged = (
        confidence_loss(logits, right, kind="binary", reduction=how) for how in ("sum", "mean")
    )
    assert added.item() == pytest.approx(plain / 3, rel=1e-5)
    assert averaged.item() == pytest.approx(plain / 150, rel=1e-5)


def test_confidence_and_location_are_added_without_a_weight():
    net = small().train()
    batch = shown(net, 3)
    raw = {}
    net.head.register_forward_hook(lambda _, __, out: raw.update(out=out))
    loss = net.loss(batch)
    values = raw["out"].view(3, 3, 5, 8, 8)
    g = AnchorGrid(net.anchors, (8, 8), (64, 64))
    right = g.assign(batch.box)
    confidence = confidence_loss(
        values[:, :, 4].flatten(1), right.index(g), kind="binary", reduction="sum"
    )
    torch.testing.assert_close(loss, confidence + location_loss(values, right))


# --- ablations and refusals


@pytest.mark.parametrize("row", ABLATIONS)
def test_a_row_of_table_3_has_the_parts_that_its_name_says(row):
    net = small(**ABLATIONS[row])
    assert isinstance(net.fusion, CVCAM) == ("CVCAM" in row)
    assert (net.mhsam is not None) == ("MHSAM" in row)
    batch = shown(net)
    assert net.loss(batch).isfinite()
    assert net.explain(batch.query, batch.click, batch.satellite).query


def test_the_baseline_adds_the_querys_mean_everywhere():
    query, satellite = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 6, 6)
    fused = MeanSum()(query, satellite)
    torch.testing.assert_close(
        fused - satellite, query.mean((2, 3))[..., None, None].expand(-1, -1, 6, 6)
    )


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_k_counts_the_blocks_of_each_view(iterations):
    net = small(iterations=iterations)
    blocks = [m for m in net.modules() if isinstance(m, CrossAttentionBlock)]
    assert len(blocks) == 2 * iterations + 1


def test_the_anchors_are_those_of_cvogl():
    assert len(CVOGL_ANCHORS) == 9
    assert CVOGL_ANCHORS[0] == (37, 41)
    assert CVOGL_ANCHORS[-1] == (550, 573)


def test_what_cannot_be_built_is_refused_with_a_sentence():
    with pytest.raises(UserError, match="heads"):
        small(heads=3)
    with pytest.raises(UserError, match="stride"):
        small(query_strides=(64,))
    with pytest.raises(UserError, match="5 cells"):
        MHSAM(4)(torch.zeros(1, 4, 4, 9))
    with pytest.raises(UserError, match="anchors"):
        small(anchors=())


# --- choices that are not the paper's


def test_a_tint_leaves_the_picture_as_it_is_and_marks_the_click():
    net = small(click_input="tint").train()
    seen = {}
    net.trunk.register_forward_pre_hook(lambda _, given: seen.update(images=given[0]))
    images = torch.randn(2, 3, 64, 64)
    net.encode_query(images, torch.tensor([[20.5, 10.5], [50.5, 40.5]]))
    tint = (seen["images"] - images).detach()
    for b, (x, y) in enumerate(((20, 10), (50, 40))):
        red, green, blue = tint[b]
        assert red.argmax() == blue.argmax() == y * 64 + x
        assert red[y, x] > 0.4
        assert red[y, x] > green[y, x] + 0.4
    assert tint.flatten(1).median(dim=1).values.abs().max() < 0.5
    mixed = small().train()
    mixed.trunk.register_forward_pre_hook(lambda _, given: seen.update(images=given[0]))
    mixed.encode_query(images, torch.tensor([[20.5, 10.5], [50.5, 40.5]]))
    alike = F.cosine_similarity(seen["images"].flatten(1), images.flatten(1))
    assert alike.abs().max() < 0.95


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_a_fresh_head_can_start_out_sure_of_little(share):
    net = small(start_confidence=share)
    batch = shown(net)
    with torch.inference_mode():
        query = net.encode_query(batch.query, batch.click)
        scores = net.find(query, net.encode_satellite(batch.satellite)).scores
    assert scores.mean().sigmoid().item() == pytest.approx(share, rel=0.5)
    with pytest.raises(UserError, match="start_confidence is 0"):
        small(start_confidence=0.0)


def found_elsewhere(cvcam: CVCAM) -> list[float]:
    """Of each block: the share of tokens that ask most of all for their own content.

    The other view has the same tokens at other places.
    """
    generator = torch.Generator().manual_seed(4)
    width = cvcam.fusion.attention.embed_dim
    here = torch.randn(1, width, 8, 8, generator=generator)
    moved = torch.randperm(64, generator=generator)
    there = here.flatten(2)[..., moved].unflatten(2, (8, 8))
    asking, other = tokens_of(here), tokens_of(there)
    blocks = [*cvcam.query_blocks, *cvcam.satellite_blocks, cvcam.fusion]
    with torch.no_grad():
        best = [block.weights(asking, other)[0].argmax(dim=1) for block in blocks]
    return [(moved[one] == torch.arange(64)).float().mean().item() for one in best]


def test_attention_that_starts_alike_finds_the_same_content_at_other_places():
    settings = {"iterations": 2, "dropout": 0.0, "order": "before"}
    assert min(found_elsewhere(CVCAM(64, 4, 64, **settings, alike=True))) > 0.9
    assert max(found_elsewhere(CVCAM(64, 4, 64, **settings))) < 0.2


def test_mappings_that_start_alike_are_one_rotation_of_the_trunks_maps():
    net = small(start_alike=True, satellite_strides=(16,))
    query, satellite = net.query_mapping.conv.weight, net.satellite_mapping.conv.weight
    assert torch.equal(query, satellite)
    rows = query[:, :, 0, 0].detach()
    torch.testing.assert_close(rows @ rows.mT, torch.eye(len(rows)), atol=1e-5, rtol=0)
    satellite.data.zero_()
    assert query.abs().max() > 0, "they learn apart from each other"
    with pytest.raises(UserError, match="cannot start alike"):
        small(start_alike=True)


def test_a_network_that_starts_alike_can_be_counted_without_numbers():
    preset = {**PRESETS["smallest"], "start_alike": True, "satellite_strides": (16,)}
    with torch.device("meta"):
        assert count(build(preset)) == count(small(satellite_strides=(16,)))
