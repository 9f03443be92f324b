"""Where things are: resources (frozen or not), the user's own files, caches.

``SKYFIX_HOME`` puts everything that is written under one folder: for tests and portable use.
"""

import os
import sys
from pathlib import Path

APP = "skyfix"
DEMO_NETWORK = {"drone": "sample4geo", "street": "mfrgn"}  # that locates each demo case


def resources() -> Path:
    """What ships with the program; read-only."""
    frozen = getattr(sys, "_MEIPASS", None)
    root = Path(frozen) if frozen else Path(__file__).resolve().parent.parent
    return root / "resources"


def _user(kind: str) -> Path:
    home = os.environ.get("SKYFIX_HOME")
    if home:
        folder = Path(home) / kind
    else:
        import platformdirs

        folder = Path(
            {
                "config": platformdirs.user_config_dir(APP, appauthor=False),
                "data": platformdirs.user_data_dir(APP, appauthor=False),
                "cache": platformdirs.user_cache_dir(APP, appauthor=False),
                "log": platformdirs.user_log_dir(APP, appauthor=False),
            }[kind]
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def config_dir() -> Path:
    return _user("config")


def data_dir() -> Path:
    """Galleries, checkpoints and runs that the user made without naming another place."""
    return _user("data")


def evaluations() -> Path:
    """Descriptors and figures that were given no other place: a folder a checkpoint, in it one a
    test (see app.results).
    """
    return data_dir() / "evaluations"


def objects_dir() -> Path:
    """What was clicked in photos: a file a photo (see app.ui.object_memory)."""
    return data_dir() / "objects"


def cache_dir() -> Path:
    """Previews and heatmaps: may be emptied at any time."""
    return _user("cache")


def log_dir() -> Path:
    return _user("log")


def demo() -> Path:
    """The demo case: photos, truth.csv, the city's imagery and its galleries."""
    return resources() / "demo"


def demo_checkpoint(kind: str) -> Path:
    """Which of the shipped checkpoints locates a demo case's photos: of "drone" or "street"."""
    return resources() / "checkpoints" / f"{DEMO_NETWORK[kind]}-{kind}.safetensors"


def shipped_checkpoints() -> tuple[Path, ...]:
    return tuple(sorted((resources() / "checkpoints").glob("*.safetensors")))
