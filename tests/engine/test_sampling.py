"""Which pairs share a batch."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from app.engine.checkpoints import Device
from app.engine.datasets.pairs import read_pairs
from app.engine.hard_negatives import most_alike, nearest_on_ground
from app.engine.held_out import describe_pictures, held_out_loader
from app.engine.sampling import PlaceBatches, ground_of
from app.models.build import create_preset
from tests.engine.pair_folder import HEADER, write_pairs, write_table


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """24 places on a line, 100 m apart."""
    return read_pairs(write_pairs(tmp_path_factory.mktemp("line"), train=24, val=1), "train")


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Five places with three pairs each, without positions."""
    folder = write_pairs(tmp_path_factory.mktemp("several"), train=15, val=1)
    rows = [
        [
            f"query/{n}.png",
            f"satellite/{n}.png",
            "train",
            n // 3,
            "",
            "",
            "",
            "drone",
            "perspective",
            "",
        ]
        for n in range(15)
    ]
    write_table(folder, rows, HEADER)
    return read_pairs(folder, "train")


def batches(pairs, **settings):
    return PlaceBatches(pairs, **{"batch_size": 4, "seed": 3, **settings})


def test_a_place_comes_k_times_in_a_row_each_time_anew(several):
    sampler = batches(several, batch_size=5, samples_per_place=3)
    keys = [key for batch in sampler for key in batch]
    assert len(keys) == 15
    places = [several[index].place for _, index in keys]
    runs = [places[start : start + 3] for start in range(0, 15, 3)]
    assert all(len(set(run)) == 1 for run in runs)
    assert len(set(places)) == 5
    assert len({visit for visit, _ in keys}) == 3  # no two visits have the same chance
    assert len(sampler) == 3
    sampler.epoch = 1
    assert [key for batch in sampler for key in batch] != keys
    assert {visit for batch in sampler for visit, _ in batch} == {3, 4, 5}


def test_k_pictures_of_a_place_are_drawn_among_all_of_its_pairs(several):
    sampler = batches(several, samples_per_place=1)
    seen = set()
    for epoch in range(30):
        sampler.epoch = epoch
        seen |= {index for batch in sampler for _, index in batch}
    assert seen == set(range(15))


def test_a_run_that_goes_on_leaves_out_the_batches_that_it_had(line):
    whole, rest = batches(line), batches(line)
    rest.start = 2
    assert list(rest) == list(whole)[2:]


def test_a_batch_is_a_multiple_of_what_is_asked(line):
    assert batches(line, batch_size=7, multiple=3).batch_size == 6
    assert batches(line, batch_size=100, multiple=5).batch_size == 20


def test_a_batch_is_made_of_pairs_and_their_neighbours_in_the_table(line):
    table = nearest_on_ground(ground_of(line), 6)
    sampler = batches(line, batch_size=6, neighbour_select=4)
    sampler.neighbours = table
    spread = [np.ptp([line[index].place for _, index in batch]) for batch in sampler]
    apart = [np.ptp([line[i].place for _, i in batch]) for batch in batches(line, batch_size=6)]
    assert np.mean(spread) < np.mean(apart) * 0.8
    keys = [key for batch in sampler for key in batch]
    assert max(Counter(keys).values()) == 1


def test_nearest_on_the_ground_are_the_neighbours_nearest_first(line):
    table = nearest_on_ground(ground_of(line), 4)
    assert set(table[10][:2]) == {9, 11}
    assert set(table[10][2:]) == {8, 12}
    assert list(table[0]) == [1, 2, 3, 4]


def test_ground_by_place_is_in_the_unit_asked_for_and_worlds_lie_apart(line, several):
    half = [replace(pair, world=str(n >= 12)) for n, pair in enumerate(line)]
    table = ground_of(half).of_places(50.0)
    steps = np.linalg.norm(np.diff(table, axis=0), axis=1)
    assert steps[:11] == pytest.approx(2.0, rel=1e-2)  # 100 m
    assert steps[12:] == pytest.approx(2.0, rel=1e-2)
    between = np.linalg.norm(table[:12, None] - table[None, 12:], axis=2)
    assert between.min() >= 10
    nowhere = ground_of(several).of_places(50.0)
    assert nowhere.shape == (5, 3)
    assert np.isnan(nowhere[:, :2]).all()


def test_pairs_without_positions_have_no_neighbours_on_the_ground(several):
    assert nearest_on_ground(ground_of(several), 3) is None


def test_a_table_longer_than_there_are_others_is_filled_up(line):
    table = nearest_on_ground(ground_of(line[:3]), 5)
    assert list(table[0]) == [1, 2, -1, -1, -1]
    sampler = batches(line[:3], batch_size=3)
    sampler.neighbours = table
    assert len(list(sampler)) == 1


def test_most_alike_are_the_satellite_pictures_nearest_to_a_query(several):
    network = create_preset("sample4geo", "smallest")
    device = Device("cpu", "test")
    place = [pair.place for pair in several]
    with held_out_loader(several, network, workers=0) as loader:
        table = most_alike(network, device, loader, place, 4)
        pictures = next(iter(loader))
    assert table.shape == (15, 4)
    for row, others in enumerate(table):
        assert all(several[index].place != several[row].place for index in others)
    with torch.inference_mode():
        queries = describe_pictures(network, device, pictures.query, "drone")
        satellites = describe_pictures(network, device, pictures.satellite, "satellite")
    scores = queries @ satellites.T
    scores[np.array(place)[:, None] == np.array(place)[None]] = -np.inf
    assert (table[:, 0] == scores.argmax(axis=1)).all()
