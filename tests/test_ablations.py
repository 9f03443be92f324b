import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from app.engine.datasets.click_table import COLUMNS, OBJECTS_NAME
from app.engine.world import write_rows
from app.models.build import create_network
from benchmarks import ablations
from benchmarks.ablation_data import Cities, constant_guess, folder_of, hold_out, render
from benchmarks.ablation_report import (
    STUDENT,
    Effect,
    Measured,
    lines,
    paper_sign,
    report,
    tally,
)
from benchmarks.ablation_tables import METHODS, Contrast, Method, Row, scaled
from benchmarks.ablations import Trial, attempt, read_found, start_of, to_do

MADE = Method(
    name="made",
    network="mift",
    preset="smallest",
    cities=Cities("made", "drone"),
    base={"part_width": 16},
    rows={
        "whole": Row(),
        "less": Row({"fusion": False}),
        "other": Row(samples=3),
        "same": Row({"part_width": 16}),
    },
    contrasts=(
        Contrast("1", "less", "whole", same=(70.0, 80.0)),
        Contrast("1", "other", "whole", same=(80.0, 70.0), cross=(10.0, 20.0)),
        Contrast("text", "same", "whole", claim="-"),
    ),
    full="whole",
    published="nothing",
    left_out=("what cannot be done",),
    epochs=6,
    lr=1e-3,
    batch_size=4,
    samples=2,
)


def measured(same, cross):
    figures = {
        "same": {"R@1": same, "AP plain": same / 2},
        "cross": {"R@1": cross, "AP plain": cross / 2},
    }
    return Measured(figures, {"same": 0.01, "cross": 0.01}, 60.0)


FOUND = {
    **{("whole", seed): measured(0.5 + seed / 100, 0.3) for seed in range(3)},
    ("less", 0): measured(0.40, 0.31),
    ("less", 1): measured(0.42, 0.29),
    ("less", 2): measured(0.41, 0.30),
    ("other", 0): measured(0.45, 0.20),
    ("other", 1): measured(0.46, 0.21),
    ("other", 2): measured(0.47, 0.19),
}


def test_an_effect_is_the_mean_of_the_seeds_with_students_interval():
    one = Effect((0.02, 0.04, 0.06))
    assert one.mean == pytest.approx(0.04)
    assert one.half == pytest.approx(4.303 * 0.02 / math.sqrt(3))
    assert one.sign == "+"
    assert one.alike("+") == 3


@pytest.mark.parametrize(
    ("differences", "sign", "verdict"),
    [
        ((0.10, 0.11, 0.12), "+", "agrees"),
        ((0.10, 0.11, 0.12), "-", "disagrees"),
        ((-0.10, -0.11, -0.12), "-", "agrees"),
        ((0.02, 0.04, 0.06), "+", "undecided"),  # ± 0.0497
        ((-0.10, 0.11, 0.12), "+", "undecided"),
        ((0.0, 0.0, 0.0), "+", "undecided"),
        ((0.10,), "+", "undecided"),  # one seed says nothing of chance
        ((0.03, 0.03, 0.03), "+", "agrees"),
    ],
)
def test_an_effect_whose_interval_holds_zero_is_undecided(differences, sign, verdict):
    assert Effect(differences).verdict(sign) == verdict


def test_more_seeds_than_the_table_has_take_its_last_and_widest_step():
    many = Effect(tuple(0.01 * n for n in range(15)))
    assert many.half == pytest.approx(STUDENT[-1] * 0.0447214 / math.sqrt(15), rel=1e-4)


def test_a_paper_with_one_kind_of_test_lends_its_sign_to_the_other():
    less, other, same = MADE.contrasts
    assert [paper_sign(less, area) for area in ("same", "cross")] == ["-", "-"]
    assert [paper_sign(other, area) for area in ("same", "cross")] == ["+", "-"]
    assert paper_sign(same, "cross") == "-"


def test_effects_are_counted_beside_the_papers_signs():
    rows = lines(MADE, FOUND, (0, 1, 2))
    # "less" falls by 10 points where it learnt (agrees) and by none elsewhere (undecided);
    # "other" falls in both, as the paper has it in one; "same" was not measured.
    counted = tally(rows, 0)
    assert (counted.agrees, counted.disagrees, counted.undecided) == (2, 1, 1)
    assert counted.missing == 2
    assert counted.mean_agrees == 2


