"""The Help menu's look at this installation: shown as printed, copied, packed, stopped."""

from pathlib import Path

import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog

from app.diagnosis import Diagnosis, Doctor, Finding
from app.messages import Cancelled, Problem, Progress
from app.ui.checkup import Checkup
from app.ui.doctor_dialog import DoctorDialog

WELL = Diagnosis((Finding("Versions", "Skyfix", "0.1.0"),))
ILL = Diagnosis((Finding("Device", "Chosen", "no cuda:7", "problem", "Choose auto."),))


@pytest.fixture
def dialog(qtbot, engine):
    dialog = DoctorDialog(Checkup(engine))
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def test_the_help_menu_opens_it_and_it_looks_at_once(window, engine):
    window.actions_by_name["doctor"].trigger()
    assert engine.sent[-1] == Doctor()
    window.actions_by_name["doctor"].trigger()
    assert [type(sent) for sent in engine.sent].count(Doctor) == 1


def test_what_is_found_is_shown_as_it_is_printed_and_copied(dialog, engine):
    assert not dialog.copy.isEnabled()
    engine.tell(1, Progress(1, 7, "device"))
    assert dialog.summary.text() == "Looking at device…"
    engine.tell(1, ILL)
    assert dialog.text.toPlainText() == ILL.text()
    assert dialog.summary.text() == "1 problem."
    dialog.copy.click()
    assert QGuiApplication.clipboard().text() == ILL.text()


def test_a_bundle_is_packed_where_the_user_says(dialog, engine, monkeypatch):
    engine.tell(1, WELL)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("/tmp/b.zip", ""))
    dialog.save.click()
    assert engine.sent[-1] == Doctor(bundle=Path("/tmp/b.zip"))
    assert dialog.text.toPlainText() == WELL.text()  # meanwhile
    engine.tell(2, Diagnosis(WELL.findings, Path("/tmp/b.zip")))
    assert "b.zip" in dialog.note.text()


def test_naming_no_file_packs_nothing(dialog, engine, monkeypatch):
    engine.tell(1, WELL)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    dialog.save.click()
    assert len(engine.sent) == 1


def test_a_failure_is_shown_and_can_be_tried_again(dialog, engine):
    engine.tell(1, Problem("b.zip cannot be written", "Choose another place."))
    assert dialog.summary.text() == "b.zip cannot be written. Choose another place."
    dialog.again.click()
    engine.tell(2, WELL)
    assert dialog.summary.text() == "All is well."


def test_closing_stops_it_and_a_late_answer_changes_nothing(dialog, engine):
    dialog.reject()
    assert engine.cancelled == [1]
    engine.tell(1, Cancelled())
    engine.tell(1, WELL)
    assert dialog.text.toPlainText() == ""
