"""The import hook of conftest is what makes the shape annotations more than words."""

import pytest
import torch
from jaxtyping import TypeCheckError

from app.models.losses import info_nce


def unit_rows(rows: int, length: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(rows, length), dim=1)


def loss(query: torch.Tensor, satellite: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    places = torch.arange(4)
    scale = torch.tensor(10.0)
    return info_nce(query, satellite, places, scale=scale, label_smoothing=smoothing)


def test_shapes_that_agree_are_let_by():
    assert loss(unit_rows(4, 8), unit_rows(4, 8)).isfinite()


def test_two_descriptors_of_different_length_are_refused_at_the_door():
    with pytest.raises(TypeCheckError):
        loss(unit_rows(4, 8), unit_rows(4, 9))


def test_a_wrong_kind_of_number_is_refused():
    with pytest.raises(TypeCheckError):
        loss(unit_rows(4, 8).long(), unit_rows(4, 8))


def test_an_int_will_do_for_a_float_as_it_does_for_mypy():
    assert loss(unit_rows(4, 8), unit_rows(4, 8), smoothing=0).isfinite()