def test_only_seeds_that_both_rows_have_are_compared():
    few = {key: one for key, one in FOUND.items() if key != ("less", 1)}
    first = lines(MADE, few, (0, 1, 2))[0].effects[0]
    assert first.differences == pytest.approx((-0.10, -0.11))


def test_the_report_tells_figures_verdicts_counts_and_what_is_left_out():
    text = "\n".join(report({"made": FOUND}, [MADE], (0, 1, 2)))
    assert "whole, same-area: R@1 51.0 (50.0 to 52.0), MRR 25.5" in text
    line = next(row for row in text.splitlines() if "less" in row and " same " in row)
    assert "70.00 - 80.00" in line
    assert "-10.0" in line
    assert "agrees" in line
    assert "3/3" in line
    other_kind = next(row for row in text.splitlines() if "less" in row and "cross" in row)
    assert "(70.00 - 80.00)" in other_kind
    assert "R@1: 2 agree, 1 disagree, 1 undecided of 4" in text
    assert "left out: what cannot be done" in text
    assert "9 rows measured, 9 core-minutes" in text
    assert "HAS NOT LEARNT" not in text


def test_a_network_that_has_not_learnt_is_named():
    found = {("whole", 0): measured(0.02, 0.2)}
    rows = list(report({"made": found}, [MADE], (0,)))
    told = [row for row in rows if "HAS NOT LEARNT" in row]
    assert len(told) == 1
    assert "same-area" in told[0]


# --- what is run ------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setitem(METHODS, "made", MADE)
    return MADE


def trials(work, epochs=None, seeds=(0, 1)):
    return [
        Trial("made", row, seed, MADE.epochs_of(row, epochs), work)
        for seed in seeds
        for row in MADE.rows
    ]


def write_figures(trial):
    told = {"figures": {"same": {"R@1": 0.5}}, "chance": {"same": 0.1}, "seconds": 1.0}
    trial.kept.parent.mkdir(parents=True, exist_ok=True)
    trial.kept.write_text(json.dumps(told))


def test_rows_that_are_one_network_are_trained_once(made, tmp_path):
    todo = to_do(trials(tmp_path))
    assert [(one.row, one.seed) for one in todo] == [
        (row, seed) for seed in (0, 1) for row in ("whole", "less", "other")
    ]


def test_finished_runs_are_skipped_and_read_for_every_row_that_they_are(made, tmp_path):
    everything = trials(tmp_path)
    write_figures(everything[0])
    assert ("whole", 0) not in {(one.row, one.seed) for one in to_do(everything)}
    assert len(to_do(everything)) == 5
    assert set(read_found(everything)["made"]) == {("whole", 0), ("same", 0)}


def test_figures_of_other_settings_are_not_taken(made, tmp_path):
    write_figures(trials(tmp_path)[0])
    assert len(to_do(trials(tmp_path, epochs=3))) == 6
    assert read_found(trials(tmp_path, epochs=3)) == {"made": {}}


def test_rows_with_more_samples_have_fewer_epochs(made):
    assert [MADE.epochs_of(row) for row in ("whole", "other")] == [6, 4]


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda one: one.name)
def test_every_row_builds_and_is_another_network_than_the_whole(method):
    whole = method.config(method.full), method.samples_of(method.full)
    alike = {row for row in method.rows if (method.config(row), method.samples_of(row)) == whole}
    assert alike == {method.full}
    for row in method.rows:
        config = method.config(row)
        if config.get("anchors") == "clustered":
            config["anchors"] = ((9.0, 9.0),) * ablations.ANCHORS
        with torch.device("meta"):
            create_network(method.network, config)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda one: one.name)
def test_every_row_is_compared_and_what_is_compared_is_a_row(method):
    named = {name for one in method.contrasts for name in (one.row, one.against)}
    assert named == set(method.rows)
    assert all(one.claim in "+-" if one.claim else one.figures("same") for one in method.contrasts)


