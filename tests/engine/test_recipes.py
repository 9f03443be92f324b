"""Every recipe, for two epochs, on a tiny folder in the layout that its paper's data set has."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from app.card import read_card
from app.engine.checkpoints import load_checkpoint
from app.engine.datasets.catalog import open_data_set
from app.engine.distributed import Team
from app.engine.network_start import make_network, read_start
from app.engine.recipes import BY_NAME, RECIPES, make_train, recipe
from app.engine.runs import read_metrics
from app.engine.training import train
from app.engine.training_tasks import open_task
from app.errors import UserError
from app.messages import ignore
from app.models.catalog import BY_NAME as NETWORKS
from app.train_request import Train, options
from tests.engine import made_data_sets as made
from tests.engine.pair_folder import write_pairs

# The smallest preset of each network, made for the view of the data set.
STREET = {
    "sample4geo": {"query_view": "street", "query_size": [32, 128]},
    "mfrgn": {"query_view": "street"},
    "attengeo": {"query_view": "street"},
    "detgeo": {"query_view": "street"},
}


def write_g2d(folder: Path) -> Path:
    return made.write_cvogl(folder, name="G2D", query=(32, 64))


WRITERS: dict[str, Callable[[Path], Path]] = {
    "university": lambda folder: made.write_university(folder, drones=2),
    "cvusa": made.write_cvusa,
    "cvact": made.write_cvact,
    "vigor": lambda folder: made.write_vigor(folder, tiles=6, panoramas=4),
    "cvogl-drone": made.write_cvogl,
    "cvogl-street": lambda folder: made.write_cvogl(folder, name="CVOGL_SVI", query=(32, 64)),
    "g2d": write_g2d,
}


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    """One folder a data set, written when it is first asked for."""
    folders: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in folders:
            folder = tmp_path_factory.mktemp(name)
            folders[name] = WRITERS[name](folder)
        return folders[name]

    return of


CASES = [(one.name, data) for one in RECIPES for data in one.data]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "data"), CASES, ids=["-on-".join(case) for case in CASES])
def test_a_recipe_trains_on_its_data_set(name, data, data_sets, tmp_path):
    fields = recipe(name)
    street = data not in ("university", "cvogl-drone")
    run = make_train(
        tmp_path / "run",
        data_sets(data),
        recipe=name,
        preset="smallest",
        overrides=STREET.get(fields["network"], {}) if street else {},
        epochs=2,
        batch_size=3,
        device="cpu",
    )
    done = train(run)
    told = read_metrics(run.run_dir)
    assert [line.epoch for line in told] == [0, 1]
    assert all(line.metrics for line in told)
    assert done.checkpoint.is_file()
    assert done.best_by == ("accu@0.5" if NETWORKS[run.network].task == "object" else "R@1")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["sample4geo", "lpn"])
def test_university_trains_from_the_street_too(network, data_sets, tmp_path):
    """Its street photos are no panoramas and face anywhere; drone pictures are left alone."""
    run = make_train(
        tmp_path / "run",
        data_sets("university"),
        data_name="university-street",
        network=network,
        preset="smallest",
        overrides={"query_view": "street"},
        epochs=2,
        batch_size=3,
        device="cpu",
    )
    done = train(run)
    card = read_card(done.checkpoint)
    assert (card.query_view, set(card.sizes)) == ("street", {"street", "satellite"})
    assert len(read_metrics(run.run_dir)) == 2


def test_a_network_for_another_view_is_told_how_to_change_it(data_sets, tmp_path):
    run = make_train(
        tmp_path / "run", data_sets("university"), data_name="university-street",
        preset="smallest", device="cpu",
    )  # fmt: skip
    with pytest.raises(UserError, match="no train pairs with drone queries") as told:
        train(run)
    assert "--set query_view=street" in told.value.hint


@pytest.mark.parametrize("one", RECIPES, ids=[one.name for one in RECIPES])
def test_a_recipe_names_settings_networks_and_presets_that_there_are(one):
    run = Train(Path("run"), Path("data"), **recipe(one.name))
    presets = NETWORKS[run.network].presets
    assert run.preset in presets or (run.preset == "" and one.name == "adapt")
    assert one.source
    choices = {option.name: option.choices for option in options() if option.choices}
    assert all(getattr(run, name) in allowed for name, allowed in choices.items())


def test_what_is_given_replaces_the_recipes_own(tmp_path):
    run = make_train(tmp_path, tmp_path, recipe="geoviewmatch", lr=1e-5)
    assert (run.lr, run.asam_rho, run.trunk_lr_factor) == (1e-5, 2.5, 0.5)
    assert run.recipe == "geoviewmatch"


def test_a_share_of_neighbours_alone_still_asks_for_them(tmp_path):
    assert make_train(tmp_path, tmp_path, neighbour_share=0.25).negatives == "neighbours"


def test_an_unknown_recipe_is_told_with_those_that_there_are(tmp_path):
    with pytest.raises(UserError, match="no recipe mift") as problem:
        make_train(tmp_path, tmp_path, recipe="mift")
    assert "mift-university" in problem.value.hint
    assert set(BY_NAME) == {one.name for one in RECIPES}


def test_a_classifier_gets_a_class_for_each_training_place(tmp_path):
    """Preset or parent may have been made for another number; places are renumbered from 0."""
    data = write_pairs(tmp_path / "data", train=4, val=3)
    table = (data / "pairs.csv").read_text().replace(",train,", ",train,9")
    (data / "pairs.csv").write_text(table)
    run = make_train(tmp_path / "run", data, network="mift", preset="smallest")
    start = read_start(run)
    config = {**start.config, "classes": 701}
    make = partial(make_network, run, replace(start, config=config))
    task, network = open_task(run, make, Team(), ignore)
    assert network.config.classes == 4
    with task.loader(workers=0, pinned=False) as loader:
        places = [place for batch in loader for place in batch.place.tolist()]
    assert sorted(places) == [0, 1, 2, 3]


def test_a_parents_classifier_is_kept_only_where_it_fits(tmp_path):
    data = write_pairs(tmp_path / "data", train=4, val=3)
    fewer = write_pairs(tmp_path / "fewer", train=3, val=3)
    small = {"network": "mift", "preset": "smallest", "epochs": 1, "device": "cpu"}
    small |= {"batch_size": 2, "overrides": {"classes": 4}}
    parent = train(make_train(tmp_path / "first", data, **small)).checkpoint
    run = make_train(tmp_path / "second", fewer, init=parent)
    assert (run.network, run.preset) == ("mift", "")  # those of the parent
    data_set = open_data_set(fewer)
    network = make_network(run, read_start(run), data_set)
    assert network.config.classes == 3
    trunk = load_checkpoint(parent, device="cpu").network.transformer.state_dict()
    assert all(torch.equal(v, trunk[k]) for k, v in network.transformer.state_dict().items())
