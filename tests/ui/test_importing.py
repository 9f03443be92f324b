"""A published checkpoint in the window: chosen, asked about, imported, in use."""

import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from app.engine.import_projects import PROJECTS
from app.messages import Cancelled, CheckpointImported, ImportCheckpoint, Problem, Progress, Warm
from app.ui.import_dialog import AS_FOUND, ImportDialog
from app.ui.intake import sort_paths
from tests.ui.scene import card, write_checkpoint


@pytest.fixture
def foreign(tmp_path) -> Path:
    path = tmp_path / "model_best.pth.tar"
    path.write_bytes(b"PK\x03\x04")
    return path


def asked(qtbot, window, path: Path) -> ImportDialog:
    window.checkpoints.picked.emit(path)
    qtbot.waitUntil(lambda: window.importing.dialog is not None)
    return window.importing.dialog


def imports(engine) -> list[ImportCheckpoint]:
    return [request for request in engine.sent if isinstance(request, ImportCheckpoint)]


def done_with(path: Path, **said) -> CheckpointImported:
    done = CheckpointImported(
        path, card(title="TransGeo (CVUSA)"), "TransGeo", "PyTorch zip", "CVUSA (by its name)",
        "paper-cvusa-cvact", 310, (), ("epoch", "optimizer"),
    )  # fmt: skip
    return replace(done, **said)


def test_a_chosen_file_of_another_program_is_imported_and_then_in_use(
    qtbot, window, engine, rooms, foreign, tmp_path
):
    asked(qtbot, window, foreign).accept()
    assert imports(engine) == [ImportCheckpoint(foreign)]
    assert [job.title for job in rooms.jobs.running] == ["Importing model_best.pth.tar"]
    job = engine.job(ImportCheckpoint)
    engine.tell(job, Progress(0, 0, "reading model_best.pth.tar"))
    made = tmp_path / "made.safetensors"
    write_checkpoint(made, card(title="TransGeo (CVUSA)"))
    engine.tell(job, done_with(made))
    qtbot.waitUntil(lambda: Warm(made) in engine.sent)
    assert rooms.library.checkpoint.path == made
    (notice,) = window.notices.notices
    assert "TransGeo (CVUSA) is imported: 310 weights" in notice.title
    assert notice.severity == "good"
    listed = [entry.path for entry in rooms.library.checkpoints]
    assert made in listed
    assert foreign not in listed


def test_what_the_user_says_of_it_goes_along(qtbot, window, engine, foreign):
    dialog = asked(qtbot, window, foreign)
    assert (dialog.project.currentText(), dialog.data.isEnabled()) == (AS_FOUND, False)
    dialog.project.setCurrentIndex(dialog.project.findData("sample4geo"))
    names = [dialog.data.itemText(i) for i in range(dialog.data.count())]
    assert names == [
        AS_FOUND,
        "CVUSA, queries of 140 × 768 pixels",
        "CVACT, queries of 140 × 768 pixels",
        "VIGOR, queries of 384 × 768 pixels",
        "University-1652, queries of 384 × 384 pixels",
    ]
    dialog.data.setCurrentIndex(2)
    assert dialog.tile_size.value() == 144
    dialog.accept()
    assert imports(engine) == [
        ImportCheckpoint(
            foreign,
            project="sample4geo",
            preset="paper-cvusa",
            tile_size_m=144,
            title="Sample4Geo (CVACT)",
        )
    ]


def test_a_refused_file_is_said_and_can_be_asked_about_again(qtbot, window, engine, foreign):
    dialog = asked(qtbot, window, foreign)
    dialog.project.setCurrentIndex(dialog.project.findData("fsra"))
    dialog.accept()
    problem = Problem("model_best.pth.tar is no file of FSRA", "Import it as lpn.")
    engine.tell(engine.job(ImportCheckpoint), problem)
    (notice,) = window.notices.notices
    assert (notice.title, notice.severity) == (problem.title, "problem")
    ((label, act),) = notice.actions
    assert label == "Import as…"
    act()
    assert window.importing.dialog.project.currentData() == "fsra"
    window.importing.dialog.reject()
    assert window.importing.dialog is None
    assert len(imports(engine)) == 1


def test_a_cancelled_import_says_nothing_and_can_start_again(qtbot, window, engine, foreign):
    for count in (1, 2):
        asked(qtbot, window, foreign).accept()
        assert len(imports(engine)) == count
        engine.tell(len(engine.sent), Cancelled())
    assert window.notices.notices == ()


def test_a_checkpoint_for_clicks_is_listed_and_not_put_in_use(
    qtbot, window, engine, rooms, foreign, tmp_path
):
    asked(qtbot, window, foreign).accept()
    made = tmp_path / "made.safetensors"
    clicks = replace(card(title="DetGeo"), task="object")
    write_checkpoint(made, clicks)
    engine.tell(engine.job(ImportCheckpoint), done_with(made, card=clicks))
    (notice,) = window.notices.notices
    assert "finds clicked objects" in notice.hint
    assert Warm(made) not in engine.sent


def test_safetensors_without_a_card_are_another_programs(qtbot, window, tmp_path):
    path = tmp_path / "model.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert asked(qtbot, window, path).request == ImportCheckpoint(path)


def test_a_file_that_is_gone_is_a_problem_and_nothing_to_import(qtbot, window, rooms, tmp_path):
    with qtbot.waitSignal(rooms.library.failed) as failed:
        rooms.library.choose_checkpoint(tmp_path / "gone.pth")
    assert "There is no checkpoint" in failed.args[0].title
    assert window.importing.dialog is None


def test_dropped_weights_are_checkpoints_and_other_archives_are_not(tmp_path):
    for name in ("a.pth", "b.PTH.TAR", "c.pt", "d.ckpt", "photos.tar"):
        (tmp_path / name).touch()
    found = sort_paths([tmp_path])
    assert [path.name for path in found.checkpoints] == ["a.pth", "b.PTH.TAR", "c.pt", "d.ckpt"]
    assert "photos.tar" in found.skipped[0]


@pytest.mark.skipif(os.name != "posix", reason="there are no pipes in a folder")
def test_a_pipe_is_a_problem_at_once(qtbot, rooms, tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with qtbot.waitSignal(rooms.library.failed) as failed:
        rooms.library.choose_checkpoint(tmp_path / "pipe.pth")
    assert "it is no file" in failed.args[0].title


def test_every_project_can_be_chosen(qtbot):
    dialog = ImportDialog(ImportCheckpoint(Path("/x/w.pth")))
    qtbot.addWidget(dialog)
    for project in PROJECTS:
        dialog.project.setCurrentIndex(dialog.project.findData(project.name))
        assert dialog.data.count() > 1
        assert dialog.request.project == project.name
