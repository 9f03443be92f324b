"""The training tab: what it shows of runs, what it starts, and that it loses nothing typed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QFileDialog, QToolButton

from app.card import read_card
from app.engine.run_control import RunStatus, held, write_status
from app.engine.run_store import RunStore
from app.engine.runs import METRICS
from app.messages import Problem, TrainingEstimate
from app.models.catalog import BY_NAME as NETWORKS
from app.train_request import Train, options
from app.ui.library import CheckpointEntry, Library
from app.ui.run_details import _stands
from app.ui.training_fields import NumberField, words_of
from app.ui.training_form import TrainingForm
from app.ui.training_page import TrainingPage
from app.ui.training_session import TrainingSession
from app.ui.training_words import duration, told
from tests.ui.scene import card as card_of_a_scene
from tests.ui.test_training_session import make_run


@pytest.fixture
def session(engine, tmp_path, qapp):
    session = TrainingSession(engine, store=RunStore(tmp_path / "runs.sqlite"))
    yield session
    session.close()


@pytest.fixture
def page(qtbot, engine, session):
    library = Library(engine)
    page = TrainingPage(session, library)
    qtbot.addWidget(page)
    page.resize(1280, 720)
    yield page
    library.close()


@pytest.fixture
def form(qtbot, engine, session, tmp_path):
    library = Library(engine)
    form = TrainingForm(session, library)
    qtbot.addWidget(form)
    form.fields["data"].show_value(tmp_path / "pairs")
    yield form
    library.close()


def shown(qtbot, page, session, *folders):
    for folder in folders:
        session._store.add(folder)
    page.show()
    qtbot.waitUntil(lambda: len(session.rows) == len(folders))
    qtbot.waitUntil(lambda: bool(session.details))


def test_without_runs_it_says_what_a_run_is(qtbot, page):
    page.show()
    assert page.right.currentIndex() == 0


def test_the_newest_run_is_shown_with_its_epochs(qtbot, page, session, tmp_path):
    shown(qtbot, page, session, make_run(tmp_path / "one", epochs=3))
    assert page.right.currentIndex() == 1
    assert page.head.name.text() == "one"
    assert page.epochs.cells.rowCount() == 3
    assert page.epochs.cells.rows[0][0] == "3"  # newest first


def test_a_paused_run_is_called_so_once():
    paused = RunStatus("paused", epoch=2, epochs=12, note="paused", seconds_left=80.0)
    assert _stands(paused) == "paused, epoch 3 of 12"
    rendering = RunStatus("running", epochs=12, note="rendering views")
    assert _stands(rendering) == "running, epoch 1 of 12, rendering views"


def test_figures_are_headed_by_words_and_not_by_a_unit(qtbot, page, session, tmp_path):
    folder = make_run(tmp_path / "one", epochs=1)
    line = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    line["metrics"] = {"R@1": 0.25, "median_m": 143.9}
    (folder / METRICS).write_text(json.dumps(line) + "\n", encoding="utf-8")
    shown(qtbot, page, session, folder)
    head = page.epochs.cells.head
    assert head[2:4] == ("R@1", "Median")
    assert page.epochs.cells.rows[0][2:4] == ("25.0%", "144 m")


def test_a_paused_run_offers_nothing_that_would_do_nothing(qtbot, page, session, tmp_path):
    folder = make_run(tmp_path / "one")
    with held(folder):  # as a process that trains it
        write_status(folder, RunStatus("paused", epochs=2))
        shown(qtbot, page, session, folder)
        enabled = {name for name, button in page.buttons.items() if button.isEnabled()}
    assert enabled == {"resume", "stop", "open"}


def test_a_preview_is_shown_whole(qtbot, form, session, tmp_path):
    form.show()
    for width, height in ((800, 800), (200, 1600), (1600, 100)):
        sheet = QPixmap(width, height)
        sheet.fill(Qt.GlobalColor.red)
        sheet.save(str(tmp_path / "sheet.png"))
        session.previewed.emit(tmp_path / "sheet.png")
        qtbot.wait(20)
        room, shown = form.preview.contentsRect(), form.preview.pixmap()
        assert shown.width() <= room.width() + 2
        assert shown.height() <= room.height()
        assert shown.width() / shown.height() == pytest.approx(width / height, rel=0.05)


def test_what_cannot_be_tried_says_why_in_the_form(form, session, engine):
    told_elsewhere = []
    session.failed.connect(told_elsewhere.append)
    missing = Problem("There is no folder /data/CVUSA", "Choose the data set's folder.")
    for button, shown in (
        (form.ask_estimate, form.estimate_text),
        (form.ask_preview, form.preview),
    ):
        button.click()
        waiting = shown.text()
        assert waiting.endswith("…")
        engine.tell(len(engine.sent), missing)
        assert shown.text() == "There is no folder /data/CVUSA\nChoose the data set's folder."
    assert not told_elsewhere
    form.fields["data"].show_value(Path("/data/CVACT"))  # of this nothing was said yet
    assert form.estimate_text.text().startswith("Tries two batches")
    assert form.preview.text().startswith("Pairs as")


def test_a_trial_of_settings_that_have_changed_is_not_told(form, engine):
    form.ask_estimate.click()
    asked = len(engine.sent)
    form.fields["batch_size"].show_value(7)
    engine.tell(asked, Problem("There is too little memory"))
    assert form.estimate_text.text().startswith("Tries two batches")


def test_data_sets_and_devices_are_offered_and_others_can_be_typed(form):
    for name, offered, typed in (
        ("data_name", "university-street", "vigor-cross-heldback"),
        ("device", "cuda", "cuda:1"),
    ):
        box = form.fields[name].box
        assert box.findText(offered) >= 0
        box.setCurrentText(typed)
        assert getattr(form.run, name) == typed


def test_what_can_be_done_follows_the_state(qtbot, page, session, tmp_path):
    shown(qtbot, page, session, make_run(tmp_path / "done"))
    enabled = {name for name, button in page.buttons.items() if button.isEnabled()}
    assert {"open", "delete"} <= enabled
    assert not {"stop", "save", "pause", "promote"} & enabled


def test_a_constant_is_drawn_from_zero_without_its_rounding_errors(qtbot, page, session, tmp_path):
    shown(qtbot, page, session, make_run(tmp_path / "one", steps=30))
    low, high = page.curves.plots["speed"].getViewBox().viewRange()[1]
    assert (low, high) == pytest.approx((0, 1.05 * 9), abs=1e-6)


def test_two_selected_runs_are_compared_by_what_differs(qtbot, page, session, tmp_path):
    folders = [make_run(tmp_path / "a", lr=1e-3), make_run(tmp_path / "b", lr=5e-4)]
    shown(qtbot, page, session, *folders)
    page.table.selectAll()
    qtbot.waitUntil(lambda: len(session.details) == 2)
    rows = {row[0]: row[1:] for row in page.settings.cells.rows}
    assert set(rows) == {"Learning rate", "Data set"} or set(rows) == {"Learning rate"}
    assert sorted(rows["Learning rate"]) == ["0.0005", "0.001"]
    assert not page.head.legend.isHidden()


def test_names_of_runs_are_no_markup(qtbot, page, session, tmp_path):
    folders = [make_run(tmp_path / "<b>a&b"), make_run(tmp_path / "c")]
    shown(qtbot, page, session, *folders)
    page.table.selectAll()
    qtbot.waitUntil(lambda: len(session.details) == 2)
    assert "&lt;b&gt;a&amp;b" in page.head.legend.text()


def test_notes_being_typed_are_not_overwritten(qtbot, page, session, tmp_path):
    shown(qtbot, page, session, make_run(tmp_path / "one"))
    qtbot.keyClicks(page.notes.notes, "half a thou")
    page.notes.show_run(session.rows[0])
    assert page.notes.notes.toPlainText() == "half a thou"


def test_the_form_has_a_field_for_every_setting_with_its_help(form):
    for option in options():
        if option.name != "recipe":
            assert form.fields[option.name].toolTip() == option.help.text


def test_the_form_s_defaults_are_those_of_the_request(form, tmp_path):
    run = form.run
    for option in options():
        if option.name not in ("run_dir", "data"):
            assert getattr(run, option.name) == option.default, option.name
    assert run.data == tmp_path / "pairs"


def test_a_recipe_fills_the_form_and_what_is_changed_stands_out(form):
    form.recipes.setCurrentIndex(form.recipes.findData("mift-university"))
    assert form.run.network == "mift"
    assert form.run.recipe == "mift-university"
    assert not form._labels["epochs"].font().bold()
    form.fields["epochs"].show_value(3)
    assert form._labels["epochs"].font().bold()
    assert form.run.epochs == 3


def test_what_is_no_number_is_named_and_nothing_can_be_started(form):
    form.fields["lr"].line.setText("fast")
    assert "fast" in form.problem.text()
    assert not form.start.isEnabled()
    form.fields["lr"].line.setText("3e-4")
    assert form.start.isEnabled()
    assert form.run.lr == 3e-4


def test_without_data_nothing_can_be_started(form):
    form.fields["data"].show_value(None)
    assert not form.start.isEnabled()
    assert "data set" in form.problem.text()


def test_limits_are_told(qtbot, form):
    field = form.fields["label_smoothing"]
    assert isinstance(field, NumberField)
    field.line.setText("2")
    with pytest.raises(ValueError, match=r"0 or more and 0\.9 or less"):
        field.value()


def test_the_presets_follow_the_network(form):
    form.fields["network"].show_value("mfrgn")
    box = form.fields["preset"].box
    assert "tiny-street" in [box.itemText(i) for i in range(box.count())]


def entry_of(path, **card):
    return CheckpointEntry(path, replace(card_of_a_scene(), **card))


@pytest.fixture
def parents(form, monkeypatch, tmp_path):
    """Checkpoints of three networks to start from."""
    made = {
        name: entry_of(
            tmp_path / f"{name}.safetensors",
            network=name,
            title=name.upper(),
            task="object" if name == "attengeo" else "retrieval",
            query_view="street" if name == "mfrgn" else "drone",
        )
        for name in ("mift", "mfrgn", "attengeo")
    }
    monkeypatch.setattr(form._library, "_checkpoints", tuple(made.values()))
    form._library.changed.emit()
    return {name: str(entry.path) for name, entry in made.items()}


def test_a_start_checkpoint_brings_its_network_and_configuration(form, parents):
    init = form.fields["init"]
    offered = [init.box.itemText(i) for i in range(init.box.count())]
    assert offered == ["Fresh weights", "MIFT", "MFRGN", "ATTENGEO"]
    init.show_value(parents["mift"])
    assert (form.run.network, form.run.preset, form.run.init) == ("mift", "", Path(parents["mift"]))
    init.show_value("")
    assert form.run.init is None
    assert form.run.preset in NETWORKS["mift"].presets
    assert not form.problem.text()


def test_a_start_checkpoint_can_be_any_file(form, parents, monkeypatch, tmp_path):
    elsewhere = tmp_path / "Netz Ü.safetensors"
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(elsewhere), ""))
    form.fields["init"].findChild(QToolButton).click()
    assert form.run.init == elsewhere
    form.fields["init"].box.setEditText("MFRGN")  # a title that is offered
    assert form.run.init == Path(parents["mfrgn"])


def test_a_start_checkpoint_from_anywhere_brings_its_network_once(qtbot, form, scene):
    init, preset = form.fields["init"], form.fields["preset"]
    assert str(scene.checkpoint) not in init.choices
    form.fields["network"].show_value("mfrgn")
    init.box.setEditText(str(scene.checkpoint))  # typed
    qtbot.waitUntil(lambda: form.run.network == "sample4geo")
    assert (preset.value(), form.run.init) == ("", scene.checkpoint)
    assert init.box.currentText() == read_card(scene.checkpoint).title
    preset.show_value("tiny-drone")
    form._library.changed.emit()  # another file was found meanwhile
    assert preset.value() == "tiny-drone"


def test_a_start_checkpoint_of_another_network_than_the_recipes_is_told(form, parents):
    form.recipes.setCurrentIndex(form.recipes.findData("mift-university"))
    form.fields["init"].show_value(parents["mfrgn"])
    assert form.fields["network"].value() == "mift"
    assert form.problem.text().startswith("MFRGN holds MFRGN, not MIFT")
    assert not form.start.isEnabled()


def test_adapting_asks_for_imagery_and_a_checkpoint_that_locates(form, parents, tmp_path):
    form.fields["data"].show_value(None)
    form.recipes.setCurrentIndex(form.recipes.findData("adapt"))
    assert form.problem.text() == "Still needed: a checkpoint to start from."
    assert not form._boxes["adapt"].isHidden()
    assert not form._forms["run"].isRowVisible(form._data_rows[0])
    form.fields["init"].show_value(parents["attengeo"])
    assert "clicked objects" in form.problem.text()
    form.fields["init"].show_value(parents["mift"])
    assert form.problem.text() == "Still needed: your own imagery."
    form.fields["imagery"].show_value(tmp_path / "Ortho.2026.tif")
    form.fields["init"].show_value(parents["mfrgn"])
    assert form.problem.text().startswith("Still needed: a surface model.")
    form.fields["init"].show_value(parents["mift"])
    run = form.run
    assert form.start.isEnabled()
    assert (run.run_dir.name, run.data) == ("mift-Ortho.2026", run.run_dir / "pairs")
    form.fields["imagery"].show_value(None)
    form.recipes.setCurrentIndex(0)
    assert form._boxes["adapt"].isHidden()


def test_starting_sends_the_run_that_the_form_shows(qtbot, form):
    with qtbot.waitSignal(form.asked) as asked:
        qtbot.mouseClick(form.start, Qt.MouseButton.LeftButton)
    assert asked.args[0] == form.run


def test_the_proposed_folder_is_one_that_nothing_has(form, tmp_path):
    first = form.run.run_dir
    first.mkdir(parents=True)
    form.fields["epochs"].show_value(41)
    assert form.run.run_dir != first
    assert not form.run.run_dir.exists()
    first.rmdir()


def test_the_wheel_scrolls_the_form_and_changes_no_value(qtbot, form):
    from PySide6.QtCore import QPoint, QPointF
    from PySide6.QtGui import QWheelEvent
    from PySide6.QtWidgets import QApplication

    box = form.fields["epochs"].box
    before = box.value()
    event = QWheelEvent(
        QPointF(5, 5),
        QPointF(box.mapToGlobal(QPoint(5, 5))),
        QPoint(0, 0),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(box, event)
    assert box.value() == before


def test_an_estimate_is_told_in_words():
    estimate = TrainingEstimate(2**30, 2**33, 0.5, 50, 7300, 100, 6400, 300, 3_400_000, "cpu")
    words = told(estimate)
    assert "6,400 pairs" in words
    assert "3.40 million weights" in words
    assert "50 s an epoch, 2 h 01 min in all" in words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4, "4 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (273600, "3 days 4 h")],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    assert duration(seconds) == words


def test_field_names_become_labels():
    assert words_of("trunk_lr_factor") == "Trunk learning rate factor"
    assert words_of("tile_size_m") == "Tile size (m)"


def test_a_promoted_checkpoint_is_put_in_use(qtbot, window, rooms, scene):
    with qtbot.waitSignal(rooms.library.chosen, timeout=10_000):
        rooms.training.promoted.emit(scene.checkpoint, None)
    assert any("checkpoint now" in notice.title for notice in window.notices.notices)


def test_what_was_adapted_is_offered_a_gallery_of_its_imagery(window, rooms, scene, tmp_path):
    run = Train(tmp_path / "run", tmp_path / "run" / "pairs", imagery=tmp_path / "Ortho Süd.tif")
    rooms.training.promoted.emit(scene.checkpoint, run)
    told = window.notices.notices[-1]
    assert told.actions[0][0] == "Build a gallery…"
    told.actions[0][1]()
    dialog = window.long_work._dialog
    assert dialog.source.text() == str(run.imagery)
    dialog.close()


def test_a_promoted_finder_of_objects_needs_no_gallery(window, rooms, scene, tmp_path):
    run = Train(tmp_path / "run", tmp_path / "objects", network="attengeo")
    rooms.training.promoted.emit(scene.checkpoint, run)
    told = window.notices.notices[-1]
    assert "for clicked objects" in told.title
    assert not told.actions


@pytest.mark.usefixtures("chosen")
def test_adapting_is_asked_for_with_the_gallery_and_the_checkpoint_in_use(window, scene):
    window.actions_by_name["adapt"].trigger()
    assert window.training.isVisible()
    form = window.training._form
    run = form.run
    assert (run.recipe, run.network, run.preset) == ("adapt", "sample4geo", "")
    assert (run.init, run.imagery) == (scene.checkpoint, (scene.gallery / "city.tif").resolve())
    assert run.tile_size_m == 80
    assert form.start.isEnabled()
    form.close()


def test_adapting_without_a_gallery_says_what_is_needed(window):
    window.actions_by_name["adapt"].trigger()
    form = window.training._form
    assert form.problem.text() == "Still needed: a checkpoint to start from."
    form.close()


def test_the_task_switch_shows_the_training_tab_and_hides_what_is_for_locating(qtbot, window):
    window.actions_by_name["task_train"].trigger()
    assert window.tasks.current == "train"
    qtbot.waitUntil(lambda: not window.galleries.isVisible())
    window.actions_by_name["task_locate"].trigger()
    assert window.tasks.current == "locate"
