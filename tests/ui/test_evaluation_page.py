"""The evaluation tab: what each of its tabs shows, asks and hands on."""

from dataclasses import replace
from pathlib import Path

import pyqtgraph as pg
import pytest
from PySide6.QtCore import QPoint, QSettings, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence
from PySide6.QtWidgets import QApplication

from app.messages import (
    BrowseErrors,
    Cancelled,
    Compare,
    ErrorsBrowsed,
    Evaluate,
    Evaluated,
    Problem,
    Progress,
    Project,
)
from app.paths import evaluations
from app.ui.curves import line_colour
from app.ui.evaluation_curves import CurvePlot, logarithmic_ticks, reliability_words, value_at
from app.ui.evaluation_page import TABS, EvaluationPage
from app.ui.evaluation_session import EvaluationSession
from app.ui.library import Library
from app.ui.theme import apply_theme, colours
from app.ui.thumbnails import Thumbnails
from app.ui.window import MainWindow
from tests.ui.evaluations import Answers, object_result, result, write


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SKYFIX_HOME", str(tmp_path / "home"))
    return evaluations()


@pytest.fixture
def answers(tmp_path):
    return Answers(tmp_path, side=24)


@pytest.fixture
def session(engine, home):
    session = EvaluationSession(engine)
    yield session
    session.close()


@pytest.fixture
def page(qtbot, engine, session):
    library, thumbnails = Library(engine), Thumbnails(engine)
    page = EvaluationPage(session, library, thumbnails)
    qtbot.addWidget(page)
    page.resize(1280, 720)
    yield page
    library.close()
    thumbnails.close()


@pytest.fixture
def folders(home):
    """Two checkpoints on one test, and one on another; the first is the newest."""
    return (
        write(home / "a" / "uni", result(), minutes=9),
        write(home / "b" / "uni", result(checkpoint_title="MIFT tiny, drone"), minutes=8),
        write(home / "c" / "cvogl", object_result(), minutes=7),
    )


@pytest.fixture
def shown(qtbot, page, session, folders):
    with qtbot.waitSignal(session.listed):
        page.show()
    qtbot.waitUntil(lambda: session.first is not None)
    return page


def rows_of(table):
    return [row[0] for row in table.cells.rows]


# --- the list and the empty states ---------------------------------------------


def test_before_anything_was_measured_it_says_what_an_evaluation_is(qtbot, page, session):
    page.show()
    qtbot.waitUntil(lambda: session.is_read)
    assert page.right.currentIndex() == 0
    assert page.empty_title.text() == "Nothing was evaluated yet"


def test_the_newest_is_shown_with_its_table(shown):
    assert shown.list.rows.rowCount() == 3
    assert shown.name.text() == "Sample4Geo tiny, drone"
    assert "R@1" in rows_of(shown.figures.figures)
    assert "37,855 queries" in shown.about.text()


def test_nothing_selected_is_said_so(shown, session):
    session.select(())
    assert shown.empty_title.text() == "No evaluation is selected"


def test_the_list_selects_and_follows(shown, session, folders):
    index = shown.list.rows.index(1)
    model = shown.list.selectionModel()
    model.select(index, model.SelectionFlag.ClearAndSelect)
    assert session.first.folder == folders[1]
    model.select(shown.list.rows.index(0), model.SelectionFlag.Select)
    assert [e.folder for e in session.selected] == [folders[1], folders[0]]
    session.select((folders[2],))
    assert [i.row() for i in model.selectedRows()] == [2]


def test_a_title_is_no_markup(qtbot, page, session, home):
    nasty = "<img src=x><b>bold</b>"
    write(home / "a" / "t", result(checkpoint_title=nasty))
    write(home / "b" / "t", result(checkpoint_title="plain"), minutes=1)
    with qtbot.waitSignal(session.listed):
        page.show()
    session.select(tuple(e.folder for e in session.entries))
    assert "<img" not in page.legend.text()
    assert "&lt;img" in page.legend.text()


# --- table -----------------------------------------------------------------------


