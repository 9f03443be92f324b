"""LPN: the published names and shapes, and its rings against a walk over the map."""

import math
import re

import pytest
import torch
import torch.nn.functional as F

from app.errors import UserError
from app.models.base import PairBatch
from app.models.lpn import LPN, PRESETS, UNUSED_PUBLISHED_KEYS, build, square_rings

SMALL = {**PRESETS["smallest"], "query_size": (128, 128), "satellite_size": (128, 128)}
STREET = {
    **SMALL,
    "query_view": "street",
    "query_size": (64, 256),
    "query_rows": True,
    "shared": False,
}


def meta(preset: str) -> LPN:
    with torch.device("meta"):
        return build(PRESETS[preset]).eval()


def resnet50() -> dict[str, tuple[int, ...]]:
    """torchvision's names and shapes."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv_bn(conv: str, bn: str, shape: tuple[int, int, int, int]) -> None:
        shapes[f"{conv}.weight"] = shape
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{bn}.{name}"] = shape[:1]
        shapes[f"{bn}.num_batches_tracked"] = ()

    conv_bn("conv1", "bn1", (64, 3, 7, 7))
    before = 64
    for stage, depth in enumerate((3, 4, 6, 3), start=1):
        width = 32 * 2**stage
        for block in range(depth):
            prefix = f"layer{stage}.{block}"
            conv_bn(f"{prefix}.conv1", f"{prefix}.bn1", (width, before, 1, 1))
            conv_bn(f"{prefix}.conv2", f"{prefix}.bn2", (width, width, 3, 3))
            conv_bn(f"{prefix}.conv3", f"{prefix}.bn3", (4 * width, width, 1, 1))
            if block == 0:
                shape = (4 * width, before, 1, 1)
                conv_bn(f"{prefix}.downsample.0", f"{prefix}.downsample.1", shape)
            before = 4 * width
    return shapes | {"fc.weight": (1000, 2048), "fc.bias": (1000,)}


def published() -> dict[str, tuple[int, ...]]:
    """Of a three-view network with shared drone and satellite weights."""
    keys = {
        f"model_{i}.model.{name}": shape for i in (1, 2, 3) for name, shape in resnet50().items()
    }
    for i in range(4):
        shapes = {"add_block.0.weight": (512, 2048), "add_block.0.bias": (512,)}
        shapes |= {"classifier.0.weight": (701, 512), "classifier.0.bias": (701,)}
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"add_block.1.{name}"] = (512,)
        shapes["add_block.1.num_batches_tracked"] = ()
        keys |= {f"classifier{i}.{name}": shape for name, shape in shapes.items()}
    return keys


def test_published_names_and_shapes_are_ours_but_for_the_unused():
    used = {
        key: shape
        for key, shape in published().items()
        if not any(re.fullmatch(pattern, key) for pattern in UNUSED_PUBLISHED_KEYS)
    }
    ours = {k: tuple(t.shape) for k, t in meta("paper-university").state_dict().items()}
    assert used == ours


def test_the_paper_network_keeps_16_by_16_locations_and_four_features_of_512():
    net = meta("paper-university")
    pictures = torch.empty(2, 3, 256, 256, device="meta")
    assert net.model_1(pictures).shape == (2, 2048, 16, 16)
    assert net.parts(pictures, "drone").shape == (2, 4, 512)
    assert net.descriptor == 2048
    count = sum(p.numel() for p in net.parameters())
    assert count == 23_508_032 + 4 * (2048 * 512 + 512 + 1024 + 512 * 701 + 701)


def test_a_last_stride_of_two_halves_the_map():
    net = build({**SMALL, "last_stride": 2}).eval()
    assert net.model_1(torch.zeros(1, 3, 128, 128)).shape[2:] == (4, 4)
    assert build(SMALL).eval().model_1(torch.zeros(1, 3, 128, 128)).shape[2:] == (8, 8)


@pytest.mark.parametrize("size", [(16, 16), (12, 12), (9, 17), (8, 20)])
def test_rings_are_squares_of_whole_steps_round_the_centre(size):
    rings = square_rings(size, 4)
    h, w = size
    step_h, step_w = h // 8, w // 8
    for i in range(h):
        for j in range(w):
            ring = 4
            for n in (3, 2, 1):
                inside = -n * step_h <= i - h // 2 < n * step_h
                if inside and -n * step_w <= j - w // 2 < n * step_w:
                    ring = n
            assert rings[i, j] == ring - 1
    if size == (16, 16):
        assert F.one_hot(rings.flatten(), 4).sum(dim=0).tolist() == [16, 48, 80, 112]


@pytest.mark.parametrize("kind", ["square", "ring"])
def test_the_published_mean_divides_by_the_square_and_not_by_the_ring(kind):
    net = build({**SMALL, "rings": 4, "ring_mean": kind}).eval()
    pictures = torch.randn(2, 3, 128, 128)
    with torch.inference_mode():
        pooled = net.pool(pictures, "drone")
        features = net.model_1(pictures)
    for i, got in enumerate(pooled):
        inner, outer = 4 - i, 4 + i  # of 8 x 8 locations, one a step
        square = features[:, :, inner - 1 : outer + 1, inner - 1 : outer + 1].clone()
        if i:
            square[:, :, 1:-1, 1:-1] = 0
        area = (2 * i + 2) ** 2 - (4 * i**2 if kind == "ring" else 0)
        torch.testing.assert_close(got, square.sum(dim=(2, 3)) / area)


def test_a_panoramas_rows_meet_the_rings_from_the_outermost_inwards():
    net = build(STREET).eval()
    assert {n for n, _ in net.named_children()} >= {"model_1", "model_2"}
    panorama, tile = torch.randn(1, 3, 64, 256), torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        top, bottom = net.pool(panorama, "street")
        outer, inner = net.pool(tile, "satellite")
        street, satellite = net.model_2(panorama), net.model_1(tile)
    torch.testing.assert_close(top, street[:, :, :2].mean(dim=(2, 3)))
    torch.testing.assert_close(bottom, street[:, :, 2:].mean(dim=(2, 3)))
    torch.testing.assert_close(inner, satellite[:, :, 2:6, 2:6].mean(dim=(2, 3)))
    middle = satellite.clone()
    middle[:, :, 2:6, 2:6] = 0
    torch.testing.assert_close(outer, middle.mean(dim=(2, 3)))


def test_a_drone_trunk_of_its_own_is_the_third_as_published():
    net = build({**SMALL, "shared": False})
    assert {n.split(".")[0] for n in net.state_dict()} >= {"model_1", "model_3"}
    pictures = torch.randn(1, 3, 128, 128)
    drone, satellite = (net.eval().describe(pictures, v) for v in ("drone", "satellite"))
    assert not torch.allclose(drone, satellite, atol=1e-3)


@pytest.mark.parametrize("config", [SMALL, STREET], ids=["drone", "street"])
def test_the_loss_adds_the_entropies_of_all_parts_of_both_views(config):
    net = build({**config, "classes": 701, "margin": 0.0})
    for head in net.heads:
        torch.nn.init.zeros_(head.classifier[0].weight)
    h, w = net.config.query_size
    pairs = PairBatch(torch.randn(4, 3, h, w), torch.randn(4, 3, 128, 128), torch.arange(4))
    loss = net.loss(pairs)
    assert loss.item() == pytest.approx(2 * 2 * math.log(701), rel=1e-5)
    loss.backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("config", "view"), [(SMALL, "drone"), (STREET, "street")])
def test_a_picture_has_one_unit_descriptor_and_a_map_of_its_parts(config, view):
    net = build(config).eval()
    pictures = torch.randn(2, 3, *net.config.query_size)
    with torch.inference_mode():
        rows = net.describe(pictures, view)
        energy, alignment, part = net.explain(pictures, view)
    assert torch.allclose(rows.norm(dim=1), torch.ones(2))
    assert energy.values.shape == alignment.values.shape == part.values.shape
    assert set(part.values.unique().tolist()) == {0.0, 1.0}
    assert "rows" in part.name if view == "street" else "rings" in part.name


def test_pictures_too_small_for_the_rings_are_refused():
    with pytest.raises(UserError, match="too small for 8 square rings") as caught:
        build({**SMALL, "rings": 8})
    assert "256" in caught.value.hint


@pytest.mark.parametrize("backbone", ["test_vit", "resnetv2_50"])
def test_a_backbone_that_is_no_resnet_is_refused(backbone):
    with torch.device("meta"), pytest.raises(UserError, match="no ResNet"):
        build({**SMALL, "backbone": backbone, "layers": None, "channels": None})


def test_the_tiny_network_stays_under_eight_megabytes():
    assert 2 * sum(t.numel() for t in meta("tiny-drone").state_dict().values()) < 8e6
