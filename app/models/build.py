"""From a name and a configuration to a network."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from app.card import Task
from app.errors import UserError
from app.models.base import Network, RetrievalNetwork
from app.models.catalog import BY_NAME, NetworkSpec
from app.models.object_base import ObjectNetwork


def create_network(name: str, config: Mapping[str, Any]) -> Network:
    """A network of either task, with fresh weights, in float32 on the CPU.

    ``config`` is as on its card.
    """
    network: Network = import_module(f"app.models.{spec_of(name).module}").build(config)
    return network


def create(name: str, config: Mapping[str, Any]) -> RetrievalNetwork:
    """A retrieval network."""
    _refuse_other_task(name, "retrieval")
    network = create_network(name, config)
    assert isinstance(network, RetrievalNetwork)
    return network


def create_object(name: str, config: Mapping[str, Any]) -> ObjectNetwork:
    """An object network."""
    _refuse_other_task(name, "object")
    network = create_network(name, config)
    assert isinstance(network, ObjectNetwork)
    return network


def create_preset(name: str, preset: str) -> RetrievalNetwork:
    return create(name, preset_config(name, preset))


def preset_config(name: str, preset: str) -> Mapping[str, Any]:
    presets = spec_of(name).presets
    if preset not in presets:
        raise UserError(
            f"{name} has no configuration {preset}", f"Choose one of {', '.join(presets)}."
        )
    return presets[preset]


def spec_of(name: str) -> NetworkSpec:
    if name not in BY_NAME:
        raise UserError(
            f"This Skyfix has no network {name}",
            f"It knows {', '.join(BY_NAME)}; a newer Skyfix may know more.",
        )
    return BY_NAME[name]


_USES: Mapping[Task, str] = {
    "retrieval": "locating photos",
    "object": "finding clicked objects",
}


def _refuse_other_task(name: str, task: Task) -> None:
    found = spec_of(name).task
    if found != task:
        raise UserError(
            f"{name} is a network for {_USES[found]}, not for {_USES[task]}",
            f"Choose a checkpoint for {_USES[task]}.",
        )
