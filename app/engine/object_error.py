"""How far off a found box's centre can be, from what was measured and how fine the picture is.

Let v be the checkpoint's validated mean IoU, s the longer side of the found box and g the ground
size of a pixel. A true box that overlaps the found one with an IoU of at least v has its centre at
most s (1 - v) / (2 v) away: the worst is one that holds the found box at its edge and is 1 / v
times as long. A pixel's size is added for the picture's own grid::

    error = s (1 - v) / (2 v) + g

The bound holds for boxes as good as the validated mean. It knows nothing of how well the imagery
itself is placed on the ground, and nothing of a box on the wrong object.
"""

from app.card import Card, Metric

# What evaluation writes on a card, most telling first.
NAMES = ("mean IoU",)
LEAST_IOU = 0.05  # below it a checkpoint has learnt nothing that could bound anything


def validated_iou(card: Card) -> Metric | None:
    """The mean IoU measured on held-out objects; None where the card has none of use."""
    for name in NAMES:
        for metric in card.metrics:
            if metric.name == name and LEAST_IOU <= metric.value <= 1:
                return metric
    return None


def centre_error_m(width_m: float, height_m: float, *, gsd_m: float, iou: float) -> float:
    """The bound above, in metres."""
    return max(width_m, height_m) * (1 - iou) / (2 * iou) + gsd_m


def error_basis(card: Card) -> str:
    """What the bound rests on, in words."""
    metric = validated_iou(card)
    if metric is None:
        return "no error bound: the checkpoint's IoU was never measured on held-out objects"
    return f"mean IoU {metric.value:.2f} on {metric.data}, and a pixel's size on the ground"
