"""A network of arithmetic: a tile's mean colours are its descriptor. Counts what it describes."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.card import Card
from app.messages import BuildGallery


def card(size=32, **other):
    given = {
        "network": "stand-in",
        "config": {},
        "title": "Stand-in",
        "task": "retrieval",
        "query_view": "drone",
        "sizes": {"satellite": (size, size)},
        "descriptor": 12,
        "tile_size_m": 80.0,
    }
    return Card(**{**given, **other})


@dataclass
class StandIn:
    card: Card = field(default_factory=card)
    sha256: str = "ab" * 32
    described: int = 0
    seconds: float = 0.0  # a call

    def describe(self, pictures, view, *, batch=32):
        assert view == "satellite"
        time.sleep(self.seconds)
        self.described += len(pictures)
        quarters = [half for rows in np.split(pictures, 2, 1) for half in np.split(rows, 2, 2)]
        rows = np.concatenate([q.mean(axis=(1, 2)) for q in quarters], axis=1) + 1
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":  # a build in a process of its own, to be killed
    from app.engine.gallery_build import build_gallery

    source, gallery, seconds = sys.argv[1:]
    request = BuildGallery(Path(source), Path("stand-in.safetensors"), Path(gallery))
    build_gallery(
        request, StandIn(seconds=float(seconds)), lambda told: print(told.done, flush=True)
    )