def test_papers_stand_below_ours_and_ours_is_bold(shown):
    table = shown.figures.published
    assert shown.figures.below.isVisibleTo(shown)
    (own,) = table.cells.looks.bold
    assert table.cells.rows[own][0] == "This checkpoint"
    assert "Univ-1652" in rows_of(table)


def test_where_papers_print_nothing_that_is_said(qtbot, shown, session, home):
    mine = write(home / "d" / "t", result(data="my pairs"), minutes=20)
    session.show_folders((mine,))
    qtbot.waitUntil(lambda: session.first.folder == mine)
    assert shown.figures.below.isHidden()
    assert "Papers print nothing for my pairs" in shown.figures.nothing.text()


def test_the_table_is_copied(shown):
    shown.figures.as_markdown.click()
    assert QGuiApplication.clipboard().text().startswith("**Sample4Geo tiny, drone**")
    shown.figures.as_csv.click()
    assert QGuiApplication.clipboard().text().startswith("who,data,test")
    assert shown.figures.copied.text() == "Copied as CSV."


# --- curves and reliability ------------------------------------------------------


def test_curves_of_all_selected_lie_over_each_other(qtbot, shown, session, folders):
    session.select(folders)
    shown.show_tab("Curves")
    qtbot.waitUntil(lambda: len(shown.curves.plots) == 3)
    drawn = {name: len(plot.plot.listDataItems()) for name, plot in shown.curves.plots.items()}
    assert drawn == {"recall": 2, "within metres": 2, "accuracy": 1}
    assert "●" in shown.legend.text()


def test_a_plot_without_curves_is_not_shown(qtbot, shown, session, folders):
    shown.show_tab("Curves")
    qtbot.waitUntil(lambda: len(shown.curves.plots) == 2)
    session.select(folders[2:])
    qtbot.waitUntil(lambda: len(shown.curves.plots) == 3)
    visible = [name for name, plot in shown.curves.plots.items() if not plot.isHidden()]
    assert visible == ["accuracy"]


def test_the_pointer_reads_the_curves(qtbot, shown):
    shown.show_tab("Curves")
    qtbot.waitUntil(lambda: len(shown.curves.plots) == 2)
    plot = shown.curves.plots["within metres"]
    plot.say_at(150.0)
    assert plot.said.text() == "Best candidate within 150 m: 90.0%"
    plot.say_at(0.5)
    assert plot.said.text().endswith("–")


def test_a_curve_holds_its_value_until_the_next_point():
    curve = result().curves[1]
    assert [value_at(curve, x) for x in (0.9, 1, 99, 100, 5000)] == [None, 0.6, 0.65, 0.9, 0.97]


def test_logarithmic_axes_have_round_numbers_that_do_not_crowd():
    words = [text for _, text in logarithmic_ticks(1, 100)[0]]
    assert words == ["1", "2", "5", "10", "20", "50", "100", "200", "500"]
    assert [text for _, text in logarithmic_ticks(1, 20_000)[0]][:3] == ["1", "10", "100"]


def test_probabilities_are_judged_in_words(shown, session, folders):
    shown.show_tab("Reliability")
    trust = result().reliability
    assert shown.reliability.words.text() == reliability_words(trust)
    assert "11.8%" in reliability_words(trust)
    assert "10.3 points too high" in reliability_words(trust)
    session.select(folders[2:])
    assert shown.reliability.plot.isHidden()
    assert "one right picture" in shown.reliability.empty.text()


# --- comparing -------------------------------------------------------------------


def test_two_of_one_test_are_compared_once_and_can_be_swapped(
    shown, session, engine, folders, answers
):
    session.select(folders[:2])
    shown.show_tab("Compare")
    asked = Compare(folders[0], folders[1])
    assert engine.sent[-1] == asked
    answers.answer(engine)
    table = shown.compare.table.cells
    assert table.rows[0] == (
        "R@1", "62.00%", "68.00%", "+6.00 points", "+3.0 to +9.0 points", "better",
    )  # fmt: skip
    assert table.rows[1][-1] == "better or worse by chance"
    assert table.rows[2][-1] == "worse"
    assert table.rows[3][-2:] == ("−12.0 to −3.0 m", "better")
    assert "24 the first, 71 the second" in shown.compare.only_title.text()
    assert "p < 0.0001" in shown.compare.test.text()
    shown.compare.swap.click()
    assert engine.sent[-1] == Compare(folders[1], folders[0])


