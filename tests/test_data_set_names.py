"""The window offers names of data sets without loading the engine: they must be the engine's."""

from app.engine.datasets.catalog import BY_NAME, parse_name
from app.ui.evaluation_form import DATA_SETS


def test_every_name_that_is_offered_is_known_to_the_engine():
    for name in DATA_SETS:
        parse_name(name)  # raises for an unknown one
    assert {name.split("-")[0] for name in DATA_SETS} == set(BY_NAME)
