"""The user's settings: one frozen dataclass, a readable JSON file, unknown keys kept."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from app.paths import config_dir

Theme = Literal["system", "light", "dark"]

EXECUTIONS = ("auto", "eager", "openvino", "compile", "half")  # as in app.engine.backends


@dataclass(frozen=True, slots=True)
class Settings:
    theme: Theme = "system"
    checkpoint: str = ""
    gallery: str = ""
    recent_galleries: tuple[str, ...] = ()
    recent_checkpoints: tuple[str, ...] = ()
    recent_photos: tuple[str, ...] = ()
    object_checkpoints: dict[str, str] = field(default_factory=dict)  # for clicks, by view
    top_k: int = 20
    turns: int | None = None  # None: what the checkpoint's card says
    use_heading: bool = True
    heatmap_opacity: float = 0.55
    device: str = "auto"
    execution: str = "auto"  # one of EXECUTIONS; from the next start of the engine on


def settings_file() -> Path:
    return config_dir() / "settings.json"


def load_settings(path: Path | None = None) -> tuple[Settings, tuple[str, ...]]:
    """The settings and a sentence for each value that could not be used (its default stands)."""
    try:
        path = path or settings_file()
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise TypeError("not an object")
    except FileNotFoundError:
        return Settings(), ()
    except (OSError, ValueError, TypeError) as error:
        name = path or "the folder of the settings"  # which cannot be made
        return Settings(), (f"{name} cannot be read ({error}); defaults are used.",)
    good: dict[str, Any] = {}
    bad: list[str] = []
    for f in fields(Settings):
        if f.name not in raw:
            continue
        value = raw[f.name]
        if _fits(f.name, value):
            good[f.name] = tuple(value) if isinstance(value, list) else value
        else:
            bad.append(f"{path.name}: {f.name} = {value!r} is not usable; the default stands.")
    return Settings(**good), tuple(bad)


def save_settings(settings: Settings, path: Path | None = None) -> None:
    """Whole or not at all; keys of a newer Skyfix stay."""
    path = path or settings_file()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        kept = {}
    body = {**(kept if isinstance(kept, dict) else {}), **asdict(settings)}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(body, indent=1, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)


def _fits(name: str, value: Any) -> bool:
    match name:
        case "theme":
            return value in ("system", "light", "dark")
        case "execution":
            return value in EXECUTIONS
        case "recent_galleries" | "recent_checkpoints" | "recent_photos":
            return isinstance(value, list) and all(isinstance(v, str) for v in value)
        case "object_checkpoints":
            return isinstance(value, dict) and all(
                view in ("drone", "street") and isinstance(path, str)
                for view, path in value.items()
            )
        case "top_k":
            return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000
        case "turns":
            return value is None or (
                isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 72
            )
        case "use_heading":
            return isinstance(value, bool)
        case "heatmap_opacity":
            return isinstance(value, int | float) and 0 <= value <= 1
        case _:
            return isinstance(value, str)