def test_what_only_one_got_right_is_looked_at_in_the_error_browser(
    shown, session, engine, folders, answers
):
    a, b = folders[:2]
    session.select((a, b))
    shown.show_tab("Compare")
    answers.answer(engine)
    first, second = shown.compare.looks
    first.click()  # right by the first alone: the second's errors
    assert engine.sent[-1] == BrowseErrors(b, "worst", 0, 50, a)
    assert TABS[shown.tabs.currentIndex()] == "Errors"
    assert shown.errors.kind.currentText() == "Missed by the second, found by the first"
    answers.answer(engine)
    assert shown.errors.rows.rowCount() == 50
    shown.show_tab("Compare")
    second.click()
    assert engine.sent[-1] == BrowseErrors(a, "worst", 0, 50, b)
    shown.show_tab("Compare")
    shown.compare.swap.click()
    answers.answer(engine)
    second.click()  # which is now the other one
    assert shown.errors.kind.currentText() == "Missed by the second, found by the first"


def test_nothing_to_look_at_is_not_offered(shown, session, engine, folders, answers):
    session.select(folders[:2])
    shown.show_tab("Compare")
    told = answers.compared(Compare(folders[0], folders[1]))
    none = replace(told.comparison, only_second=0)
    engine.tell(engine.job(Compare), replace(told, comparison=none))
    assert [button.isEnabled() for button in shown.compare.looks] == [True, False]


def test_errors_of_two_are_told_apart_only_where_they_measured_the_same(
    shown, session, engine, folders, answers
):
    session.select(folders[:2])
    shown.show_tab("Errors")
    assert not shown.errors.kind.isHidden()
    shown.errors.kind.setCurrentIndex(1)
    assert engine.sent[-1] == BrowseErrors(folders[0], "worst", 0, 50, folders[1])
    engine.tell(engine.job(BrowseErrors), ErrorsBrowsed(folders[0], 0, 0, ()))
    assert shown.errors.waiting.title.text() == "There is no such query."
    session.select((folders[0], folders[2]))
    assert shown.errors.kind.isHidden()
    assert engine.sent[-1] == BrowseErrors(folders[0], "worst", 0, 50)


@pytest.mark.parametrize(
    ("which", "words"),
    [((0,), "Select two evaluations"), ((0, 2), "measured different tests")],
)
def test_what_cannot_be_compared_is_said(shown, session, engine, folders, which, words):
    session.select(tuple(folders[n] for n in which))
    shown.show_tab("Compare")
    assert words in shown.compare.waiting.title.text()
    assert not any(isinstance(request, Compare) for request in engine.sent)


def test_a_question_that_failed_can_be_asked_again(shown, session, engine, folders):
    session.select(folders[:2])
    shown.show_tab("Compare")
    engine.tell(engine.job(Compare), Problem("They group otherwise", "Score both again."))
    waiting = shown.compare.waiting
    assert waiting.title.text() == "They group otherwise"
    waiting.button.click()
    assert len([r for r in engine.sent if isinstance(r, Compare)]) == 2
    engine.tell(engine.job(Compare), Cancelled())
    assert waiting.title.text() == "Cancelled"


# --- only what is seen -----------------------------------------------------------


def test_nothing_is_asked_of_the_engine_for_a_tab_that_nobody_sees(shown, session, engine, folders):
    session.select(folders[1:2])
    assert engine.sent == []
    shown.show_tab("Map of descriptors")
    assert engine.sent == [Project(folders[1], "pca")]


@pytest.mark.parametrize("name", TABS)
def test_every_tab_follows_the_theme(qapp, shown, session, engine, folders, answers, name):
    session.select(folders[:2])
    shown.show_tab(name)
    answers.answer(engine)
    for theme in ("dark", "light"):
        apply_theme(qapp, theme)
        ground = colours(shown.palette())
        for plot in shown.findChildren(pg.PlotWidget):
            assert plot.backgroundBrush().color().name() == ground.base
        inks = {
            line.opts["pen"].color().name()
            for plot in shown.findChildren(CurvePlot)
            for line in plot.plot.listDataItems()
        }
        assert inks <= {line_colour(shown.palette(), row).name() for row in range(2)}
        assert not shown.grab().isNull()
        qapp.processEvents()


