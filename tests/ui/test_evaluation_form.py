"""What the form asks for is what was typed, and nothing begins while something is missing."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.messages import Evaluate
from app.ui.evaluation_form import RECOGNISE, EvaluationForm
from app.ui.library import Library
from tests.ui.scene import card, write_checkpoint


@pytest.fixture
def checkpoints(tmp_path):
    drone, objects = tmp_path / "drone.safetensors", tmp_path / "objects.safetensors"
    write_checkpoint(drone, card())
    write_checkpoint(objects, replace(card(title="AttenGeo tiny"), task="object"))
    return drone, objects


@pytest.fixture
def form(qtbot, engine, checkpoints):
    library = Library(engine, checkpoints=map(str, checkpoints))
    form = EvaluationForm(library)
    qtbot.addWidget(form)
    library.choose(checkpoint=checkpoints[0], gallery=None)
    qtbot.waitUntil(lambda: form.checkpoint.count() >= 2)
    form.choose(checkpoints[0])
    yield form
    library.close()


def test_it_begins_only_when_a_checkpoint_and_data_are_named(form):
    assert not form.begin.isEnabled()
    assert form.problem.text() == "Still needed: a data set's folder."
    assert form.request() is None
    form.data.setText(" /data/uni ")
    assert form.begin.isEnabled()
    assert form.problem.isHidden()


def test_what_is_left_alone_is_left_to_the_engine(form, checkpoints):
    form.data.setText("/data/uni")
    assert form.request() == Evaluate(checkpoints[0], Path("/data/uni"))


def test_everything_that_can_be_said_is_asked_for(form, checkpoints):
    asked = Evaluate(
        checkpoint=checkpoints[1],
        data=Path("/data/VIGOR"),
        output=Path("/results"),
        name="vigor-cross-corrected",
        tests=("cross area", "same area"),
        headings="unknown",
        turns=8,
        resamples=5000,
    )
    form.show_request(asked)
    assert form.request() == asked


def test_turns_are_asked_only_of_unknown_headings(form):
    form.data.setText("/data/uni")
    form.turns.setValue(8)
    assert not form.turns.isEnabled()
    assert form.request().turns is None
    form.headings.setCurrentIndex(1)
    assert form.turns.isEnabled()
    assert form.request().turns == 8


def test_it_says_what_data_a_checkpoint_needs(form, checkpoints):
    assert "data of pairs" in form.about.text()
    form.choose(checkpoints[1])
    assert "data of clicks" in form.about.text()


def test_asking_hands_the_request_on_and_keeps_what_was_typed(qtbot, form):
    form.data.setText("/data/uni")
    with qtbot.waitSignal(form.asked) as told:
        form.begin.click()
    assert told.args == [form.request()]
    form.show()
    assert form.data.text() == "/data/uni"
    assert form.name.currentText() == RECOGNISE
