"""How well an object network finds held-out clicked objects: a run's own yardstick."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from app.engine.checkpoints import Device, to_images
from app.engine.datasets.clicks import ClickDataset, ClickPair, ClickPictures, click_loader
from app.errors import UserError
from app.messages import Progress, Report, ignore
from app.models.boxes import box_iou
from app.models.object_base import ObjectNetwork

BATCH = 16  # pictures of 1024 pixels a side fill a small GPU quickly


def held_out_clicks(
    pairs: Sequence[ClickPair], network: ObjectNetwork, *, workers: int
) -> AbstractContextManager["DataLoader[Any]"]:
    """Yields the pairs in their order and unaltered, of the network's input sizes."""
    dataset = ClickDataset(
        pairs,
        query_size=network.input_size(network.config.query_view),
        satellite_size=network.input_size("satellite"),
    )
    keys = [(0, index) for index in range(len(dataset))]
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    return click_loader(dataset, batches, workers=workers, pinned=False)


@torch.inference_mode()
def score_clicks(
    network: ObjectNetwork,
    device: Device,
    loader: "DataLoader[Any]",
    report: Report = ignore,
) -> Mapping[str, float]:
    """Of the box with the highest score: accu@0.25, accu@0.5 (its overlap with the true box is
    higher; strictly, as in DetGeo's code) and the mean overlap. Leaves the network in eval mode."""
    network.eval()
    overlaps: list[Tensor] = []
    for step, batch in enumerate(loader):
        if isinstance(batch, UserError):
            raise batch
        overlaps.append(_overlap(network, device, batch))
        report(Progress(step + 1, len(loader), "validating"))
    iou = torch.cat(overlaps)
    return {
        "accu@0.25": float((iou > 0.25).float().mean()),
        "accu@0.5": float((iou > 0.5).float().mean()),
        "mean IoU": float(iou.mean()),
    }


def _overlap(network: ObjectNetwork, device: Device, batch: ClickPictures) -> Tensor:
    view = network.config.query_view
    query = network.preprocess(to_images(batch.query, device.name), view)
    satellite = network.preprocess(to_images(batch.satellite, device.name), "satellite")
    found = network.find(
        network.encode_query(query, batch.click.to(device.name)),
        network.encode_satellite(satellite),
    )
    best = found.scores.argmax(dim=1)
    boxes = found.boxes[torch.arange(len(best), device=best.device), best]
    return box_iou(boxes.float(), batch.box.to(device.name)).cpu()
