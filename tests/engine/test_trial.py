"""Before a run: what it would need, and what its pairs look like."""

import multiprocessing
import threading

import numpy as np
import pytest

from app.engine.datasets.pairs import decoded
from app.engine.recipes import make_train
from app.engine.trial import CELL, GAP, MARK, estimate, preview
from app.engine.worker import serve
from app.errors import UserError
from app.messages import EstimateTraining, PreviewTraining, Progress, TrainingEstimate
from tests.engine.made_data_sets import write_cvogl
from tests.engine.pair_folder import write_pairs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def run(tmp_path, pairs):
    return make_train(
        tmp_path / "run", pairs, preset="smallest", batch_size=4, epochs=7, device="cpu"
    )


def answered(request):
    """The engine's outcome."""
    here, there = multiprocessing.Pipe()
    engine = threading.Thread(target=serve, args=(there, "cpu"))
    with here, there:
        engine.start()
        here.send((1, request))
        while isinstance(body := here.recv().body, Progress):
            pass
        here.close()
        engine.join(30)
    return body


def test_two_updates_tell_what_a_run_needs_and_leave_nothing(run):
    told = answered(EstimateTraining(run))
    assert isinstance(told, TrainingEstimate)
    assert (told.pairs, told.held_out, told.steps_per_epoch, told.device) == (10, 6, 2, "cpu")
    assert told.seconds_per_step > 0
    assert told.seconds_per_epoch == pytest.approx(2 * told.seconds_per_step)
    assert told.seconds_total == pytest.approx(14 * told.seconds_per_step)
    assert 50e6 < told.memory_bytes < told.memory_total_bytes
    assert told.parameters > 1000
    assert not run.run_dir.exists()


def test_an_estimate_says_what_a_run_would_say(run, tmp_path):
    with pytest.raises(UserError, match="no configuration paper-moon"):
        estimate(make_train(tmp_path / "run", run.data, preset="paper-moon"))


def test_a_preview_shows_queries_above_their_satellite_pictures(run, tmp_path):
    told = answered(PreviewTraining(run, tmp_path / "sheet.png", 3))
    assert told.count == 3
    sheet = decoded(told.picture)
    step = CELL + GAP
    assert sheet.shape == (4 * step, 2 * step, 3)  # two pairs beside each other, one below
    for top, left in ((0, 0), (0, step), (2 * step, 0)):
        query = sheet[top : top + CELL, left : left + CELL].astype(float)
        satellite = sheet[top + step : top + step + CELL, left : left + CELL].astype(float)
        assert query.std() > 10
        assert np.abs(query - satellite).mean() > 1  # two pictures, not one twice


def test_a_preview_of_objects_shows_click_and_box(tmp_path):
    data = write_cvogl(tmp_path / "data")
    run = make_train(
        tmp_path / "run", data, recipe="attengeo-cvogl-drone", preset="smallest", device="cpu"
    )
    told = preview(PreviewTraining(run, tmp_path / "sheet.png", 2))
    sheet = decoded(told.picture).astype(int)
    marked = np.abs(sheet - MARK).sum(axis=2) < 90
    assert marked[:CELL].any()
    assert marked[CELL + GAP :].any()


def test_a_preview_shows_fewer_pairs_where_there_are_fewer_places(tmp_path):
    data = write_pairs(tmp_path / "data", train=1, val=1)
    run = make_train(tmp_path / "run", data, preset="smallest", device="cpu")
    assert preview(PreviewTraining(run, tmp_path / "one.png", 8)).count == 1
