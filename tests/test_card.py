import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from app.card import (
    CARD_FORMAT,
    CARD_KEY,
    Calibration,
    Card,
    Metric,
    card_from_json,
    card_to_json,
    read_card,
)
from app.errors import UserError


@pytest.fixture
def card() -> Card:
    return Card(
        network="sample4geo",
        config={"backbone": "resnet10t", "query_size": [96, 96]},
        title="Kleine Drohne",
        task="retrieval",
        query_view="drone",
        sizes={"drone": (96, 128), "satellite": (96, 96)},
        descriptor=512,
        tile_size_m=80.0,
        metrics=(Metric("R@1", 0.5, "demo world seed 9001"),),
        calibration=Calibration(0.03, "held-out queries of seed 9000"),
        parent="ab" * 32,
    )


@pytest.fixture
def checkpoint(tmp_path: Path, card: Card) -> Path:
    path = tmp_path / "net Ω.safetensors"
    save_file({"w": np.zeros(3, np.float16)}, path, metadata={CARD_KEY: card_to_json(card)})
    return path


def with_header(path: Path, header: bytes, *, length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header)
    return path


def test_a_card_comes_back_from_json_as_it_was(card: Card):
    assert card_from_json(card_to_json(card), name="x") == card


def test_a_card_is_read_from_the_file_that_safetensors_wrote(checkpoint: Path, card: Card):
    assert read_card(checkpoint) == card


def test_a_card_without_calibration_has_none(card: Card):
    raw = json.loads(card_to_json(card))
    raw["calibration"] = None
    assert card_from_json(json.dumps(raw), name="x").calibration is None


def test_unknown_keys_of_a_card_are_let_by(card: Card):
    raw = {**json.loads(card_to_json(card)), "colour": "red"}
    assert card_from_json(json.dumps(raw), name="x") == card


def test_a_card_of_another_format_is_refused_with_both_numbers(card: Card):
    raw = {**json.loads(card_to_json(card)), "format": CARD_FORMAT + 1}
    with pytest.raises(UserError, match=rf"format {CARD_FORMAT + 1}.*format {CARD_FORMAT}$"):
        card_from_json(json.dumps(raw), name="x")


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"format": 1, "sizes": 3}'])
def test_a_damaged_card_names_the_file(text: str):
    with pytest.raises(UserError, match=r"best\.safetensors") as caught:
        card_from_json(text, name="best.safetensors")
    assert caught.value.hint


@pytest.mark.parametrize("key", ["network", "config", "sizes", "descriptor", "tile_size_m"])
def test_a_card_that_lacks_a_field_names_it(card: Card, key: str):
    raw = json.loads(card_to_json(card))
    del raw[key]
    with pytest.raises(UserError, match=key):
        card_from_json(json.dumps(raw), name="x")


def test_a_missing_checkpoint_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"no checkpoint .*gone\.safetensors"):
        read_card(tmp_path / "gone.safetensors")


def test_a_checkpoint_of_somebody_else_says_it_has_no_card(tmp_path: Path):
    path = tmp_path / "theirs.safetensors"
    save_file({"w": np.zeros(3, np.float32)}, path)
    with pytest.raises(UserError, match=r"theirs\.safetensors .*no card"):
        read_card(path)


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", None),
        (b"{}", 10**12),
        (b"{}", 2**63),
        (b"{", 2),
        (b"[]", None),
        (b"\xff\xff", None),
        (b'{"__metadata__": 3}', None),
    ],
    ids=["empty", "huge", "overflow", "short", "list", "not text", "metadata not an object"],
)
def test_a_file_that_is_no_checkpoint_is_refused_by_name(
    tmp_path: Path, header: bytes, length: int | None
):
    path = with_header(tmp_path / "odd.safetensors", header, length=length)
    with pytest.raises(UserError, match=r"odd\.safetensors is not a Skyfix checkpoint"):
        read_card(path)


def test_a_folder_in_a_checkpoint_s_place_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be read"):
        read_card(tmp_path)
