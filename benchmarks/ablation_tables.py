"""The papers' ablation tables as data: what each row changes, and what the paper printed for it.

Each method has a base, its full network at tiny scale. A row is the base with some fields set
otherwise; a contrast is two rows and the two figures that the paper sets beside each other. Rows of
the papers' modules (``ABLATIONS``) are over paper presets: their widths are brought to the base's
by ``scaled``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.models import attengeo, mfrgn, msae
from app.models.build import preset_config
from benchmarks.ablation_data import Cities

Figures = tuple[float, float]  # of the row and of the row it is compared with, in percent


@dataclass(frozen=True, slots=True)
class Row:
    overrides: Mapping[str, Any] = field(default_factory=dict)  # of the network's configuration
    samples: int | None = None  # MIFT's k, where it is not the base's


@dataclass(frozen=True, slots=True)
class Contrast:
    """``same`` and ``cross`` are the paper's figures, where it has them for that kind of test."""

    table: str
    row: str
    against: str
    same: Figures | None = None
    cross: Figures | None = None
    claim: str = ""  # "+" or "-" where the paper says so and prints no figures

    def figures(self, area: str) -> Figures | None:
        """The paper's, of this kind of test or else of the other one."""
        own, other = (self.same, self.cross) if area == "same" else (self.cross, self.same)
        return own or other


@dataclass(frozen=True, slots=True)
class Method:
    name: str
    network: str
    preset: str
    cities: Cities
    base: Mapping[str, Any]  # overrides of the preset, for all rows
    rows: Mapping[str, Row]
    contrasts: tuple[Contrast, ...]
    full: str  # the row of the whole network
    published: str  # what the paper's figures are of
    left_out: tuple[str, ...]
    epochs: int
    lr: float
    batch_size: int
    trunks: tuple[str, ...] = ()  # modules that start with ImageNet's EfficientNet-Lite0
    samples: int = 0  # of each place an epoch; 0: every pair once
    trunk_lr_factor: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)  # other fields of Train

    @property
    def measures(self) -> tuple[str, str]:
        """The paper's kind of figure, and a finer one; names as in an evaluation's result."""
        return ("accu@0.5", "mean IoU") if self.cities.objects else ("R@1", "AP plain")

    def config(self, row: str) -> dict[str, Any]:
        """The whole configuration of a row's network."""
        preset = preset_config(self.network, self.preset)
        return {**preset, **self.base, **self.rows[row].overrides}

    def samples_of(self, row: str) -> int:
        """Pictures of each place in an epoch; 0: every pair once."""
        own = self.rows[row].samples
        return self.samples if own is None else own

    def epochs_of(self, row: str, epochs: int | None = None) -> int:
        """So many that each row has as many updates: an epoch shows each place k times."""
        whole = self.epochs if epochs is None else epochs
        samples = self.samples_of(row)
        return max(1, round(whole * self.samples / samples)) if samples else whole


