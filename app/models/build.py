"""From a name and a configuration to a network."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from app.errors import UserError
from app.models.base import RetrievalNetwork
from app.models.catalog import BY_NAME, NetworkSpec


def create(name: str, config: Mapping[str, Any]) -> RetrievalNetwork:
    """A network with fresh weights, in float32 on the CPU. ``config`` is as on its card."""
    network: RetrievalNetwork = import_module(f"app.models.{_spec(name).module}").build(config)
    return network


def create_preset(name: str, preset: str) -> RetrievalNetwork:
    return create(name, preset_config(name, preset))


def preset_config(name: str, preset: str) -> Mapping[str, Any]:
    presets = _spec(name).presets
    if preset not in presets:
        raise UserError(
            f"{name} has no configuration {preset}", f"Choose one of {', '.join(presets)}."
        )
    return presets[preset]


def _spec(name: str) -> NetworkSpec:
    if name not in BY_NAME:
        raise UserError(
            f"This Skyfix has no network {name}",
            f"It knows {', '.join(BY_NAME)}; a newer Skyfix may know more.",
        )
    return BY_NAME[name]
