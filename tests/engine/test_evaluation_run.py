"""Both steps on tiny data sets in their real layouts: files, figures, stopping and going on."""

import hashlib
import json

import numpy as np
import pytest

from app.engine.checkpoints import Checkpoint
from app.engine.datasets.catalog import open_data_set
from app.engine.evaluation import evaluate_pairs
from app.engine.evaluation_compare import compare
from app.engine.evaluation_errors import browse
from app.engine.evaluation_files import GALLERY, MANIFEST, QUERIES, open_described, read_manifest
from app.engine.evaluation_rows import read_rows
from app.engine.evaluation_run import describe, evaluate, score_folder
from app.engine.shelf import Shelf
from app.engine.worker import _Engine, run
from app.errors import UserError
from app.messages import (
    BrowseErrors,
    Cancelled,
    Compare,
    Compared,
    ErrorsBrowsed,
    Evaluate,
    Evaluated,
    JobCancelled,
    Progress,
    Project,
    Projected,
    Score,
    ignore,
)
from app.results import read_result
from tests.engine import brute_force as slow
from tests.engine import made_data_sets as made
from tests.engine.pair_folder import HEADER, ground, photographed, save, write_pairs, write_table
from tests.engine.small_town import make_checkpoint


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    sizes = {"drone": (64, 64), "street": (32, 128)}
    return {v: make_checkpoint(folder / f"{v}.safetensors", v, sizes[v]) for v in sizes}


@pytest.fixture
def shelf(tmp_path):
    return Shelf("cpu", tmp_path / "cache")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"), train=2, val=9)


def value(result, name):
    return result.measure(name).value


def full_scores(folder):
    """All cosines of a described folder, without blocks."""

    def unit(name):
        rows = np.load(folder / name, allow_pickle=False).astype(np.float64)
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    return np.einsum("qtd,nud->qtnu", unit(QUERIES), unit(GALLERY)).max(axis=(1, 3))


# --- figures -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "view", "tests"),
    [
        (made.write_university, "drone", ["drone to satellite", "satellite to drone"]),
        (made.write_denseuav, "drone", ["drone to satellite", "satellite to drone"]),
        (made.write_cvusa, "street", ["street to satellite"]),
        (made.write_cvact, "street", ["val", "test", "test, within 5 m"]),
        (made.write_vigor, "street", ["same area"]),
    ],
)
def test_each_data_set_is_described_and_scored_from_its_own_layout(
    write, view, tests, checkpoints, shelf, tmp_path
):
    data = write(tmp_path / "data")
    request = Evaluate(checkpoints[view], data, tmp_path / "out", resamples=20)
    done = evaluate(request, shelf)
    assert [result.test for result in done.results] == tests
    for folder, result, test in zip(
        done.folders, done.results, open_data_set(data).tests, strict=True
    ):
        assert read_result(folder) == result
        assert (result.queries, result.gallery) == (len(test.queries), len(test.gallery))
        scores = full_scores(folder)
        orders = [slow.order_of(row) for row in scores.round(6)]
        for k in (1, 5):
            found = np.mean(
                [
                    any(j in right for j in order[:k])
                    for order, right in zip(orders, test.positives, strict=True)
                ]
            )
            assert value(result, f"R@{k}") == pytest.approx(found)
        assert all(m.low - 1e-9 <= m.value <= m.high + 1e-9 for m in result.measures)


def test_a_pair_folder_gives_what_the_evaluation_in_one_go_gives(
    checkpoints, shelf, pairs, tmp_path
):
    for headings in ("known", "unknown"):
        request = Evaluate(
            checkpoints["drone"], pairs, tmp_path / headings, tests=("drone to satellite",),
            headings=headings, turns=6 if headings == "unknown" else None, resamples=5,
        )  # fmt: skip
        (result,) = evaluate(request, shelf).results
        whole = evaluate_pairs(
            shelf.checkpoint(checkpoints["drone"]), pairs, headings=headings,
            turns=6 if headings == "unknown" else None,
        )  # fmt: skip
        for metric in whole.metrics():
            name = {"median_m": "median error"}.get(metric.name, metric.name)
            assert value(result, name) == pytest.approx(metric.value), name