def scaled(paper: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """A row over a paper's preset, with the descriptor's parts as long as the base's whole.

    Only widths say how large a network is: 0 leaves a part out, and a part that stands alone in
    the paper's row has the length of the whole descriptor there, and so it has here.
    """
    whole = base.get("global_width", 0) + base.get("local_width", 0)
    widths = {"global_width", "local_width"}
    return {key: whole if key in widths and value else value for key, value in paper.items()}


DRONE = Cities(
    "drone", "drone", first_seed=4000, training=6, learnt=40, held=30, unseen=60, apart_m=40.0,
    photos=4, tested_photos=2,
)  # fmt: skip
STREET = Cities("street", "street", first_seed=4100)
_CLICKS: dict[str, Any] = {"objects": True, "learnt": 130, "held": 30, "unseen": 80}
DRONE_OBJECTS = Cities("objects-drone", "drone", first_seed=4200, **_CLICKS)
STREET_OBJECTS = Cities("objects-street", "street", first_seed=4300, **_CLICKS)


# --- MIFT ------------------------------------------------------------------------

_MIFT_ROWS = {
    "MIFT": Row(),
    "kernels 4 | 2": Row({"kernels": (4,), "merge_kernels": (2,)}),
    "kernels 4 8 | 2 4": Row({"kernels": (4, 8)}),
    "kernels 4..32 | 2 4 8": Row({"merge_kernels": (2, 4, 8)}),
    "MHA": Row({"attention": "mha"}),
    "PVT": Row({"attention": "pvt"}),
    "Swin": Row({"attention": "swin"}),
    **{f"k = {k}": Row(samples=k) for k in (1, 2, 4, 5)},
    "n = 2": Row({"regions": 2}),
    "n = 4": Row({"regions": 4}),
    "no fusion": Row({"fusion": False}),
    "equal regions": Row({"region_rule": "equal"}),
}
MIFT = Method(
    name="mift",
    network="mift",
    preset="smallest",
    cities=DRONE,
    base={
        "query_size": (96, 96),
        "satellite_size": (96, 96),
        "group": 3,
        "depths": (1, 2, 2, 1),
        "part_width": 64,
    },
    rows=_MIFT_ROWS,
    contrasts=(
        Contrast("kernels", "kernels 4 8 | 2 4", "kernels 4 | 2", cross=(85.02, 84.80)),
        Contrast("kernels", "MIFT", "kernels 4 8 | 2 4", cross=(86.13, 85.02)),
        Contrast("kernels", "kernels 4..32 | 2 4 8", "MIFT", cross=(86.02, 86.13)),
        Contrast("attention", "MHA", "MIFT", cross=(84.70, 86.13)),
        Contrast("attention", "PVT", "MIFT", cross=(85.42, 86.13)),
        Contrast("attention", "Swin", "MIFT", cross=(86.11, 86.13)),
        Contrast("k", "k = 1", "MIFT", cross=(85.13, 87.84)),
        Contrast("k", "k = 2", "MIFT", cross=(87.24, 87.84)),
        Contrast("k", "k = 4", "MIFT", cross=(86.98, 87.84)),
        Contrast("k", "k = 5", "MIFT", cross=(86.57, 87.84)),
        Contrast("regions", "n = 2", "MIFT", claim="-"),
        Contrast("regions", "n = 4", "MIFT", claim="-"),
        Contrast("text", "no fusion", "MIFT", claim="-"),
        Contrast("text", "equal regions", "MIFT", claim="-"),
    ),
    full="MIFT",
    published="University-1652, drone to satellite, R@1 (its test is of other universities)",
    left_out=(
        "numbers of regions: the paper draws a figure without numbers (3 is best)",
        "seconds for ten pictures (table 8): no accuracy; benchmarks/networks.py times networks",
    ),
    epochs=7,  # k = 1 to 5: 21, 10, 7, 5 and 4
    lr=1e-3,
    batch_size=60,  # which every k from 1 to 5 divides
    samples=3,
)


# --- MFRGN -----------------------------------------------------------------------

_MFRGN_BASE: dict[str, Any] = {
    "query_view": "street",
    "query_size": (64, 192),
    "satellite_size": (96, 96),
    "global_width": 224,
    "local_width": 32,
    "width": 32,
    "norm_groups": 8,
    "ffn_width": 64,
    "satellite_grids": ((1, 1), (3, 3), (5, 5), (8, 8)),  # 99 samples of 144 tokens
    "query_grids": ((1, 1), (2, 6), (3, 12), (5, 10)),  # 99 of 192
    "satellite_kernels": ((7, 7), (5, 5), (3, 3), (3, 3)),
    "query_kernels": ((5, 9), (3, 7), (3, 5), (1, 3)),
}
MFRGN = Method(
    name="mfrgn",
    network="mfrgn",
    preset="tiny-street",
    cities=STREET,
    base=_MFRGN_BASE,
    rows={name: Row(scaled(row, _MFRGN_BASE)) for name, row in mfrgn.ABLATIONS.items()},
    contrasts=(
        Contrast("4", "MBaseline", "Baseline", (80.76, 83.52), (16.81, 10.78)),
        Contrast("4", "MBaseline+L_ini", "MBaseline", (81.59, 80.76), (18.07, 16.81)),
        Contrast("4", "MBaseline+G", "MBaseline", (86.58, 80.76), (36.61, 16.81)),
        Contrast("4", "MBaseline+G+L_ini", "MBaseline+G", (88.21, 86.58), (45.54, 36.61)),
        Contrast("4", "MBaseline+G+L_p", "MBaseline+G+L_ini", (88.42, 88.21), (47.13, 45.54)),
        Contrast("5", "LA", "without LA and PPS", (88.42, 87.47), (47.13, 42.14)),
        Contrast("5", "LA and PPS", "LA", (88.78, 88.42), (49.18, 47.13)),
    ),
    full="LA and PPS",
    published="trained on CVACT: CVACT val (same), CVUSA (cross), R@1",
    left_out=("memory and GFLOPs of table 5: no accuracy; tests/models hold the FLOPs",),
    epochs=4,
    lr=1e-3,
    batch_size=48,
    trunks=("backbone",),
)


# --- GeoViewMatch ----------------------------------------------------------------
# On drone photos: there are no ImageNet weights for trunks of this size, and without them it learns
# nothing of panoramas in minutes.

GEOVIEWMATCH = Method(
    name="geoviewmatch",
    network="geoviewmatch",
    preset="smallest",
    cities=DRONE,
    base={
        "query_view": "drone",
        "query_turn": "rotate",
        "query_size": (96, 96),
        "satellite_size": (96, 96),
        "window": 3,
    },
    rows={
        "base": Row({"contrastive": False, "stages": (4,)}),
        "+CL": Row({"stages": (4,)}),
        "+MF": Row({"contrastive": False}),
        "+CL+MF": Row(),
        "f4+f3+f2": Row({"stages": (2, 3, 4)}),
        "f4+f3+f2+f1": Row({"stages": (1, 2, 3, 4)}),
    },
    contrasts=(
        Contrast("5", "+CL", "base", (89.17, 88.65)),
        Contrast("5", "+MF", "base", (89.25, 88.65)),
        Contrast("5", "+CL+MF", "base", (89.71, 88.65)),
        Contrast("6", "+CL+MF", "+CL", (89.71, 89.17)),
        Contrast("6", "f4+f3+f2", "+CL+MF", (89.25, 89.71)),
        Contrast("6", "f4+f3+f2+f1", "+CL+MF", (35.12, 89.71)),
    ),
    full="+CL+MF",
    published="CVACT val, R@1 (of panoramas; here of drone photos)",
    left_out=(
        "panoramas: without ImageNet weights nothing is learnt of them in minutes",
        "time, memory and GFLOPs (table 4): no accuracy; tests/models hold the FLOPs",
    ),
    epochs=4,
    lr=1e-3,
    batch_size=32,
)


# --- MSAE ------------------------------------------------------------------------

MSAE = Method(
    name="msae",
    network="msae",
    preset="tiny-street",
    cities=STREET,
    base={
        "query_size": (64, 192),
        "satellite_size": (96, 96),
        "outputs": 128,
        "mask_filters": (8, 8, 8),
        "queue_length": 64,
        # After half of the updates. Its entries age quickly at these rates: earlier the network
        # learns to run away from them, and nothing else (the paper's figure 7 has it harm, too).
        "queue_start": 56,
    },
    rows={name: Row(row) for name, row in msae.ABLATIONS.items()},
    contrasts=tuple(
        Contrast("2", row, "Ours", (figure, 81.39))
        for row, figure in (("w/o IPT", 79.04), ("w/o MSAE", 75.95), ("w/o GMS", 78.69))
    ),
    full="Ours",
    published="CVUSA, R@1",
    left_out=("the course of training with and without GMS (figure 7): a curve without numbers",),
    epochs=5,
    lr=5e-4,
    batch_size=32,
    trunks=("query_net.trunk.net", "satellite_net.trunk.net"),
)


# --- AttenGeo --------------------------------------------------------------------

_ATTENGEO_ROWS = {name: Row(row) for name, row in attengeo.ABLATIONS.items()}


def _attengeo(cities: Cities, size: tuple[int, int], accu: tuple[float, float, float]) -> Method:
    baseline, with_cvcam, full = accu
    return Method(
        name=f"attengeo-{cities.view}",
        network="attengeo",
        preset="tiny-" + cities.view,
        cities=cities,
        base={
            "query_size": size,
            "satellite_size": (128, 128),
            "width": 64,
            "anchors": "clustered",
            "start_confidence": 0.002,  # of 576 boxes one is right
        },
        rows=_ATTENGEO_ROWS,
        contrasts=(
            Contrast("3", "baseline+CVCAM", "baseline", (with_cvcam, baseline)),
            Contrast("3", "baseline+CVCAM+MHSAM", "baseline+CVCAM", (full, with_cvcam)),
        ),
        full="baseline+CVCAM+MHSAM",
        published=f"CVOGL, {cities.view} to satellite, test, accu@0.5",
        left_out=(
            "G2D, ground to drone: the demo world has no boxes in drone pictures",
            "iterations k: the paper draws a figure without numbers (4 is best)",
            "CVCAM and MHSAM within DetGeo: a Darknet of its size is out of reach here",
        ),
        epochs=6,
        lr=1e-3,
        batch_size=16,
        trunks=("trunk.net",),
        # Without them it knows its few training clicks by heart after three epochs.
        settings={"quarter_turns": True, "flip": True},
    )


METHODS = {
    method.name: method
    for method in (
        MIFT,
        MFRGN,
        GEOVIEWMATCH,
        MSAE,
        _attengeo(DRONE_OBJECTS, (96, 96), (44.19, 53.03, 62.08)),
        _attengeo(STREET_OBJECTS, (64, 192), (39.93, 40.08, 46.15)),
    )
}
