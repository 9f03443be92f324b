"""The command line's words on clicked objects."""

import json

import pytest

from app.cli import run_command
from app.errors import UserError


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


# --- skyfix object --------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    from tests.engine.block_place import make_gallery

    return make_gallery(tmp_path_factory.mktemp("place"))


@pytest.fixture
def asked(tmp_path, place, monkeypatch):
    """What stands before the clicks on a command line that finds blocks by their colour."""
    import app.engine.locate  # these look at the class as they are loaded: before it changes
    import app.engine.objects  # noqa: F401
    from app.engine import shelf
    from tests.engine.block_place import write_photo
    from tests.engine.stand_in_objects import StandInShelf

    monkeypatch.setattr(shelf, "Shelf", lambda device: StandInShelf(tmp_path / "cache"))
    photo = write_photo(tmp_path)
    return ["object", str(photo), "--gallery", str(place), "--checkpoint", "c.safetensors"]


def tile(place, name="red"):
    from tests.engine.test_objects import tile_near

    return tile_near(place, name)


def test_a_click_is_answered_in_a_table(asked, place, capsys):
    assert run_command([*asked, "--click", "8.5,32.5", "--tile", tile(place)]) == 0
    out = capsys.readouterr().out
    assert "click 1 at 8.5, 32.5 (not calibrated)" in out
    assert out.count(tile(place)) == 5  # the best and four alternatives
    assert "never measured" in out


def test_json_and_files_hold_the_same_boxes(asked, place, tmp_path, capsys):
    from tests.engine.block_place import latlon_of

    kml = tmp_path / "o.kml"
    argv = [*asked, "--click", "8.5,32.5", "--click", "24,32", "--tile", tile(place), "--json"]
    assert run_command([*argv, "--geojson", str(tmp_path / "o.geojson"), "--export", str(kml)]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert len(answer["objects"]) == 2
    best = answer["objects"][0]["boxes"][0]
    assert best["area_m2"] == pytest.approx(best["width_m"] * best["height_m"])
    assert best["centre"]["lat"] == pytest.approx(latlon_of("red")[0], abs=3e-5)
    features = json.loads((tmp_path / "o.geojson").read_text())["features"]
    centres = [f for f in features if f["properties"]["feature"] == "centre"]
    assert centres[0]["geometry"]["coordinates"][1] == pytest.approx(best["centre"]["lat"])
    assert b"object 2, rank 1" in kml.read_bytes()


def test_a_table_of_clicks_is_answered_photo_by_photo(asked, place, tmp_path, capsys):
    table = tmp_path / "clicks.csv"
    table.write_text(
        "photo,x,y,tile\n"
        f"photo-64x64.png,8.5,32.5,\nphoto-64x64.png,24,32,{tile(place, 'green')}\n"
        f"gone.png,1,1,\nphoto-64x64.png,8,32,\n"
    )
    argv = ["object", "--clicks", str(table), *asked[2:], "--tile", tile(place), "--json"]
    assert run_command(argv) == 1  # one photo is missing, the others are answered
    captured = capsys.readouterr()
    answers = json.loads(captured.out)
    assert [len(answer["objects"]) for answer in answers] == [2, 1]
    assert answers[1]["references"][0]["tile"] == tile(place, "green")
    assert "gone.png" in captured.err


def test_a_click_that_makes_no_sense_costs_no_other_of_its_photo(asked, place, capsys):
    argv = [*asked, "--tile", tile(place), "--json"]
    for click in ("8.5,32.5", "99,8", "24,32", "8,-3"):
        argv.append(f"--click={click}")
    assert run_command(argv) == 1
    captured = capsys.readouterr()
    (answer,) = json.loads(captured.out)
    assert [one["click"] for one in answer["objects"]] == [[8.5, 32.5], [24.0, 32.0]]
    assert "99, 8" in captured.err
    assert "8, -3" in captured.err
    assert run_command([*argv[:-4], "--click=99,8", "--click=8,-3"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == []
    assert captured.err.count("outside") == 2


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "no click"),
        (["--click", "8,8"], "where the photo was taken"),
        (["--click", "8,8", "--clicks", "x.csv"], "either a photo"),
        (["--click", "99,8", "--tile", "r000c000"], "outside"),
    ],
)
def test_what_is_missing_or_wrong_is_said(more, told, asked, capsys):
    assert run_command([*asked, *more]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("photo,x\na,1\n", "lacks the column y"),
        ("photo,x,y\na,1,two\n", "line 2: x and y must be numbers"),
        ("photo,x,y\na,1,inf\n", "line 2"),
        ("photo,x,y\n", "no clicks"),
    ],
)
def test_a_wrong_table_of_clicks_is_named_with_its_line(text, told, tmp_path):
    from app.cli_objects import read_clicks

    table = tmp_path / "clicks.csv"
    table.write_text(text)
    with pytest.raises(UserError, match=told):
        read_clicks(table)


def test_a_click_that_is_no_pair_of_numbers_is_bad_usage(asked, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_command([*asked, "--click", "8;8"])
    assert stopped.value.code == 2
    assert "320,240" in capsys.readouterr().err


@pytest.mark.slow
def test_with_a_locator_the_photo_is_located_first(tmp_path, capsys, monkeypatch):
    import app.engine.locate
    import app.engine.objects  # noqa: F401
    from app.engine import shelf
    from tests.engine.small_town import make_town
    from tests.engine.stand_in_objects import ColourFinder, StandInShelf, object_card

    town = make_town(tmp_path / "town")
    network = ColourFinder()
    card = object_card(network, tile_size_m=64.0)
    made = StandInShelf(tmp_path / "cache", network, card)
    monkeypatch.setattr(shelf, "Shelf", lambda device: made)
    photo = town.photo(38, 0.0)
    argv = ["object", str(photo), "--click", "128,128", "--gallery", str(town.gallery)]
    argv += ["--checkpoint", "c", "--locator", str(town.checkpoint), "--top", "3", "--json"]
    assert run_command([*argv, "--export", str(tmp_path / "a.geojson")]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["references"][0]["tile"] == town.open().ids[38]
    assert len(answer["references"]) == 3
    kinds = [
        f["properties"]["feature"]
        for f in json.loads((tmp_path / "a.geojson").read_text())["features"]
    ]
    assert {"candidate", "object"} <= set(kinds)


@pytest.mark.slow
def test_calibrating_keeps_figures_and_temperature_in_the_card(tmp_path, capsys):
    import torch

    from app.card import Card, Metric, read_card
    from app.engine.checkpoints import save_checkpoint
    from app.models.build import create_object, preset_config
    from tests.engine.click_folder import write_clicks

    torch.manual_seed(0)
    config = preset_config("attengeo", "smallest")
    network = create_object("attengeo", config)
    sizes = {view: network.input_size(view) for view in ("drone", "satellite")}
    old = (Metric("mean IoU", 0.9, "elsewhere"), Metric("epochs", 3, "run"))
    card = Card("attengeo", config, "fresh", "object", "drone", sizes, 0, 100.0, metrics=old)
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, network, card)
    folder = write_clicks(tmp_path / "blocks", train=1, val=20)
    assert run_command(["checkpoint", "calibrate", str(path), "--objects", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "on blocks val, 20 clicks" in out
    kept = read_card(path)
    assert kept.calibration is not None
    figures = {metric.name: metric for metric in kept.metrics}
    assert figures["epochs"].value == 3
    assert figures["mean IoU"].data == "blocks val, 20 clicks"
    assert f"{figures['mean IoU'].value:.3f}" in out
