import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from app.settings import Settings, load_settings, save_settings, settings_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


def test_without_a_file_the_defaults_stand_and_nothing_is_said(file: Path):
    assert load_settings(file) == (Settings(), ())


def test_settings_come_back_as_they_were_saved(file: Path):
    mine = Settings(
        theme="dark",
        checkpoint="/data/Überblick 東京.safetensors",
        recent_photos=("a.jpg", "b.jpg"),
        top_k=7,
        turns=24,
        use_heading=False,
        heatmap_opacity=0.25,
    )
    save_settings(mine, file)
    assert load_settings(file) == (mine, ())


def test_a_folder_that_cannot_be_made_is_named_and_the_defaults_stand(monkeypatch, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SKYFIX_HOME", str(tmp_path / "file"))
    settings, said = load_settings()
    assert settings == Settings()
    assert str(tmp_path / "file") in said[0]


BAD = {
    "theme": "purple",
    "checkpoint": 3,
    "gallery": None,
    "recent_galleries": "one",
    "recent_checkpoints": [1],
    "recent_photos": {"a": 1},
    "object_checkpoints": {"satellite": "a.safetensors"},
    "top_k": 0,
    "turns": 73,
    "use_heading": "yes",
    "heatmap_opacity": 1.5,
    "device": 0,
    "execution": "tensorrt",
}


def test_the_bad_values_below_cover_every_setting():
    assert set(BAD) == {f.name for f in fields(Settings)}


@pytest.mark.parametrize(("name", "value"), BAD.items())
def test_a_bad_value_is_named_and_costs_no_other(file: Path, name: str, value: object):
    good = {"top_k": 5, "theme": "light", "device": "cpu"}
    file.write_text(json.dumps({**good, name: value}), encoding="utf-8")
    settings, complaints = load_settings(file)
    expected = replace(Settings(), **{k: v for k, v in good.items() if k != name})
    assert settings == expected
    assert len(complaints) == 1
    assert name in complaints[0]
    assert repr(value) in complaints[0]


@pytest.mark.parametrize("value", [True, 2.5, "20"])
def test_a_number_of_ranks_is_a_whole_number(file: Path, value: object):
    file.write_text(json.dumps({"top_k": value}), encoding="utf-8")
    settings, complaints = load_settings(file)
    assert settings.top_k == Settings().top_k
    assert len(complaints) == 1


def test_keys_of_a_newer_program_stay_in_the_file(file: Path):
    file.write_text(json.dumps({"top_k": 5, "of_the_future": [1, 2]}), encoding="utf-8")
    settings, complaints = load_settings(file)
    assert complaints == ()
    save_settings(replace(settings, top_k=6), file)
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["of_the_future"] == [1, 2]
    assert kept["top_k"] == 6


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '"x"'])
def test_a_damaged_file_is_named_and_the_defaults_stand(file: Path, text: str):
    file.write_text(text, encoding="utf-8")
    settings, complaints = load_settings(file)
    assert settings == Settings()
    assert len(complaints) == 1
    assert str(file) in complaints[0]


def test_a_file_that_is_not_text_is_named_and_the_defaults_stand(file: Path):
    file.write_bytes(b"\xff\xfe\x00")
    settings, complaints = load_settings(file)
    assert settings == Settings()
    assert str(file) in complaints[0]


def test_saving_over_a_damaged_file_mends_it(file: Path):
    file.write_text("{", encoding="utf-8")
    save_settings(Settings(top_k=3), file)
    assert load_settings(file) == (Settings(top_k=3), ())


def test_a_save_that_fails_leaves_the_old_settings(file: Path, monkeypatch):
    save_settings(Settings(top_k=3), file)

    def full(self: Path, text: str, **_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            save_settings(Settings(top_k=4), file)
    assert load_settings(file) == (Settings(top_k=3), ())


def test_settings_live_in_the_home_that_was_asked_for(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SKYFIX_HOME", str(tmp_path))
    assert settings_file().is_relative_to(tmp_path)
    save_settings(Settings(top_k=9))
    assert load_settings()[0].top_k == 9
