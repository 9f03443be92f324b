"""Evaluations without widgets: what is listed, started, asked once, and told when it is late."""

import pytest

from app.messages import (
    BrowseErrors,
    Cancelled,
    Compare,
    Evaluate,
    Evaluated,
    Problem,
    Progress,
    Project,
)
from app.paths import evaluations
from app.ui.evaluation_session import MOST_SHOWN, Asked, EvaluationSession
from tests.ui.evaluations import Answers, damage, result, write


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SKYFIX_HOME", str(tmp_path / "home"))
    return evaluations()


@pytest.fixture
def session(engine, home):
    session = EvaluationSession(engine)
    yield session
    session.close()


@pytest.fixture
def answers(tmp_path):
    return Answers(tmp_path, side=16)


def read(qtbot, session):
    with qtbot.waitSignal(session.picked):
        session.refresh()


def make(home, count=2):
    """Newest last."""
    return [write(home / f"run{n}" / "test", minutes=n) for n in range(count)]


def test_evaluations_are_listed_newest_first_and_the_newest_is_looked_at(qtbot, session, home):
    old, new = make(home)
    read(qtbot, session)
    assert [e.folder for e in session.entries] == [new, old]
    assert session.first.folder == new


def test_a_damaged_one_is_told_once_and_hides_no_other(qtbot, session, home):
    good, bad = make(home)
    damage(bad)
    told = []
    session.failed.connect(told.append)
    read(qtbot, session)
    read(qtbot, session)
    assert [e.folder for e in session.entries] == [good]
    assert len(told) == 1
    assert str(bad) in told[0].title


def test_a_folder_opened_elsewhere_is_found_again_by_the_next_session(
    qtbot, engine, session, home, tmp_path
):
    mine = write(home / "a" / "test", minutes=5)
    other = write(tmp_path / "usb" / "results" / "drone")
    with qtbot.waitSignal(session.picked):
        session.open_folder(tmp_path / "usb")
    assert session.first.folder == other
    again = EvaluationSession(engine)
    read(qtbot, again)
    assert [e.folder for e in again.entries] == [mine, other]
    again.close()


def test_a_folder_without_results_is_refused(qtbot, session, tmp_path, home):
    with qtbot.waitSignal(session.failed) as told:
        session.open_folder(tmp_path)
    assert "There is no evaluation in" in told.args[0].title


def test_a_damaged_list_of_other_folders_hides_nothing(qtbot, session, home):
    (mine,) = make(home, 1)
    (home / "elsewhere.json").write_text("{", encoding="utf-8")
    with qtbot.waitSignal(session.failed) as told:
        session.refresh()
    assert "elsewhere.json" in told.args[0].title
    assert [e.folder for e in session.entries] == [mine]


def test_only_so_many_are_laid_over_each_other(qtbot, session, home):
    folders = make(home, MOST_SHOWN + 2)
    read(qtbot, session)
    session.select(tuple(folders))
    assert [e.folder for e in session.selected] == folders[:MOST_SHOWN]


def test_the_selection_outlives_a_new_list(qtbot, session, home):
    old, _ = make(home)
    read(qtbot, session)
    session.select((old,))
    write(home / "newest" / "test", minutes=9)
    read(qtbot, session)
    assert session.first.folder == old
    assert len(session.entries) == 3


def request_of(tmp_path, **how):
    return Evaluate(tmp_path / "c.safetensors", tmp_path / "data", **how)


def test_what_is_under_way_is_not_started_twice(engine, session, tmp_path):
    session.start(request_of(tmp_path))
    session.start(request_of(tmp_path))
    session.start(request_of(tmp_path, headings="unknown"))
    assert len(engine.sent) == 2


def test_a_cancelled_evaluation_goes_on_by_the_same_request(engine, session, tmp_path):
    stopped = []
    session.stopped.connect(stopped.append)
    session.start(request_of(tmp_path))
    session.cancel(request_of(tmp_path))
    assert engine.cancelled == [1]
    engine.tell(1, Progress(3, 10, "describing queries"))
    engine.tell(1, Cancelled())
    assert stopped == [request_of(tmp_path)]
    session.start(stopped[0])
    assert engine.sent[-1] == request_of(tmp_path)
    assert session.running == (request_of(tmp_path),)


def test_a_failed_evaluation_says_which(engine, session, tmp_path):
    told = []
    session.evaluating_failed.connect(lambda *what: told.append(what))
    session.start(request_of(tmp_path))
    engine.tell(1, Problem("no headings", "unknown ones"))
    assert told == [(request_of(tmp_path), Problem("no headings", "unknown ones"))]
    assert session.running == ()


def test_what_was_measured_is_listed_and_looked_at_wherever_it_lies(
    qtbot, engine, session, home, tmp_path
):
    make(home, 1)
    read(qtbot, session)
    session.start(request_of(tmp_path, output=tmp_path / "mine"))
    folder = write(tmp_path / "mine" / "test", minutes=7)
    with qtbot.waitSignal(session.picked):
        engine.tell(1, Evaluated((folder,), (result(),)))
    assert session.first.folder == folder
    again = EvaluationSession(engine)
    read(qtbot, again)
    assert folder in [e.folder for e in again.entries]
    again.close()


def test_a_question_is_asked_once(engine, session, home, answers):
    question = Project(home / "a" / "test")
    session.ask(question)
    session.ask(question)
    assert engine.sent == [question]
    assert session.asked(question) == Asked()
    engine.tell(1, Progress(1, 0, "drawing the map"))
    assert session.asked(question).note == "drawing the map"
    engine.tell(1, answers.projected(question))
    session.ask(question)
    assert engine.sent == [question]
    assert session.asked(question).answer == answers.projected(question)


def test_a_newer_question_of_a_kind_takes_the_older_ones_place(engine, session, home, answers):
    first, second = (BrowseErrors(home / "a" / "test", start=n) for n in (0, 50))
    other = Compare(home / "a", home / "b")
    for question in (first, other, second):
        session.ask(question)
    assert engine.cancelled == [1]
    engine.tell(1, answers.errors_of(first))
    assert session.asked(first) is None
    engine.tell(2, answers.compared(other))
    assert session.asked(other).answer is not None


def test_what_failed_or_was_cancelled_is_asked_again_only_when_told_to(engine, session, home):
    question = Project(home / "a" / "test", "tsne")
    for end, state in (
        (Problem("no openTSNE"), Asked(problem=Problem("no openTSNE"))),
        (Cancelled(), Asked(cancelled=True)),
    ):
        session.ask(question, again=True)
        engine.tell(len(engine.sent), end)
        assert session.asked(question) == state
        sent = len(engine.sent)
        session.ask(question)
        assert len(engine.sent) == sent
    session.ask(question, again=True)
    assert session.asked(question) == Asked()


def test_a_folder_that_was_measured_anew_forgets_what_was_known_of_it(
    qtbot, engine, session, home, answers
):
    one, two = make(home)
    read(qtbot, session)
    questions = [Project(one), Project(two), Compare(one, two)]
    for question in questions:
        session.ask(question)
        answers.answer(engine, since=len(engine.sent) - 1)
    write(one, result(queries=5), minutes=30)
    read(qtbot, session)
    assert [session.asked(q) is None for q in questions] == [True, False, True]
    assert session.entries[0].result.queries == 5


def test_reading_many_folders_never_holds_the_window_up(qtbot, session, home, no_stall):
    for n in range(150):
        write(home / f"run{n}" / "test", minutes=n % 60)
    with no_stall(limit_s=0.25):
        read(qtbot, session)
    assert len(session.entries) == 150
