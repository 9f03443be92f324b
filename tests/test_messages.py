import multiprocessing
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import get_args

import pytest

from app import messages
from app.geo import LatLon
from app.messages import (
    Candidate,
    Claim,
    Confidence,
    Event,
    Location,
    Problem,
    QueryRead,
    Train,
    UserError,
    ignore,
)


def location(claim: Claim | None = None) -> Location:
    place = LatLon(48.0, 2.0)
    query = QueryRead(Path("a.jpg"), Path("p.jpg"), 640, 480, "perspective", claim, None)
    best = Candidate(1, "r0c0", place, 0.9, 0.4, 30.0, (place,) * 4, Path("t.jpg"))
    other = Candidate(2, "r0c1", LatLon(48.0, 2.01), 0.8, 0.1, 0.0, (place,) * 4, Path("u.jpg"))
    sure = Confidence(False, 0.4, 40.0, 6400.0, 700.0, 0.1, ("one of two lies elsewhere",))
    return Location(query, (best, other), sure, 12, 0.5, "cpu")


def test_an_answer_survives_the_pipe_between_the_processes():
    here, there = multiprocessing.Pipe()
    with here, there:
        event = Event(3, location(Claim(LatLon(48.001, 2.0), "EXIF GPS")))
        here.send(event)
        assert there.recv() == event


def test_the_best_candidate_is_the_first():
    assert location().best.tile == "r0c0"


def test_the_claim_is_measured_to_the_best_candidate():
    told = location(Claim(LatLon(48.001, 2.0), "EXIF GPS"))
    assert told.claim_distance_m == pytest.approx(111.2, abs=0.1)


def test_without_a_claim_there_is_no_distance_to_it():
    assert location().claim_distance_m is None


@pytest.mark.parametrize("body", [*get_args(messages.Request), *get_args(messages.Body)])
def test_whatever_crosses_the_pipe_is_a_frozen_dataclass(body: type):
    assert body.__dataclass_params__.frozen, f"{body.__name__} can be changed on the way"
    assert "__slots__" in vars(body), f"{body.__name__} takes fields that nobody declared"


def test_a_message_cannot_be_changed_after_it_was_sent():
    problem = Problem("a.jpg is not a picture")
    with pytest.raises(FrozenInstanceError):
        problem.title = "another"


def test_only_a_train_request_s_folders_and_data_have_no_default():
    needed = {f.name for f in fields(Train) if f.default is f.default_factory}
    assert needed == {"run_dir", "data"}


def test_a_user_s_error_says_what_happened_and_what_to_do():
    error = UserError("a.jpg is cut short", "Copy it again.")
    assert str(error) == "a.jpg is cut short"
    assert error.hint == "Copy it again."


def test_the_report_of_a_caller_that_shows_nothing_takes_anything():
    assert ignore(messages.Progress(1, 2, "tile 1")) is None
