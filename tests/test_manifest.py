import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import UserError
from app.geo import Area
from app.manifest import (
    MANIFEST_FORMAT,
    MANIFEST_NAME,
    Manifest,
    manifest_to_json,
    read_manifest,
)


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        name="Älvsjö 地図",
        source="../city.tif",
        source_kind="raster",
        licence="CC BY 4.0",
        crs="EPSG:32633",
        gsd_m=0.5,
        tile_size_m=80.0,
        overlap=0.5,
        tiles=12,
        descriptor=512,
        checkpoint="cd" * 32,
        checkpoint_title="Tiny drone",
        query_view="drone",
        area=Area(59.0, 18.0, 59.1, 18.1),
        created="2026-01-01T00:00:00Z",
        code_version="0.1.0",
        skipped=2,
        files={"descriptors.npy": "ef" * 32},
    )


def write(folder: Path, text: str) -> Path:
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
    return folder


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path, manifest: Manifest):
    assert read_manifest(write(tmp_path, manifest_to_json(manifest))) == manifest


def test_a_manifest_is_readable_by_people_in_their_own_letters(manifest: Manifest):
    assert '"name": "Älvsjö 地図"' in manifest_to_json(manifest)


def test_two_manifests_that_differ_are_written_differently(manifest: Manifest):
    assert manifest_to_json(manifest) != manifest_to_json(replace(manifest, tiles=13))


def test_a_folder_without_a_manifest_is_not_a_finished_gallery(tmp_path: Path):
    with pytest.raises(UserError, match="not a finished gallery") as caught:
        read_manifest(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "goes on" in caught.value.hint


def test_a_manifest_of_another_format_is_refused_with_both_numbers(
    tmp_path: Path, manifest: Manifest
):
    raw = {**json.loads(manifest_to_json(manifest)), "format": MANIFEST_FORMAT + 1}
    write(tmp_path, json.dumps(raw))
    with pytest.raises(UserError, match=f"format {MANIFEST_FORMAT + 1}.*{MANIFEST_FORMAT}$"):
        read_manifest(tmp_path)


def test_unknown_keys_of_a_manifest_are_let_by(tmp_path: Path, manifest: Manifest):
    raw = {**json.loads(manifest_to_json(manifest)), "weather": "fair"}
    assert read_manifest(write(tmp_path, json.dumps(raw))) == manifest


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"format": 1, "area": 4}', '{"format": 1, "area": {}}'],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str):
    with pytest.raises(UserError, match=r"manifest\.json|format None") as caught:
        read_manifest(write(tmp_path, text))
    assert caught.value.hint


def test_an_area_off_the_earth_is_a_damaged_manifest(tmp_path: Path, manifest: Manifest):
    raw = json.loads(manifest_to_json(manifest))
    raw["area"]["north"] = 120
    with pytest.raises(UserError, match="damaged"):
        read_manifest(write(tmp_path, json.dumps(raw)))


def test_bytes_that_are_not_text_are_a_damaged_manifest(tmp_path: Path):
    (tmp_path / MANIFEST_NAME).write_bytes(b"\xff\xfe{}")
    with pytest.raises(UserError, match="damaged"):
        read_manifest(tmp_path)
