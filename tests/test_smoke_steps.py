"""The steps of the trial of a built program that compare what it says with what the source says."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from app.paths import DEMO_NETWORK
from app.ui.demo_cases import KINDS, demo_case

PACKAGING = Path(__file__).resolve().parent.parent / "packaging"


@pytest.fixture(scope="module")
def smoke():
    sys.path.insert(0, str(PACKAGING))
    spec = importlib.util.spec_from_file_location("skyfix_smoke", PACKAGING / "smoke.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(PACKAGING))


class Told:
    """A stage on which the program, and the source, say what they are told to."""

    def __init__(self, folder, here, there, features=({"feature": "object"},), ships=KINDS):
        self.folder, self.resources = folder, folder
        self._here, self._there, self._features = here, there, features
        for kind in KINDS:
            photos = folder / "demo" / kind / "photos"
            photos.mkdir(parents=True)
            (photos / "a.jpg").touch()
        (folder / "checkpoints").mkdir()
        for kind in ships:
            (folder / "checkpoints" / f"attengeo-{kind}.safetensors").touch()

    def run(self, *words, limit_s):
        features = [{"properties": properties} for properties in self._features]
        Path(words[words.index("--geojson") + 1]).write_text(json.dumps({"features": features}))
        return self._here

    def from_source(self, *words, limit_s):
        return self._there


def said(*box, tile="r001c002"):
    best = {"box": box, "reference": 0}
    return json.dumps([{"objects": [{"boxes": [best]}], "references": [{"tile": tile}]}])


def test_clicks_and_checkpoints_are_those_of_the_demo_cases(smoke):
    assert {kind: demo_case(kind).click for kind in KINDS} == smoke.CLICKS
    assert dict(DEMO_NETWORK) == smoke.LOCATORS


def test_a_box_within_a_pixel_of_the_sources_is_the_same(smoke, tmp_path):
    stage = Told(tmp_path, said(10, 20, 30, 40), said(10.4, 20, 30, 39.2))
    assert smoke.click(stage)["street"] == "the box around r001c002 as from source, 0.80 px off"


@pytest.mark.parametrize(
    ("there", "features", "words"),
    [
        (said(10, 20, 30, 41.2), ({"feature": "object"},), "41.2"),
        (said(10, 20, 30, 40, tile="r009c009"), ({"feature": "object"},), "r009c009"),
        (said(10, 20, 30, 40), ({"feature": "candidate"},), "has no object"),
    ],
)
def test_another_box_another_tile_or_a_missing_object_fails(
    smoke, tmp_path, there, features, words
):
    with pytest.raises(smoke.Failed, match=words):
        smoke.click(Told(tmp_path, said(10, 20, 30, 40), there, features))


def test_without_the_sources_packages_that_is_said(smoke, tmp_path):
    stage = Told(tmp_path, said(10, 20, 30, 40), None)
    assert "not compared" in smoke.click(stage)["drone"]


def test_a_program_without_a_checkpoint_for_clicks_fails(smoke, tmp_path):
    with pytest.raises(smoke.Failed, match="no checkpoint for clicks"):
        smoke.click(Told(tmp_path, said(1, 2, 3, 4), None, ships=()))
