"""How right an object checkpoint's boxes and probabilities are, for its card.

Figures are those of the box of the highest score, as the papers count them. A click is told the
surest box: its probability is a softmax at a temperature, summed over the boxes that it stands
for (``object_boxes.pick``). Fitted is the temperature at which that probability best foretells,
over held-out clicks, whether the box that is told overlaps the true one with an IoU of at least
0.5: the least mean logarithmic loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float64

from app.card import Calibration, Metric
from app.engine.checkpoints import ObjectCheckpoint, to_images
from app.engine.confidence import posterior
from app.engine.datasets.clicks import ClickDataset, ClickPair, ClickPictures, click_loader
from app.engine.object_boxes import POOL, Group, Proposals, groups, iou_with
from app.errors import UserError
from app.messages import Progress, Report, ignore

BATCH = 8
RIGHT_IOU = 0.5
TEMPERATURES = np.geomspace(0.05, 20.0, 121)  # 5 % apart
LEAST_CLICKS = 20  # fewer say nothing about a probability
# IoU and centre's error of the highest score; IoU and probability of the surest, by temperature.
_Row = tuple[float, float, Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]
_SURE = 1e-6  # probabilities are kept this far from 0 and 1: one slip must not cost everything


@dataclass(frozen=True, slots=True, eq=False)
class ObjectsMeasured:
    """What was measured on held-out clicks."""

    data: str  # what they were: "objects-drone val, 300 clicks"
    iou: Float64[np.ndarray, " n"]  # of each box of the highest score with the true one
    centre_m: Float64[np.ndarray, " n"]  # NaN where the ground size is unknown
    told_iou: Float64[np.ndarray, "n t"]  # of each surest box, at each of ``TEMPERATURES``
    probability: Float64[np.ndarray, "n t"]  # the same boxes'

    def metrics(self) -> tuple[Metric, ...]:
        """AttenGeo's figures: an IoU of exactly the threshold counts."""
        found = [
            *(Metric(f"accu@{t:g}", float((self.iou >= t).mean()), self.data) for t in (0.25, 0.5)),
            Metric("mean IoU", float(self.iou.mean()), self.data),
        ]
        if np.isfinite(self.centre_m).any():
            middle = float(np.nanmedian(self.centre_m))
            found.append(Metric("centre error, median m", middle, self.data))
        return tuple(found)

    def calibration(self) -> Calibration:
        """Raises UserError where there are too few clicks to fit anything."""
        if len(self.iou) < LEAST_CLICKS:
            raise UserError(
                f"{len(self.iou)} clicks are too few to fit a temperature",
                f"Name a folder with {LEAST_CLICKS} or more.",
            )
        loss = log_loss(self.probability, self.told_iou >= RIGHT_IOU)
        return Calibration(float(TEMPERATURES[int(np.argmin(loss))]), self.data)


def log_loss(
    probability: Float64[np.ndarray, "n t"], right: Bool[np.ndarray, "n t"]
) -> Float64[np.ndarray, " t"]:
    """Mean over the clicks, at each temperature."""
    p = probability.clip(_SURE, 1 - _SURE)
    return np.asarray(-np.where(right, np.log(p), np.log1p(-p)).mean(axis=0))


@torch.inference_mode()
def measure_objects(
    checkpoint: ObjectCheckpoint,
    pairs: Sequence[ClickPair],
    *,
    data: str,
    report: Report = ignore,
) -> ObjectsMeasured:
    """Each pair's best box and how sure the network is of it. Raises UserError."""
    view = checkpoint.card.query_view
    chosen = [pair for pair in pairs if pair.view == view]
    if not chosen:
        raise UserError(f"{data} has no clicks on {view} photos", "Choose another data set.")
    dataset = ClickDataset(
        chosen,
        query_size=checkpoint.network.input_size(view),
        satellite_size=checkpoint.network.input_size("satellite"),
    )
    keys = [(0, row) for row in range(len(chosen))]
    batches = [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
    rows: list[_Row] = []
    with click_loader(dataset, batches, workers=0, pinned=False) as loader:
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            rows += checkpoint.compute(partial(_measured, checkpoint, chosen, batch))
            report(Progress(len(rows), len(chosen), "finding objects"))
    iou, away, told, probability = zip(*rows, strict=True)
    return ObjectsMeasured(
        f"{data}, {len(rows)} clicks",
        np.array(iou),
        np.array(away),
        np.stack(told),
        np.stack(probability),
    )


def _measured(
    checkpoint: ObjectCheckpoint, pairs: Sequence[ClickPair], batch: ClickPictures
) -> list["_Row"]:
    """Of each click of a batch."""
    network, device = checkpoint.network, checkpoint.device.name
    view = checkpoint.card.query_view
    found = network.find(
        network.encode_query(
            network.preprocess(to_images(batch.query, device), view), batch.click.to(device)
        ),
        network.encode_satellite(
            network.preprocess(to_images(batch.satellite, device), "satellite")
        ),
    )
    boxes = found.boxes.double().cpu().numpy()
    scores = found.scores.double().cpu().numpy()
    rows = []
    for i, row in enumerate(batch.row.tolist()):
        pair = pairs[row]
        true = batch.box[i].double().numpy()
        every = Proposals(boxes[i], boxes[i], scores[i], np.zeros(len(scores[i]), np.intp))
        found_groups = groups(every, POOL)
        best = found_groups[0].index
        told_iou, sure = _surest(found_groups, boxes[i], scores[i], true)
        # The true box in both frames tells how much the picture was shrunk.
        gsd = np.nan if pair.gsd_m is None else pair.gsd_m
        scale = np.array(pair.box[2:]) / true[2:] * gsd
        middles = [(box[:2] + box[2:]) / 2 for box in (boxes[i, best], true)]
        away = float(np.hypot(*((middles[0] - middles[1]) * scale)))
        iou = float(iou_with(true, boxes[i, best][None])[0])
        rows.append((iou, away, told_iou, sure))
    return rows


def _surest(
    found: Sequence[Group],
    boxes: Float64[np.ndarray, "b 4"],
    scores: Float64[np.ndarray, " b"],
    true: Float64[np.ndarray, "4"],
) -> tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]:
    """IoU with the true box, and probability, of the surest box at each temperature."""
    iou = iou_with(true, boxes[[group.index for group in found]])
    sums = np.array(
        [
            [probability[group.members].sum() for group in found]
            for probability in (posterior(scores, t) for t in TEMPERATURES)
        ]
    )
    surest = sums.argmax(axis=1)
    return iou[surest], sums.max(axis=1)