def test_a_view_that_the_checkpoint_does_not_know_is_refused(checkpoints, shelf, pairs, tmp_path):
    with pytest.raises(UserError, match="locates street photos"):
        evaluate(Evaluate(checkpoints["street"], pairs, tmp_path), shelf)


def test_a_test_that_is_not_there_is_told_with_those_that_are(checkpoints, shelf, pairs, tmp_path):
    request = Evaluate(checkpoints["drone"], pairs, tmp_path, tests=("street to satellite",))
    with pytest.raises(UserError, match="has no test street") as told:
        evaluate(request, shelf)
    assert "drone to satellite" in told.value.hint


def test_an_unknown_heading_in_a_pair_folder_cannot_be_taken_as_known(checkpoints, shelf, tmp_path):
    for name in ("query", "satellite"):
        save(tmp_path / "data" / name / "0.png", ground(0))
    row = ["query/0.png", "satellite/0.png", "val", 0, "", "", "", "drone", "perspective", ""]
    write_table(tmp_path / "data", [row], HEADER)
    with pytest.raises(UserError, match=r"heading of .* is not known"):
        evaluate(Evaluate(checkpoints["drone"], tmp_path / "data", tmp_path / "out"), shelf)


def test_a_card_s_temperature_is_judged_on_all_queries_and_a_fitted_one_on_the_others(
    checkpoints, shelf, pairs, tmp_path
):
    from app.card import Calibration

    request = Evaluate(checkpoints["drone"], pairs, tmp_path / "a", resamples=5)
    fitted = evaluate(request, shelf).results[0].reliability
    assert (fitted.source, fitted.queries) == ("fitted on every second query", 4)
    own = make_checkpoint(
        tmp_path / "own.safetensors", "drone", (64, 64), calibration=Calibration(0.05, "made up")
    )
    judged = evaluate(Evaluate(own, pairs, tmp_path / "b", resamples=5), shelf).results[0]
    assert judged.reliability.temperature == 0.05
    assert (judged.reliability.source, judged.reliability.queries) == ("the checkpoint's card", 9)
    assert sum(b.count for b in judged.reliability.bins) == 9


# --- the folder --------------------------------------------------------------


def test_scoring_again_needs_no_network_and_no_picture(checkpoints, shelf, tmp_path):
    import shutil

    pairs = write_pairs(tmp_path / "pairs", train=2, val=6)
    request = Evaluate(checkpoints["drone"], pairs, tmp_path / "out", resamples=5)
    done = evaluate(request, shelf)
    shutil.rmtree(pairs)
    again = score_folder(Score(done.folders[0], resamples=5))
    assert again.results[0].measures == done.results[0].measures


def test_what_is_described_already_is_only_scored(checkpoints, shelf, pairs, tmp_path):
    request = Evaluate(checkpoints["drone"], pairs, tmp_path / "out", resamples=5)
    evaluate(request, shelf)
    told = []
    evaluate(request, shelf, told.append)
    assert not any("describing" in body.note for body in told)


class Stop:
    """A report that cancels at the n-th picture block."""

    def __init__(self, after):
        self.left, self.done = after, []

    def __call__(self, body):
        if isinstance(body, Progress) and body.note.startswith("describing"):
            self.done.append((body.note, body.done))
            self.left -= 1
            if self.left == 0:
                raise JobCancelled