def test_every_control_says_what_it_is(shown, engine, answers):
    for name in TABS:
        shown.show_tab(name)
        answers.answer(engine)
    silent = [
        type(button).__name__
        for button in shown.findChildren(type(shown.look))
        if button.isVisible() and not (button.text() or button.accessibleName())
    ]
    assert silent == []


# --- in the window ---------------------------------------------------------------


@pytest.fixture
def bare_window(qtbot, home, rooms, tmp_path):
    """As ``window``, in a home of its own."""
    window = MainWindow(
        rooms, layout=QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    )
    qtbot.addWidget(window)
    window.show()
    yield window
    window.shutdown()


def test_a_query_that_was_not_found_is_opened_where_photos_are_located(
    qtbot, bare_window, rooms, engine, folders, answers, chosen
):
    bare_window.tasks.show_task("evaluate")
    page = bare_window.evaluation
    qtbot.waitUntil(lambda: rooms.evaluations.first is not None)
    page.show_tab("Errors")
    answers.answer(engine)
    page.errors.table.selectRow(2)
    rooms.session.add((Path("/photos/other.jpg"),))
    page.errors.open.click()
    assert bare_window.tasks.current == "locate"
    assert bare_window.pages.currentWidget() is bare_window.bench
    assert rooms.session.current.path == answers.error_row(2).query


def test_an_evaluation_is_asked_for_followed_and_shown(
    qtbot, bare_window, rooms, engine, home, chosen
):
    bare_window.actions_by_name["new_evaluation"].trigger()
    assert bare_window.tasks.current == "evaluate"
    form = bare_window.evaluation._form
    form.data.setText("/data/University-1652")
    form.begin.click()
    assert isinstance(engine.sent[-1], Evaluate)
    job = engine.job(Evaluate)
    engine.tell(job, Progress(10, 100, "describing queries"))
    assert rooms.jobs.running[0].title == "Evaluating sample4geo-drone on University-1652"
    bare_window.tasks.show_task("locate")
    folder = write(home / "mine" / "uni")
    engine.tell(job, Evaluated((folder,), (result(),)))
    notice = bare_window.notices.notices[-1]
    assert "drone to satellite: R@1 62.1%" in notice.hint
    dict(notice.actions)["Show"]()
    assert bare_window.tasks.current == "evaluate"
    qtbot.waitUntil(lambda: rooms.evaluations.first is not None)
    assert rooms.evaluations.first.folder == folder


def test_one_that_was_cancelled_goes_on_and_one_that_failed_is_changed(
    bare_window, rooms, engine, chosen
):
    request = Evaluate(
        rooms.library.checkpoint.path, Path("/data/u"), headings="unknown", turns=4, tests=("a",)
    )
    rooms.evaluations.start(request)
    engine.tell(engine.job(Evaluate), Cancelled())
    dict(bare_window.notices.notices[-1].actions)["Go on"]()
    assert engine.sent[-1] == request
    engine.tell(engine.job(Evaluate), Problem("No headings", "Evaluate with unknown headings."))
    dict(bare_window.notices.notices[-1].actions)["Change…"]()
    assert bare_window.evaluation._form.request() == request


def test_the_keys_of_the_tab(qtbot, bare_window, rooms):
    assert bare_window.actions_by_name["task_evaluate"].shortcut() == QKeySequence("Ctrl+E")
    bare_window.actions_by_name["task_evaluate"].trigger()
    qtbot.waitUntil(lambda: rooms.evaluations.is_read)
    assert bare_window.evaluation.isVisible()


def test_pages_of_errors_are_turned(shown, engine, session, folders, answers):
    shown.show_tab("Errors")
    errors = shown.errors
    assert engine.sent[-1] == BrowseErrors(folders[0], "worst", 0, 50)
    answers.answer(engine)
    assert errors.where.text() == "1 – 50 of 120"
    assert not errors.before.isEnabled()
    errors.after.click()
    done = answers.answer(engine)
    errors.after.click()
    answers.answer(engine, since=done)
    assert errors.where.text() == "101 – 120 of 120"
    assert not errors.after.isEnabled()
    errors.order.setCurrentIndex(1)
    assert engine.sent[-1] == BrowseErrors(folders[0], "sure", 0, 50)


