"""Small copies for lists: asked in few requests, the last looked at first, none asked twice."""

from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication

from app.messages import Cancelled, Problem, Progress, Shrink, Shrunk, Thumbnail
from app.ui.thumbnails import AT_ONCE, Thumbnails
from tests.ui.evaluations import Answers


@pytest.fixture
def thumbnails(engine):
    thumbnails = Thumbnails(engine)
    yield thumbnails
    thumbnails.close()


@pytest.fixture
def answers(tmp_path):
    return Answers(tmp_path, side=16)


PICTURES = tuple(Path(f"/data/{n}.jpg") for n in range(20))


def loop(qtbot, engine, count):
    qtbot.waitUntil(lambda: len(engine.sent) == count)


def test_what_one_drawing_needs_goes_in_few_requests_the_last_first(
    qtbot, engine, thumbnails, answers
):
    for picture in PICTURES:
        assert thumbnails.get(picture) is None
    loop(qtbot, engine, 1)
    assert engine.sent[0].pictures == PICTURES[::-1][:AT_ONCE]
    engine.tell(1, Progress(1, 8))
    engine.tell(1, answers.shrunk(engine.sent[0]))
    loop(qtbot, engine, 2)
    assert engine.sent[1].pictures == PICTURES[::-1][AT_ONCE : 2 * AT_ONCE]


def test_a_picture_comes_when_it_is_decoded_and_is_kept(qtbot, engine, thumbnails, answers):
    thumbnails.get(PICTURES[0])
    loop(qtbot, engine, 1)
    engine.tell(1, answers.shrunk(engine.sent[0]))
    qtbot.waitUntil(lambda: thumbnails.get(PICTURES[0]) is not None)
    assert thumbnails.get(PICTURES[0]).width() == 16
    assert thumbnails.about(PICTURES[0]).width == 120
    QCoreApplication.processEvents()
    assert len(engine.sent) == 1


def test_what_cannot_be_read_is_not_asked_for_again(qtbot, engine, thumbnails):
    bad, worse = PICTURES[:2]
    thumbnails.want((bad,))
    loop(qtbot, engine, 1)
    engine.tell(1, Shrunk((Thumbnail(bad, None, problem="no picture"),)))
    assert thumbnails.get(bad).isNull()
    assert thumbnails.about(bad).problem == "no picture"
    thumbnails.want((worse,))
    loop(qtbot, engine, 2)
    engine.tell(2, Problem("the engine stopped"))
    assert thumbnails.get(worse).isNull()
    QCoreApplication.processEvents()
    assert len(engine.sent) == 2


def test_a_cancelled_request_is_made_again_when_it_is_looked_at(qtbot, engine, thumbnails):
    thumbnails.get(PICTURES[0])
    loop(qtbot, engine, 1)
    engine.tell(1, Cancelled())
    assert thumbnails.get(PICTURES[0]) is None
    loop(qtbot, engine, 2)


def test_what_nobody_looks_at_any_more_is_not_made(qtbot, engine, thumbnails, answers):
    thumbnails.want(PICTURES)
    loop(qtbot, engine, 1)
    thumbnails.forget()
    engine.tell(1, answers.shrunk(engine.sent[0]))
    QCoreApplication.processEvents()
    assert engine.sent == [Shrink(PICTURES[::-1][:AT_ONCE])]


def test_a_copy_that_was_swept_away_shows_a_sign(qtbot, engine, thumbnails, tmp_path):
    thumbnails.want(PICTURES[:1])
    loop(qtbot, engine, 1)
    engine.tell(1, Shrunk((Thumbnail(PICTURES[0], tmp_path / "gone.jpg", 10, 10),)))
    assert thumbnails.get(PICTURES[0]) is None
    qtbot.waitUntil(lambda: (image := thumbnails.get(PICTURES[0])) is not None and image.isNull())
