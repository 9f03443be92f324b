"""The session against an engine that is a list: no process, no waiting."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.messages import Cancelled, Explain, Locate, Problem, Progress
from app.ui.session import IN_FLIGHT, LocateSession, Target

A, B, C, D = (Path(f"/photos/{name}.jpg") for name in "abcd")
TARGET = Target(Path("/g"), Path("/c.safetensors"))


@pytest.fixture
def session(engine):
    session = LocateSession(engine)
    session.use(TARGET)
    return session


def heard(signal):
    told = []
    signal.connect(lambda *what: told.append(what[0] if what else None))
    return told


def test_a_photo_goes_from_waiting_to_located(engine, session, scene):
    session.add((A,))
    assert session.query(A).step == "waiting"
    assert engine.sent == [Locate(A, TARGET.gallery, TARGET.checkpoint)]
    engine.tell(1, Progress(0, 0, "opening"))
    assert session.query(A).step == "reading"
    engine.tell(1, scene.read(A))
    assert session.query(A).step == "matching"
    engine.tell(1, scene.location(A))
    assert session.query(A).step == "located"
    assert session.candidate.rank == 1


def test_the_answer_to_an_older_ask_never_replaces_the_newer(engine, session, scene):
    session.add((A,))
    session.add((A,))
    assert engine.cancelled == [1]
    engine.tell(1, scene.location(A))
    assert session.query(A).answer is None
    newer = replace(scene.location(A), seconds=9.0)
    engine.tell(2, newer)
    engine.tell(1, scene.location(A))
    assert session.query(A).answer == newer


def test_no_more_photos_are_with_the_engine_than_it_needs(engine, session, scene):
    session.add((A, B, C, D))
    assert [r.photo for r in engine.sent] == [A, B]
    engine.tell(1, scene.location(A))
    assert [r.photo for r in engine.sent if isinstance(r, Locate)] == [A, B, C]
    assert IN_FLIGHT == 2


def test_a_photo_that_is_looked_at_is_answered_next(engine, session, scene):
    session.add((A, B, C, D))
    session.select(D)
    engine.tell(1, scene.location(A))
    assert engine.sent[-1].photo == D


def test_a_problem_is_kept_and_the_others_go_on(engine, session, scene):
    session.add((A, B))
    engine.tell(1, Problem("a.jpg is not a picture", "Choose another."))
    engine.tell(2, scene.location(B))
    assert session.query(A).problem == Problem("a.jpg is not a picture", "Choose another.")
    assert session.query(B).step == "located"
    assert session.count("problem") == session.count("located") == 1


def test_another_gallery_asks_every_query_afresh(engine, session, scene):
    session.add((A, B))
    engine.tell(1, scene.location(A))
    session.use(replace(TARGET, gallery=Path("/other")))
    assert session.query(A).answer is None
    engine.tell(2, Cancelled())
    engine.tell(2 + 1, Cancelled())  # the explanation of the older answer
    assert {r.photo for r in engine.sent if getattr(r, "gallery", None) == Path("/other")} == {A, B}


def test_without_a_gallery_photos_wait_and_are_asked_once_there_is_one(engine):
    session = LocateSession(engine)
    session.add((A,))
    assert engine.sent == []
    assert "gallery" in session.query(A).note
    session.use(TARGET)
    assert [r.photo for r in engine.sent] == [A]


def test_a_removed_query_is_cancelled_and_its_neighbour_selected(engine, session):
    session.add((A, B, C))
    session.select(B)
    selected = heard(session.selected)
    session.remove(B)
    assert session.paths == (A, C)
    assert selected == [C]
    assert engine.cancelled == [2]


def test_the_answer_to_a_removed_query_is_dropped(engine, session, scene):
    session.add((A, B))
    session.remove(A)
    engine.tell(1, scene.location(A))
    assert session.paths == (B,)


def test_cancelling_leaves_the_queries_to_be_asked_again(engine, session, scene):
    session.add((A, B, C))
    engine.tell(1, scene.location(A))
    session.cancel_all()
    assert [session.query(p).step for p in (A, B, C)] == ["located", "cancelled", "cancelled"]
    engine.tell(2, Cancelled())
    session.retry(B)
    assert session.query(B).step == "waiting"


def test_a_selected_candidate_is_explained_and_the_older_ask_cancelled(engine, session, scene):
    session.add((A,))
    engine.tell(1, scene.location(A))
    first = engine.job(Explain)
    session.pick(3)
    assert engine.cancelled == [first]
    third = session.query(A).answer.candidates[2]
    assert engine.sent[-1].tile == third.tile
    assert engine.sent[-1].heading_deg == third.heading_deg
    shown = heard(session.explained)
    engine.tell(first, scene.explanation(engine.sent[first - 1]))
    assert shown == []  # the older one comes too late
    engine.tell(engine.job(Explain), scene.explanation(engine.sent[-1]))
    assert shown[-1].explanation.tile == third.tile


def test_an_explanation_seen_before_is_not_asked_twice(engine, session, scene):
    session.add((A,))
    engine.tell(1, scene.location(A))
    engine.tell(engine.job(Explain), scene.explanation(engine.sent[-1]))
    session.pick(2)
    asked = len(engine.sent)
    shown = heard(session.explained)
    session.pick(1)
    assert len(engine.sent) == asked
    assert shown[-1].explanation is not None


def test_each_query_remembers_its_candidate(engine, session, scene):
    session.add((A, B))
    engine.tell(1, scene.location(A))
    engine.tell(2, scene.location(B))
    session.pick(4)
    session.step_query(1)
    assert (session.current.path, session.candidate.rank) == (B, 1)
    session.step_query(-1)
    assert (session.current.path, session.candidate.rank) == (A, 4)


def test_steps_stop_at_the_ends(engine, session, scene):
    session.add((A, B))
    engine.tell(1, scene.location(A, count=2))
    session.step_query(-1)
    assert session.current.path == A
    session.step_candidate(-1)
    assert session.candidate.rank == 1
    session.step_candidate(5)
    assert session.candidate.rank == 1
    session.pick(9)
    assert session.candidate.rank == 1


def test_a_whole_folder_is_told_once(engine, session):
    added, changed = heard(session.added), heard(session.changed)
    session.add(Path(f"/photos/{n}.jpg") for n in range(20_000))
    assert [len(paths) for paths in added] == [20_000]
    assert changed == []
    assert session.count("waiting") == 20_000
