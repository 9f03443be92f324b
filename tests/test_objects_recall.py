"""What the benchmark of object checkpoints says of those that it compares."""

from dataclasses import replace
from pathlib import Path

from benchmarks.objects_recall import name_of, training_words
from tests.engine.stand_in_objects import ColourFinder, object_card


def card(network="attengeo", config=(), **training):
    made = replace(object_card(ColourFinder()), network=network, config=dict(config))
    return replace(made, training=training)


def test_the_papers_baseline_is_named_by_what_it_lacks():
    whole, bare = {"cvcam": True, "mhsam": True}, {"cvcam": False, "mhsam": False}
    best = Path("runs/r5-base/best.safetensors")
    assert name_of(Path("a/mine.safetensors"), card(config=whole)) == "attengeo (mine)"
    assert name_of(best, card(config=bare)) == "attengeo without CVCAM and MHSAM (r5-base)"
    assert name_of(best, card("detgeo", {"mhsam": False})) == "detgeo (r5-base)"


def test_unequal_training_is_told_and_a_networks_own_settings_are_not():
    equal = {"data": "towns", "epochs": 10, "batch_size": 16, "lr": 8e-4}
    one = card(network="attengeo", preset="tiny-drone", epoch=8, **equal)
    other = card("detgeo", preset="smallest", epoch=3, **equal)
    assert training_words("ab", [one, other]) == (
        "trained alike: data towns, epochs 10, batch_size 16, lr 0.0008"
    )
    longer = card("detgeo", **{**equal, "epochs": 20})
    assert training_words("ab", [one, longer]) == "not trained alike: epochs 10, 20"
    assert training_words("ab", [one, card("detgeo")]) == (
        "not comparable: b tells nothing of its training"
    )
