"""The command line's words on clicked objects."""

import pytest

from app.cli import run_command


def test_pairs_and_objects_are_not_mixed_in_one_folder(tmp_path, capsys):
    seeds = ["--train-seeds", "1", "--val-seeds", "2"]
    argv = ["world", str(tmp_path / "w"), "--pairs", "3", "--objects", "3", *seeds]
    assert run_command(argv) == 1
    assert "different folders" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


def test_objects_need_cities_to_hold_out(tmp_path, capsys):
    assert run_command(["world", str(tmp_path), "--objects", "3", "--train-seeds", "1"]) == 1
    assert "--val-seeds" in capsys.readouterr().err


@pytest.mark.slow
def test_the_world_command_writes_a_folder_of_both_splits(tmp_path, capsys, monkeypatch):
    from app.engine import world_objects
    from app.engine.datasets.clicks import read_click_pairs
    from app.engine.world import make_world

    monkeypatch.setattr(
        world_objects,
        "make_world",
        lambda seed, **_: make_world(seed, size_m=320.0, gsd_m=0.8, photo_days=1),
    )
    seeds = ["--train-seeds", "1", "--val-seeds", "2"]
    argv = ["world", str(tmp_path), "--objects", "1", "--view", "street", *seeds]
    assert run_command(argv) == 0
    assert [len(read_click_pairs(tmp_path, split)) for split in ("train", "val")] == [1, 1]
