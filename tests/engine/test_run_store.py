"""The table of runs: an index of folders that can be lost without loss."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from app.cli_parser import make_parser
from app.cli_train import request_of
from app.engine.run_control import RunStatus, held, write_status
from app.engine.run_store import RunStore, compare, runs_folder
from app.engine.runs import read_config, write_config
from app.errors import UserError
from app.train_request import Train


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKYFIX_HOME", str(tmp_path / "home"))
    return RunStore()


def made(folder: Path, **settings) -> Path:
    write_config(Train(folder, Path("data"), **settings))
    return folder


def test_runs_are_found_again_newest_first(store, tmp_path):
    first, second = (store.add(made(tmp_path / name)) for name in "ab")
    assert (store.add(tmp_path / "a"), first != second) == (first, True)
    assert [row.name for row in RunStore().list()] == ["b", "a"]
    assert store.list()[0].run == read_config(tmp_path / "b")


def test_a_run_goes_by_its_number_its_name_or_its_folder(store, tmp_path):
    number = store.add(made(tmp_path / "a"))
    rows = [store.find(key) for key in (str(number), "a", tmp_path / "a")]
    assert {row.path for row in rows} == {tmp_path / "a"}
    unlisted = made(tmp_path / "elsewhere")
    assert store.find(unlisted).path == unlisted
    with pytest.raises(UserError, match="no run missing"):
        store.find("missing")


def test_tags_and_notes_outlive_the_database(store, tmp_path):
    store.add(made(runs_folder() / "a"))
    store.tag(store.find("a"), ["good", " good", "first"])
    store.note(store.find("a"), "größer")
    row = store.find("a")
    assert (row.tags, row.notes) == (("first", "good"), "größer")
    store.path.unlink()
    row = RunStore().find("a")
    assert (row.tags, row.notes) == (("first", "good"), "größer")


def test_a_damaged_database_is_set_aside_and_made_anew(store):
    store.add(made(runs_folder() / "a"))
    store.path.write_bytes(b"this is no database" * 400)
    again = RunStore()
    assert [row.name for row in again.list()] == ["a"]
    assert "damaged" in again.notice
    assert list(store.path.parent.glob("runs.sqlite.damaged-*"))


def test_a_database_with_another_table_of_that_name_is_set_aside_too(store):
    store.path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(store.path) as db:
        db.execute("create table runs (id integer, colour text)")
    db.close()
    made(runs_folder() / "a")
    assert [row.name for row in store.list()] == ["a"]


def test_runs_elsewhere_are_found_by_looking_into_folders(store, tmp_path):
    made(tmp_path / "many" / "x")
    made(tmp_path / "many" / "deep" / "y")
    (tmp_path / "many" / "z").mkdir()
    (tmp_path / "many" / "z" / "config.json").write_text("{}")
    assert store.rebuild([tmp_path / "many"]) == 2
    assert {row.name for row in store.list()} == {"x", "y"}


def test_a_deleted_run_takes_only_its_own_files_with_it(store, tmp_path):
    folder = made(tmp_path / "a")
    for name in ("last.pt", "best.safetensors", "epoch-0001.safetensors", "last.pt.partial"):
        (folder / name).write_bytes(b"x")
    (folder / "mine.txt").write_text("keep")
    store.add(folder)
    store.delete(store.find("a"))
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    assert store.list() == ()
    other = made(tmp_path / "b")
    store.add(other)
    store.delete(store.find("b"))
    assert not other.exists()


def test_a_live_run_is_not_deleted(store, tmp_path):
    folder = made(tmp_path / "a")
    store.add(folder)
    with held(folder):
        write_status(folder, RunStatus("running"))
        with pytest.raises(UserError, match="a is running"):
            store.delete(store.find("a"))
    assert (folder / "config.json").is_file()


def test_a_run_whose_config_is_damaged_is_listed_all_the_same(store, tmp_path):
    folder = made(tmp_path / "a")
    store.add(folder)
    (folder / "config.json").write_text("{")
    assert store.list()[0].run is None


def test_a_folder_that_is_gone_is_not_listed(store, tmp_path):
    store.add(made(tmp_path / "a"))
    (tmp_path / "a" / "config.json").unlink()
    (tmp_path / "a").rmdir()
    assert store.list() == ()


def test_runs_are_compared_by_the_settings_that_differ():
    one = Train(Path("a"), Path("data"), lr=1e-3, overrides={"heads": 2}, title="first")
    two = replace(one, run_dir=Path("b"), lr=1e-4, overrides={"heads": 4}, title="second")
    told = {row.field: row.values for row in compare([one, two])}
    assert told == {"overrides": ({"heads": 2}, {"heads": 4}), "lr": (1e-3, 1e-4)}
    assert compare([one, one]) == ()


def test_a_config_of_an_older_skyfix_is_read(tmp_path):
    folder = made(tmp_path / "a")
    raw = json.loads((folder / "config.json").read_text())
    for name in ("negatives", "recipe", "overrides", "milestones", "imagery"):
        del raw[name]
    raw["neighbour_share"] = 0.25
    (folder / "config.json").write_text(json.dumps(raw))
    run = read_config(folder)
    assert (run.negatives, run.recipe, run.milestones) == ("neighbours", "", ())


def asked(*words: str) -> Train:
    return request_of(make_parser().parse_args(["train", *words]))


def test_every_setting_is_an_option_of_the_command_line():
    run = asked(
        *("--run", "r", "--data", "d", "--recipe", "geoviewmatch", "--lr", "1e-5", "--no-amp"),
        *("--set", "stages=[4]", "--set", "strong=unturned", "--milestones", "3,7.5"),
    )
    assert (run.network, run.lr, run.amp, run.asam_rho) == ("geoviewmatch", 1e-5, False, 2.5)
    assert run.overrides == {"stages": [4], "strong": "unturned"}
    assert run.milestones == (3.0, 7.5)


def test_the_old_options_still_mean_what_they_meant():
    words = "--run r --data d --network mift --preset tiny-drone --epochs 3 --batch-size 8 --lr 0.1"
    words += " --heading-jitter-deg 5 --neighbour-share 0.25 --tile-size-m 60 --title t"
    words += " --licence l --seed 3 --workers 1 --amp --device cpu"
    run = asked(*words.split())
    assert run == Train(
        Path("r"), Path("d"), network="mift", preset="tiny-drone", epochs=3, batch_size=8, lr=0.1,
        heading_jitter_deg=5.0, neighbour_share=0.25, negatives="neighbours", tile_size_m=60.0,
        title="t", licence="l", seed=3, workers=1, amp=True, device="cpu",
    )  # fmt: skip


@pytest.mark.parametrize("words", [["--epochs", "0"], ["--flip", "1"], ["--set", "heads"]])
def test_a_value_out_of_bounds_is_bad_usage(words):
    with pytest.raises(SystemExit):
        asked("--run", "r", "--data", "d", *words)


def test_a_run_without_data_is_refused():
    with pytest.raises(UserError, match="needs --run and --data"):
        asked("--run", "r")