def test_a_stopped_description_goes_on_where_it_stopped(
    checkpoints, shelf, pairs, tmp_path, monkeypatch
):
    monkeypatch.setattr("app.engine.evaluation_describe.BLOCK", 4)
    out = tmp_path / "out"
    request = Evaluate(checkpoints["drone"], pairs, out, tests=("drone to satellite",))
    with pytest.raises(JobCancelled):
        describe(request, shelf, Stop(2))
    assert list(out.iterdir()) == [out / f"{pairs.name}-drone-to-satellite.describing"]
    building = next(out.iterdir())
    with (building / QUERIES).open("ab") as file:
        file.write(b"half a row")  # as a process killed while writing leaves it
    rest = Stop(99)
    (folder,) = describe(request, shelf, rest)
    assert rest.done[0] == ("describing queries", 9)  # 8 of 9 were done
    assert [p.name for p in out.iterdir()] == [folder.name]
    whole = describe(
        Evaluate(checkpoints["drone"], pairs, tmp_path / "b", tests=("drone to satellite",)), shelf
    )
    for name in (QUERIES, GALLERY):
        np.testing.assert_allclose(
            np.load(folder / name).astype(np.float32),
            np.load(whole[0] / name).astype(np.float32),
            atol=1e-3,
        )


def test_an_unfinished_description_by_another_checkpoint_is_begun_anew(
    checkpoints, shelf, pairs, tmp_path
):
    out = tmp_path / "out"
    tests = ("drone to satellite",)
    with pytest.raises(JobCancelled):
        describe(Evaluate(checkpoints["drone"], pairs, out, tests=tests), shelf, Stop(1))
    other = make_checkpoint(tmp_path / "other.safetensors", "drone", (48, 48))
    (folder,) = describe(Evaluate(other, pairs, out, tests=tests), shelf)
    assert read_manifest(folder).checkpoint == shelf.checkpoint(other).sha256


def test_another_checkpoints_descriptors_are_never_overwritten(checkpoints, shelf, pairs, tmp_path):
    out = tmp_path / "out"
    (folder,) = describe(
        Evaluate(checkpoints["drone"], pairs, out, tests=("drone to satellite",)), shelf
    )
    before = (folder / MANIFEST).read_bytes()
    other = make_checkpoint(tmp_path / "other.safetensors", "drone", (48, 48))
    with pytest.raises(UserError, match="holds something else"):
        describe(Evaluate(other, pairs, out, tests=("drone to satellite",)), shelf)
    assert (folder / MANIFEST).read_bytes() == before


def test_the_manifest_says_what_was_described_by_what(checkpoints, shelf, pairs, tmp_path):
    request = Evaluate(checkpoints["drone"], pairs, tmp_path, headings="unknown", turns=3)
    folder, back = describe(request, shelf)
    manifest = read_manifest(folder)
    assert manifest.checkpoint == shelf.checkpoint(checkpoints["drone"]).sha256
    assert (manifest.turns, manifest.gallery_turns) == (3, 1)
    assert (read_manifest(back).turns, read_manifest(back).gallery_turns) == (1, 3)
    assert "3 turns" in manifest.put
    for name, digest in manifest.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    described = open_described(folder)
    assert described.queries.dtype == np.float16
    assert all(described.picture(name).is_file() for name in described.trial.queries.paths)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (MANIFEST, lambda b: b[:40], "is damaged"),
        (MANIFEST, lambda b: b.replace(b'"format": 1', b'"format": 9'), "another version"),
        ("test.json", lambda b: b.replace(b"query/", b"quiet/"), "not the one that was described"),
        (QUERIES, lambda b: b[:200], "is damaged"),
        (QUERIES, lambda b: b.replace(b"<f2", b"<f4"), "is damaged"),
    ],
)
def test_a_damaged_folder_is_told(name, change, told, checkpoints, shelf, pairs, tmp_path):
    request = Evaluate(checkpoints["drone"], pairs, tmp_path, tests=("drone to satellite",))
    (folder,) = describe(request, shelf)
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(UserError, match=told):
        score_folder(Score(folder))


