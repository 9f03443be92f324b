"""An object network of arithmetic: the object is what has the clicked pixel's colour."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from app.card import Card
from app.engine.checkpoints import Device, ObjectCheckpoint
from app.engine.shelf import Shelf
from app.models.base import AttentionMap
from app.models.object_base import BoxScores, ClickBatch, ObjectConfig, ObjectMaps, ObjectNetwork

CELL, BOX = 4, 24  # pixels of the satellite input
SATELLITE = 128


class ColourFinder(ObjectNetwork):
    """Scores each cell by how near its colour is; a box of fixed size centred on each cell."""

    def __init__(self, query_size=(64, 64), view="drone") -> None:
        config = ObjectConfig(
            query_view=view, query_size=query_size, satellite_size=(SATELLITE, SATELLITE),
            mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), anchors=((float(BOX), float(BOX)),),
        )  # fmt: skip
        super().__init__(config)
        self.encoded = {"query": 0, "satellite": 0}  # how many pictures

    def encode_query(
        self, images: Float[Tensor, "b 3 h w"], clicks: Float[Tensor, "b 2"]
    ) -> Float[Tensor, "b c h2 w2"]:
        self.encoded["query"] += len(images)
        rows = []
        for image, (x, y) in zip(images, clicks.long().tolist(), strict=True):
            rows.append(image[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].mean(dim=(1, 2)))
        return torch.stack(rows)[:, :, None, None]

    def encode_satellite(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        self.encoded["satellite"] += len(images)
        # What a whole box shows, so that the middle of a block is liked best.
        blurred = F.avg_pool2d(images, BOX + 1, 1, BOX // 2, count_include_pad=False)
        return blurred[:, :, CELL // 2 :: CELL, CELL // 2 :: CELL]

    def find(
        self, query: Float[Tensor, "b c h w"], satellite: Float[Tensor, "b c h2 w2"]
    ) -> BoxScores:
        b, _, rows, columns = satellite.shape
        scores = -20 * (satellite - query).abs().sum(dim=1)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        middle = torch.stack([x, y], -1).reshape(-1, 2) * CELL + CELL / 2
        boxes = torch.cat([middle - BOX / 2, middle + BOX / 2], dim=1)
        return BoxScores(boxes.expand(b, *boxes.shape), scores.flatten(1))

    def loss(self, batch: ClickBatch) -> Float[Tensor, ""]:
        return batch.box.sum() * 0

    def explain(
        self,
        images: Float[Tensor, "b 3 h w"],
        clicks: Float[Tensor, "b 2"],
        satellites: Float[Tensor, "b 3 h2 w2"],
    ) -> ObjectMaps:
        """How near each pixel's colour is to the clicked one's, coarsely."""
        query = self.encode_query(images, clicks)
        near = [1 - (F.avg_pool2d(p, 8) - query).abs().mean(dim=1) for p in (images, satellites)]
        return ObjectMaps(
            (AttentionMap("nearness of colour", near[0]),),
            (AttentionMap("nearness of colour", near[1]),),
        )


def object_card(network: ColourFinder, **other) -> Card:
    c = network.config
    given = {
        "network": "stand-in",
        "config": {},
        "title": "Colour finder",
        "task": "object",
        "query_view": c.query_view,
        "sizes": {c.query_view: c.query_size, "satellite": c.satellite_size},
        "descriptor": 0,
        "tile_size_m": 128.0,
    }
    return Card(**{**given, **other})


@dataclass
class StandInShelf(Shelf):
    """A shelf whose object checkpoint is a stand-in; all else is real."""

    cache_folder: Path
    network: ColourFinder = field(default_factory=ColourFinder)
    card: Card | None = None

    def __post_init__(self) -> None:
        Shelf.__init__(self, "cpu", self.cache_folder)

    def object_checkpoint(self, path: Path) -> ObjectCheckpoint:
        card = self.card or object_card(self.network)
        return ObjectCheckpoint(path, "cd" * 32, card, self.network, Device("cpu", "chosen"))
