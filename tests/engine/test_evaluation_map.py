import json

import numpy as np
import pytest

from app.engine import evaluation_map
from app.engine.evaluation_map import project, project_folder
from app.engine.evaluation_run import evaluate
from app.engine.shelf import Shelf
from app.errors import UserError
from app.messages import Evaluate, JobCancelled, Project
from tests.engine.pair_folder import write_pairs
from tests.engine.small_town import make_checkpoint


def heaps(count=30, length=20):
    """Three heaps of unit rows, and which heap each row is of."""
    rng = np.random.default_rng(0)
    heap = np.arange(count) % 3
    rows = np.eye(length)[heap] + rng.normal(0, 0.05, (count, length))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), heap


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_the_main_axes_are_those_of_the_singular_values(shape):
    rows = np.random.default_rng(1).normal(size=shape)
    plane = project(rows)
    centred = rows - rows.mean(axis=0)
    _, values, weights = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.linalg.norm(plane, axis=0), values[:2])
    np.testing.assert_allclose(np.abs(plane), np.abs(centred @ weights[:2].T), atol=1e-8)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_what_is_alike_lies_together(method):
    rows, heap = heaps()
    plane = project(rows, method)
    centres = np.stack([plane[heap == h].mean(axis=0) for h in range(3)])
    away = np.linalg.norm(plane[:, None] - centres, axis=2)
    assert (away.argmin(axis=1) == heap).all()


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_is_the_same_each_time(method):
    rows, _ = heaps()
    np.testing.assert_array_equal(project(rows, method), project(rows, method))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_handful_of_pictures_has_a_map_too(count, method):
    plane = project(heaps(count)[0], method)
    assert plane.shape == (count, 2)
    assert np.isfinite(plane).all()


def test_drawing_can_be_cancelled():
    def cancel(_):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        project(heaps(200)[0], "tsne", report=cancel)


def test_without_opentsne_the_user_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(evaluation_map, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="openTSNE") as told:
        project(heaps()[0], "tsne")
    assert "PCA" in told.value.hint


def test_a_folders_map_links_each_point_to_its_picture(tmp_path):
    pairs = write_pairs(tmp_path / "pairs", train=0, val=8)
    checkpoint = make_checkpoint(tmp_path / "c.safetensors", "drone", (64, 64))
    request = Evaluate(
        checkpoint, pairs, tmp_path / "out", tests=("drone to satellite",), resamples=5
    )
    (folder,) = evaluate(request, Shelf("cpu", tmp_path / "cache")).folders
    found = project_folder(Project(folder)).projection
    assert found.side == ("query",) * 8 + ("gallery",) * 8
    assert found.picture[3].endswith("query/3.png")
    assert found.picture[11].endswith("satellite/3.png")
    assert found.label[3] == found.label[11] == "3"
    assert found.rank == (1,) * 8 + (0,) * 8
    x, y = np.array(found.x), np.array(found.y)
    across = np.hypot(x[:8] - x[8:], y[:8] - y[8:])  # a query and its own satellite picture
    assert across.max() < np.hypot(x[:8] - x[[9, *range(10, 16), 8]], y[:8] - y[0]).max() + 1
    thinned = project_folder(Project(folder, most=6)).projection
    assert len(thinned.x) == 6
    assert "6 of 16" in thinned.note
    # The same question again is answered from the file, and a damaged file is made anew.
    kept = folder / "map-pca.json"
    raw = json.loads(kept.read_text())
    raw["note"] = "from the file"
    kept.write_text(json.dumps(raw))
    assert project_folder(Project(folder, most=6)).projection.note == "from the file"
    kept.write_text("{")
    assert project_folder(Project(folder, most=6)).projection == thinned