def test_errors_show_three_pictures_and_what_they_say(shown, engine, answers):
    shown.show_tab("Errors")
    answers.answer(engine)
    model = shown.errors.rows
    words = [model.data(model.index(0, c)) for c in range(model.columnCount())]
    assert words[3:] == ["900", "0.310", "82%", "20 m", "0000", "image-00.jpeg"]
    cells = [model.data(model.index(0, c), Qt.ItemDataRole.UserRole) for c in range(3)]
    row = answers.error_row(0)
    assert [c.picture for c in cells] == [row.query, row.right[0].picture, row.best[0].picture]
    absent = model.data(model.index(6, 1), Qt.ItemDataRole.UserRole)
    assert absent.picture is None
    assert "no right picture" in absent.words


def test_errors_of_clicked_objects_show_both_boxes(shown, engine, session, folders, answers):
    session.select(folders[2:])
    shown.show_tab("Errors")
    answers.answer(engine, task="object")
    answers.answer(engine)
    model = shown.errors.rows
    assert model.head[:3] == ("Query", "Satellite", "IoU")
    cell = model.data(model.index(0, 1), Qt.ItemDataRole.UserRole)
    assert (cell.truth, cell.found) == ((20, 20, 60, 70), (50, 60, 100, 110))
    assert model.data(model.index(0, 3)) == "44 px\n13 m"
    assert not shown.grab().isNull()


def test_where_nothing_was_missed_that_is_said(shown, engine, tmp_path):
    shown.show_tab("Errors")
    Answers(tmp_path, errors=0, side=8).answer(engine)
    assert shown.errors.stack.currentIndex() == 0
    assert shown.errors.waiting.title.text() == "Every query was found."
    assert not shown.errors.open.isEnabled()


def test_a_double_click_and_enter_open_a_query(qtbot, shown, engine, answers):
    shown.show_tab("Errors")
    answers.answer(engine)
    table = shown.errors.table
    table.setFocus()
    with qtbot.waitSignal(shown.locate_asked) as told:
        qtbot.keyClick(table, Qt.Key.Key_Return)
    assert told.args == [answers.error_row(0).query]
    place = table.visualRect(shown.errors.rows.index(1, 3)).center()
    with qtbot.waitSignal(shown.locate_asked) as told:
        qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
        qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert told.args == [answers.error_row(1).query]


# --- the map ---------------------------------------------------------------------


@pytest.fixture
def drawn(qtbot, shown, engine, answers):
    """The map, with its points."""
    shown.show_tab("Map of descriptors")
    answers.answer(engine)
    QApplication.processEvents()
    return shown.map


def pixel_of(plot, row):
    box = plot.plot.getPlotItem().vb
    scene = box.mapViewToScene(pg.Point(float(plot.points.x[row]), float(plot.points.y[row])))
    return plot.plot.mapFromScene(scene)


def test_kinds_are_counted_in_the_legend(drawn):
    assert [box.text() for box in drawn.kinds.values()] == [
        "Gallery (200)", "Found (133)", "Not found (67)",
    ]  # fmt: skip


def test_pointing_shows_the_picture_and_leaving_forgets_it(qtbot, drawn, engine, answers):
    viewport = drawn.plot.plot.viewport()
    row = 399  # the last gallery picture, at the rim
    qtbot.mouseMove(viewport, pixel_of(drawn.plot, row))
    drawn.plot.pointed.emit(drawn.plot.row_at(pixel_of(drawn.plot, row).toPointF()))
    assert drawn.card.picture == answers.picture("satellite", 199)
    assert "Gallery picture" in drawn.about.text()
    assert not drawn.open.isEnabled()
    drawn.plot.pointed.emit(None)
    assert drawn.card.picture is None


