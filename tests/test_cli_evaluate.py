"""``skyfix evaluate`` as a user meets it: in one go, in two steps, compared, browsed."""

import json
from pathlib import Path

import pytest

from app import paths
from app.cli import run_command
from app.cli_evaluate import result_table
from app.results import EvaluationResult, Measure, Reliability, Threshold
from tests.engine.made_data_sets import write_university
from tests.engine.pair_folder import write_pairs
from tests.engine.small_town import make_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(
        make_checkpoint(tmp_path_factory.mktemp("c") / "drone.safetensors", "drone", (64, 64))
    )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return str(write_pairs(tmp_path_factory.mktemp("pairs"), train=1, val=6))


def run(*args):
    return run_command(["evaluate", *map(str, args)])


def test_both_steps_in_one_go_print_what_the_two_print(capsys, checkpoint, pairs, tmp_path):
    with_ = ["--checkpoint", checkpoint, "--data", pairs, "--device", "cpu"]
    assert run(*with_, "-o", tmp_path / "a", "--resamples", 20, "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert run("describe", *with_, "-o", tmp_path / "b") == 0
    folders = capsys.readouterr().out.split()
    assert len(folders) == len(whole) == 2
    assert run("score", *folders, "--resamples", 20, "--json") == 0
    apart = json.loads(capsys.readouterr().out)
    for one, two in zip(whole, apart, strict=True):
        assert one["measures"] == two["measures"]
        assert one["test"] == two["test"]
    assert run("score", folders[0], "--metrics", "R@1,AP") == 0
    told = capsys.readouterr().out
    assert "R@1 " in told
    assert "R@5" not in told
    assert run("score", folders[0], "--metrics", "R@7") == 1
    assert "There is no figure R@7" in capsys.readouterr().err
    assert run("compare", tmp_path / "a" / folders[0].rpartition("/")[2], folders[0]) == 0
    assert "McNemar's exact test of R@1: 0 for the first, 0 for the second" in (
        capsys.readouterr().out
    )
    assert run("errors", folders[0]) == 0
    assert "0 queries were not found" in capsys.readouterr().out
    assert run("map", folders[0]) == 0
    assert "the two main axes" in capsys.readouterr().out


def test_published_rows_stand_beside_our_own(capsys, checkpoint, tmp_path):
    data = write_university(tmp_path / "university")
    asked = ["--checkpoint", checkpoint, "--data", data, "--test", "drone to satellite"]
    assert run(*asked, "-o", tmp_path / "out", "--table", "--device", "cpu", "--resamples", 5) == 0
    told = capsys.readouterr().out
    row = next(line for line in told.splitlines() if line.startswith("MIFT"))
    assert "87.84%" in row
    assert "89.62%" in row
    assert "this checkpoint" in told


def test_the_descriptors_have_a_place_of_their_own_if_none_is_given(capsys, checkpoint, pairs):
    asked = ["describe", "--checkpoint", checkpoint, "--data", pairs, "--device", "cpu"]
    assert run(*asked) == 0
    known = capsys.readouterr().out.split()
    assert run(*asked, "--heading", "unknown", "--turns", 2) == 0
    assert set(known).isdisjoint(capsys.readouterr().out.split())
    assert all(Path(folder).parent.parent == paths.evaluations() for folder in known)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--data", "x"], "needs --checkpoint"),
        (["--checkpoint", "c"], "needs data"),
        (["score", "nowhere"], "not a finished evaluation"),
    ],
)
def test_what_is_missing_is_told(capsys, args, told):
    assert run(*args) == 1
    assert told in capsys.readouterr().err


def test_the_table_tells_all_that_a_result_holds():
    measures = (
        Measure("R@1", 0.5, 0.4, 0.6, chance=0.01),
        Measure("median error", 12.34, 10.0, 15.0, unit="m", note="of rank 1"),
    )
    result = EvaluationResult(
        "retrieval", "made up", "drone to satellite", "pairs", "headings as given", "ab", "A title",
        "mift", 10, 20, measures,
        reliability=Reliability(0.03, "the checkpoint's card", 10, 0.08, ()),
        thresholds=(Threshold(0.05, 0.71, 0.4),), notes=("3 queries are odd",),
    )  # fmt: skip
    table = result_table(result, published_rows=True)
    for line in (
        "A title on made up, drone to satellite: 10 queries, 20 in the gallery",
        "50.00%   (40.00% to 60.00%)   chance 1.0%",
        "12.3 m   (10.0 m to 15.0 m)   of rank 1",
        "8.0%   temperature 0.0300, the checkpoint's card",
        "answers above score 0.710: 40.0% found, with 5% of absent places answered",
        "note: 3 queries are odd",
        "nothing is published for this test",
    ):
        assert line in table