def test_an_array_that_would_run_code_is_not_read(checkpoints, shelf, pairs, tmp_path):
    request = Evaluate(checkpoints["drone"], pairs, tmp_path, tests=("drone to satellite",))
    (folder,) = describe(request, shelf)
    np.save(folder / QUERIES, np.array([{"a": 1}], dtype=object), allow_pickle=bool("yes"))
    with pytest.raises(UserError, match="is damaged"):
        score_folder(Score(folder))


def test_a_folder_that_is_no_evaluation_is_told(tmp_path):
    with pytest.raises(UserError, match="not a finished evaluation"):
        score_folder(Score(tmp_path))
    with pytest.raises(UserError, match="has not been scored"):
        read_result(tmp_path)
    with pytest.raises(UserError, match="has not been scored"):
        read_rows(tmp_path)


def test_descriptors_that_are_not_finite_are_refused(
    checkpoints, shelf, pairs, tmp_path, monkeypatch
):
    def broken(self, pictures, view, **_):
        return np.full((len(pictures), self.network.descriptor), np.nan, np.float32)

    monkeypatch.setattr(Checkpoint, "describe", broken)
    with pytest.raises(UserError, match="not finite"):
        describe(Evaluate(checkpoints["drone"], pairs, tmp_path), shelf)


# --- comparing and browsing --------------------------------------------------


def test_two_checkpoints_are_compared_query_by_query(checkpoints, shelf, pairs, tmp_path):
    tests = ("drone to satellite",)
    asked = [
        Evaluate(checkpoints["drone"], pairs, tmp_path / "a", tests=tests),
        Evaluate(
            make_checkpoint(tmp_path / "o.safetensors", "drone", (32, 32)), pairs, tmp_path / "b",
            tests=tests, headings="unknown", turns=1,
        ),
    ]  # fmt: skip
    (a,), (b,) = (evaluate(request, shelf).folders for request in asked)
    found = compare(Compare(a, b, resamples=200)).comparison
    one, two = read_rows(a), read_rows(b)
    difference = next(d for d in found.differences if d.name == "R@1")
    assert difference.difference == pytest.approx(two.values[:, 0].mean() - one.values[:, 0].mean())
    assert difference.low <= difference.difference <= difference.high
    assert found.only_first == int(((one.rank == 0) & (two.rank != 0)).sum())
    assert found.only_second == int(((one.rank != 0) & (two.rank == 0)).sum())
    assert found.p_name == "McNemar's exact test of R@1"
    for missed, right, count in ((b, a, found.only_first), (a, b, found.only_second)):
        page = browse(BrowseErrors(missed, count=1000, found_by=right))
        rank = {folder: rows.rank for folder, rows in ((a, one), (b, two))}
        expected = np.flatnonzero((rank[missed] != 0) & (rank[right] == 0)).tolist()
        assert page.total == len(page.rows) == count
        assert sorted(row.row for row in page.rows) == expected
        assert all(row.rank > 1 for row in page.rows)
        everything = [row.row for row in browse(BrowseErrors(missed, count=1000)).rows]
        assert [row.row for row in page.rows] == [r for r in everything if r in set(expected)]
    assert found.only_first + found.only_second > 0
    same = compare(Compare(a, a, resamples=50)).comparison
    assert {(d.difference, d.low, d.high) for d in same.differences} == {(0.0, 0.0, 0.0)}


def test_evaluations_of_different_pictures_are_not_compared(checkpoints, shelf, pairs, tmp_path):
    other = write_pairs(tmp_path / "other", train=1, val=5)
    folders = [
        evaluate(Evaluate(checkpoints["drone"], data, tmp_path / n, resamples=5), shelf).folders[0]
        for n, data in (("a", pairs), ("b", other))
    ]
    with pytest.raises(UserError, match="did not measure the same pictures"):
        compare(Compare(*folders))
    with pytest.raises(UserError, match="did not measure the same pictures"):
        browse(BrowseErrors(folders[0], found_by=folders[1]))


