"""The command line as a user meets it, in this process; what the engine does is tested there."""

import json
import shutil
from pathlib import Path

import pytest

from app.cli import _progress, run_command
from app.messages import DeviceChanged
from app.paths import demo
from app.ui.demo_cases import demo_case

CASE = demo_case("drone")
WITH = ["--gallery", str(CASE.gallery), "--checkpoint", str(CASE.checkpoint), "--device", "cpu"]


@pytest.fixture
def photo():
    return min(CASE.photos.glob("*.jpg"))


def test_a_bad_photo_is_named_and_the_others_still_run(capsys, tmp_path, photo):
    shutil.copyfile(photo, tmp_path / "good.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no photo")
    assert run_command(["locate", str(tmp_path), *WITH, "--json"]) == 1
    told = capsys.readouterr()
    assert [a["query"]["photo"] for a in json.loads(told.out)] == [str(tmp_path / "good.jpg")]
    assert "bad.jpg is empty" in told.err
    assert f"skipped {tmp_path / 'notes.txt'}: is not a picture" in told.err


def test_what_the_user_can_mend_is_told_without_a_traceback(capsys, photo):
    street = str(demo_case("street").gallery)
    args = ["locate", str(photo), *WITH]
    args[args.index("--gallery") + 1] = street
    assert run_command(args) == 1
    assert "was built with the checkpoint" in capsys.readouterr().err
    assert run_command(["evaluate", "--checkpoint", str(CASE.checkpoint)]) == 1
    assert "needs data" in capsys.readouterr().err


@pytest.mark.parametrize("what", [["--top-k", "0"], ["--turns", "-3"], ["--device"]])
def test_options_that_make_no_sense_are_bad_usage(capsys, photo, what):
    with pytest.raises(SystemExit) as ended:
        run_command(["locate", str(photo), *WITH, *what])
    assert ended.value.code == 2


def test_a_gallery_tells_of_itself(capsys):
    assert run_command(["gallery", "info", str(CASE.gallery)]) == 0
    assert "Demo city (drone)" in capsys.readouterr().out


def test_a_truth_table_gives_recall(capsys):
    args = ["evaluate", *WITH, "--photos", str(demo() / "drone"), "--json"]
    assert run_command(args) == 0
    metrics = {m["name"]: m["value"] for m in json.loads(capsys.readouterr().out)}
    assert metrics["R@1"] > 0.2  # chance is 0.002
    assert metrics["R@1"] <= metrics["R@5"] <= metrics["R@10"]


def test_a_change_of_device_is_printed_where_it_happens(capsys):
    with _progress() as report:
        report(DeviceChanged("cpu", "the memory of cuda:0 is full", (Path("c"),)))
    assert capsys.readouterr().err == "on cpu now: the memory of cuda:0 is full\n"