def test_a_clicked_query_stays_and_opens(qtbot, drawn, answers):
    viewport = drawn.plot.plot.viewport()
    row = 398  # the last query
    qtbot.mouseClick(viewport, Qt.MouseButton.LeftButton, pos=pixel_of(drawn.plot, row))
    drawn.plot.pointed.emit(None)
    assert drawn.card.picture == answers.picture("drone", 199)
    with qtbot.waitSignal(drawn.open_asked) as told:
        drawn.open.click()
    assert told.args == [answers.picture("drone", 199)]


def drag(qtbot, plot, corners, modifier=Qt.KeyboardModifier.NoModifier):
    viewport, button = plot.plot.viewport(), Qt.MouseButton.LeftButton
    qtbot.mousePress(viewport, button, modifier, corners[0])
    for corner in corners[1:]:
        qtbot.mouseMove(viewport, corner)
        QApplication.processEvents()
    qtbot.mouseRelease(viewport, button, modifier, corners[-1])


def test_a_box_selects_what_lies_in_it_the_missed_first(qtbot, drawn):
    drawn.tools["box"].click()
    size = drawn.plot.plot.viewport().size()
    drag(qtbot, drawn.plot, [QPoint(2, 2), QPoint(size.width() - 3, size.height() - 3)])
    assert drawn.count.text() == "400 selected"
    kinds = [item.sign for item in drawn.grid.rows.items]
    assert kinds[:67] == ["cancel"] * 67
    assert "cancel" not in kinds[67:]


def test_a_lasso_takes_what_is_inside_and_shift_adds(qtbot, drawn):
    drawn.tools["lasso"].click()
    size = drawn.plot.plot.viewport().size()
    w, h = size.width(), size.height()
    half = [QPoint(2, 2), QPoint(w // 2, 2), QPoint(w // 2, h - 3), QPoint(2, h - 3)]
    drag(qtbot, drawn.plot, half)
    left = len(drawn.grid.rows.items)
    assert 100 < left < 300
    other = [QPoint(w // 2, 2), QPoint(w - 3, 2), QPoint(w - 3, h - 3), QPoint(w // 2, h - 3)]
    drag(qtbot, drawn.plot, other, Qt.KeyboardModifier.ShiftModifier)
    assert len(drawn.grid.rows.items) == 400


def test_hidden_kinds_are_neither_pointed_at_nor_selected(qtbot, drawn):
    drawn.kinds["gallery"].setChecked(False)
    assert drawn.plot.row_at(pixel_of(drawn.plot, 399).toPointF()) != 399
    drawn.tools["box"].click()
    size = drawn.plot.plot.viewport().size()
    drag(qtbot, drawn.plot, [QPoint(2, 2), QPoint(size.width() - 3, size.height() - 3)])
    assert drawn.count.text() == "200 selected"


def test_without_a_mouse_the_missed_are_listed_and_looked_at(qtbot, drawn, answers):
    drawn.missed.click()
    assert drawn.count.text() == "67 selected"
    drawn.grid.setFocus()
    qtbot.keyClick(drawn.grid, Qt.Key.Key_Right)
    assert drawn.card.picture == answers.picture("drone", 3)
    with qtbot.waitSignal(drawn.open_asked):
        qtbot.keyClick(drawn.grid, Qt.Key.Key_Return)


def test_neighbours_are_drawn_when_they_are_asked_for(shown, drawn, engine, folders):
    drawn.methods.setCurrentIndex(1)
    assert engine.sent[-1] == Project(folders[0], "tsne")
    assert drawn.stack.currentIndex() == 0
    engine.tell(engine.job(Project), Progress(40, 0, "drawing the map"))
    assert drawn.waiting.hint.text() == "drawing the map"
    engine.tell(engine.job(Project), Problem("t-SNE needs openTSNE", "Draw the main axes."))
    assert drawn.waiting.title.text() == "t-SNE needs openTSNE"
    drawn.methods.setCurrentIndex(0)
    assert drawn.stack.currentIndex() == 1


def test_objects_have_no_map_and_that_is_said(shown, session, engine, folders):
    session.select(folders[2:])
    shown.show_tab("Map of descriptors")
    assert "no map of clicked objects" in shown.map.waiting.title.text()
    assert not any(isinstance(request, Project) for request in engine.sent)