def test_the_error_browser_shows_what_was_taken_for_what(checkpoints, shelf, tmp_path):
    """Five queries show another place than they say."""
    pairs = write_pairs(tmp_path / "pairs", train=0, val=12)
    for place in range(5):
        heading = 30.0 * place
        save(pairs / f"query/{place}.png", photographed(ground(place + 6), heading))
    request = Evaluate(
        checkpoints["drone"], pairs, tmp_path / "out", tests=("drone to satellite",), resamples=5
    )
    (folder,) = evaluate(request, shelf).folders
    scores, rows = full_scores(folder), read_rows(folder)
    missed = np.flatnonzero(rows.rank != 0)
    assert missed.tolist() == [0, 1, 2, 3, 4]
    page = browse(BrowseErrors(folder))
    assert page.total == len(missed)
    assert sorted(row.row for row in page.rows) == missed.tolist()
    assert [row.rank for row in page.rows] == sorted((r.rank for r in page.rows), reverse=True)
    for row in page.rows:
        order = slow.order_of(scores[row.row])
        assert row.query.name == f"{row.row}.png"
        assert row.rank == order.index(row.row) + 1
        assert row.best[0].row == order[0]
        assert not row.best[0].right
        assert row.right[0].row == row.row
        assert row.gap == pytest.approx(scores[row.row].max() - scores[row.row][row.row], abs=1e-4)
        assert row.metres == pytest.approx(abs(order[0] - row.row) * 100.075, rel=0.01)
        assert row.best[0].picture.is_file()
    sure = browse(BrowseErrors(folder, "sure"))
    shares = [row.probability for row in sure.rows]
    assert shares == sorted(shares, reverse=True)
    second = browse(BrowseErrors(folder, start=1, count=1))
    assert [r.row for r in second.rows] == [page.rows[1].row]


def test_a_query_without_a_right_picture_is_an_error_of_its_own(checkpoints, shelf, tmp_path):
    pairs = write_pairs(tmp_path / "pairs", train=0, val=4)
    request = Evaluate(checkpoints["drone"], pairs, tmp_path / "out", resamples=5)
    (folder, _) = describe(request, shelf)
    raw = json.loads((folder / "test.json").read_bytes())
    raw["positives"][2] = []
    content = json.dumps(raw).encode()
    (folder / "test.json").write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["asked"] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (result,) = score_folder(Score(folder, resamples=5)).results
    assert any("1 queries have no right picture" in note for note in result.notes)
    row = next(row for row in browse(BrowseErrors(folder)).rows if row.row == 2)
    assert (row.rank, row.gap, row.right) == (None, None, ())


# --- as the window asks ------------------------------------------------------


def test_the_engine_process_answers_each_question_of_the_evaluation_tab(
    checkpoints, pairs, tmp_path, monkeypatch
):
    monkeypatch.setenv("SKYFIX_HOME", str(tmp_path / "home"))
    engine, told = _Engine("cpu", "eager"), []
    ask = Evaluate(checkpoints["drone"], pairs, tmp_path / "out", resamples=5)
    done = run(ask, told.append, engine.answer)
    assert isinstance(done, Evaluated)
    assert {"describing queries", "describing gallery", "scoring"} <= {b.note for b in told}
    folder = done.folders[0]
    assert run(Score(folder, resamples=5), ignore, engine.answer).results[0].measures == (
        done.results[0].measures
    )
    assert isinstance(run(Compare(folder, folder, 5), ignore, engine.answer), Compared)
    assert isinstance(run(Project(folder), ignore, engine.answer), Projected)
    assert isinstance(run(BrowseErrors(folder), ignore, engine.answer), ErrorsBrowsed)
    problem = run(Score(tmp_path), ignore, engine.answer)
    assert "not a finished evaluation" in problem.title

    def stop(body):
        if body.note != "starting":
            raise JobCancelled

    again = Evaluate(checkpoints["drone"], pairs, tmp_path / "stopped")
    assert run(again, stop, engine.answer) == Cancelled()
