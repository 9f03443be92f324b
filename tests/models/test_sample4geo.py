import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from app.errors import UserError
from app.models.base import PairBatch
from app.models.build import create, create_preset, preset_config
from app.models.catalog import BY_NAME

PRESETS = BY_NAME["sample4geo"].presets


@pytest.mark.parametrize("preset", [p for p in PRESETS if p.startswith("paper")])
def test_the_papers_sizes_have_the_papers_tensors(preset):
    with torch.device("meta"):  # shapes only: 88 million weights would take seconds
        network = create_preset("sample4geo", preset)
    names = list(network.state_dict())
    assert len(names) == 343
    assert [n for n in names if not n.startswith("model.")] == ["logit_scale"]
    assert "model.stages.3.blocks.2.mlp.fc2.weight" in names
    assert network.descriptor == 1024


def test_frozen_batch_norm_keeps_its_statistics_and_trains_the_rest():
    config = {**PRESETS["smallest"], "freeze_bn": True}
    network = create("sample4geo", config).train()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [m.running_mean.clone() for m in norms]
    images = torch.randn(4, 3, 64, 64)
    network.loss(PairBatch(images, images, torch.arange(4))).backward()
    assert norms
    for norm, mean in zip(norms, before, strict=True):
        assert torch.equal(norm.running_mean, mean)
        assert norm.weight.grad is not None
    assert network.training


def test_batch_norm_that_is_not_frozen_learns_both_views_statistics():
    network = create_preset("sample4geo", "smallest").train()
    norm = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    dark, bright = torch.full((4, 3, 64, 64), -2.0), torch.full((4, 3, 64, 64), 2.0)
    noise = torch.randn(4, 3, 64, 64) * 0.1
    network.loss(PairBatch(dark + noise, bright + noise, torch.arange(4)))
    assert int(norm.num_batches_tracked) == 1  # one batch of both, not one after the other


def test_the_alignment_map_averages_to_the_length_of_the_pooled_feature():
    network = create_preset("sample4geo", "smallest").eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        energy, alignment = network.explain(images, "drone")
        pooled = network.model(images)
    torch.testing.assert_close(alignment.values.mean(dim=(1, 2)), pooled.norm(dim=1))
    assert (energy.values >= 0).all()


def test_the_alignment_map_serves_backbones_that_normalise_after_pooling():
    config = {**PRESETS["smallest"], "backbone": "test_convnext"}
    network = create("sample4geo", config).eval()
    with torch.inference_mode():
        maps = network.explain(torch.randn(1, 3, 64, 64), "satellite")
    assert all(one.values.isfinite().all() for one in maps)


def test_a_channels_last_batch_is_refused():
    with pytest.raises(TypeCheckError):
        create_preset("sample4geo", "smallest").describe(torch.rand(2, 64, 64, 3), "drone")


def test_an_unknown_network_or_preset_or_backbone_is_named():
    with pytest.raises(UserError, match="no network mystery"):
        create("mystery", {})
    with pytest.raises(UserError, match="no configuration huge"):
        create_preset("sample4geo", "huge")
    with pytest.raises(UserError, match="no network resnet9000"):
        create("sample4geo", {**PRESETS["smallest"], "backbone": "resnet9000"})


def test_a_configuration_with_unknown_or_missing_fields_is_refused():
    with pytest.raises(UserError, match="flavour"):
        create("sample4geo", {**PRESETS["smallest"], "flavour": 1})
    short = {k: v for k, v in PRESETS["smallest"].items() if k != "backbone"}
    with pytest.raises(UserError, match="backbone"):
        create("sample4geo", short)


def test_lists_from_json_become_tuples():
    config = {**PRESETS["smallest"], "query_size": [64, 64]}
    assert create("sample4geo", config).config.query_size == (64, 64)


def test_frozen_stages_learn_nothing_and_the_others_do():
    config = {**preset_config("sample4geo", "tiny-drone"), "frozen_stages": 2}
    names = dict(create("sample4geo", config).named_parameters())
    frozen = {name for name, parameter in names.items() if not parameter.requires_grad}
    assert frozen
    assert {name.split(".")[1] for name in frozen} == {"conv_stem", "bn1", "blocks"}
    assert {name.split(".")[2] for name in frozen if ".blocks." in name} == {"0", "1"}
    assert names["logit_scale"].requires_grad