def test_all_rows_of_a_method_learn_from_about_as_many_pictures():
    method = METHODS["mift"]
    visits = [method.epochs_of(row) * method.samples_of(row) for row in method.rows]
    assert max(visits) / min(visits) < 1.06
    assert all(method.batch_size % method.samples_of(row) == 0 for row in method.rows)


def test_a_part_that_stands_alone_has_the_length_of_the_whole_descriptor():
    base = {"global_width": 224, "local_width": 32, "prompts": "global"}
    paper = {"global_width": 0, "local_width": 2048, "prompts": "initial"}
    assert scaled(paper, base) == {"global_width": 0, "local_width": 256, "prompts": "initial"}


def test_no_clicked_object_of_the_test_is_learnt_from():
    rows = [
        {"world": "1", "lat": str(thing), "lon": "0", "split": "train"} for thing in (7, 8, 9, 7, 6)
    ]
    once = hold_out(rows, 2, "same")
    assert [(row["lat"], row["split"]) for row in once] == [
        ("7", "val"), ("8", "val"), ("9", "train"), ("6", "train"),
    ]  # fmt: skip
    assert hold_out(once, 2, "same") == once
    assert {row["split"] for row in hold_out(rows, 2, "cross")} == {"val"}


def test_the_constant_guess_is_the_median_of_the_learnt_boxes(tmp_path):
    cities = Cities("clicks", "drone", objects=True)
    boxes = [("train", 10), ("train", 20), ("train", 90), ("val", 21), ("val", 60)]
    rows = [dict.fromkeys(COLUMNS, "1") | {"split": split} for split, _ in boxes]
    folder = folder_of(tmp_path, cities, "same")
    folder.mkdir(parents=True)
    for row, (_, left) in zip(rows, boxes, strict=True):
        row |= {"query": "q.jpg", "satellite": "s.jpg", "view": "drone", "kind": "perspective"}
        row |= {"left": left, "top": 10, "right": left + 10, "bottom": 20}
    for name in ("q.jpg", "s.jpg"):
        (folder / name).touch()
    write_rows(folder / OBJECTS_NAME, rows, COLUMNS)
    assert constant_guess(tmp_path, cities, "same", 0.5) == 0.5  # 9 of 11 pixels, and none


@pytest.mark.slow
def test_a_start_knows_imagenet_in_its_trunk_and_is_fresh_by_its_seed_elsewhere(tmp_path):
    starts = [
        load_file(start_of(Trial("attengeo-drone", "baseline", seed, epochs, tmp_path)))
        for seed, epochs in ((0, 1), (1, 1), (0, 2))
    ]
    for name, value in starts[0].items():
        assert torch.equal(value, starts[2][name]), name
        if name.startswith("trunk."):
            assert torch.equal(value, starts[1][name]), name
    assert not torch.equal(*(start["head.0.conv.weight"] for start in starts[:2]))
    assert starts[0]["trunk.net.conv_stem.weight"].std() > 0.1  # fresh ones: 0.08


@pytest.mark.slow
def test_two_runs_on_a_small_world_give_a_report(made, monkeypatch, tmp_path):
    cities = replace(
        MADE.cities,
        first_seed=3,
        training=1,
        others=1,
        learnt=6,
        held=3,
        unseen=4,
        photos=2,
        apart_m=5.0,
        size_m=300.0,
        gsd_m=1.0,
    )
    monkeypatch.setitem(METHODS, "made", replace(MADE, cities=cities, epochs=2))
    render(tmp_path, cities)
    table = folder_of(tmp_path, cities, "same") / "pairs.csv"
    assert len(table.read_text().splitlines()) == 1 + 3 + 6 * 2
    before = table.stat().st_mtime_ns
    render(tmp_path, cities)
    assert table.stat().st_mtime_ns == before  # every city was there
    chosen = [one for one in trials(tmp_path, 2, seeds=(0,)) if one.row in ("whole", "less")]
    for trial in chosen:
        assert attempt(trial)[1] == ""
        assert trial.kept.is_file()
        assert not trial.run_dir.exists()
    assert to_do(chosen) == []
    found = read_found(chosen)
    text = "\n".join(report(found, [METHODS["made"]], (0,)))
    assert "2 rows measured" in text
    assert "chance 33.3" in text  # same-area: three tiles
