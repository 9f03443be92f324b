"""How each paper trains, as data: names, and the fields of ``Train`` that they set.

A figure is the paper's, or its code's where the paper is silent; what neither says is marked
"unsaid" and has this program's choice. What a recipe does not name has the default of ``Train``.
Loads no torch: the window lists these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.card import read_card
from app.errors import UserError
from app.train_request import Train


@dataclass(frozen=True, slots=True)
class Recipe:
    """``skyfix train --recipe NAME``; further options replace its fields."""

    name: str
    title: str
    source: str  # where its figures are written
    data: tuple[str, ...]  # names in datasets.catalog that it was made for; empty: any
    fields: Mapping[str, Any] = field(default_factory=dict)


# Pictures as the paper's loaders take them: pairs turned and mirrored together, no jitter.
_STILL = {"heading_jitter_deg": 0.0, "zoom_jitter": 0.0, "min_distance_m": 0.0, "amp": True}
_PLAIN = {**_STILL, "quarter_turns": False, "flip": False, "looks": 0.0, "label_smoothing": 0.0}

# Sample4Geo's code: AdamW with torch's own decay of 0.01 on all parameters.
_SAMPLE4GEO = {
    **_STILL,
    "network": "sample4geo",
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.01,
    "decay_all": True,
    "schedule": "cosine",
    "warmup_epochs": 1.0,
    "label_smoothing": 0.1,
    "clip_grad": 100.0,
    "batch_size": 128,
    "epochs": 40,
    "seed": 1,
    "looks": 1.0,
}
# Section 3.3 and code: GPS neighbours first, then mined anew every 4 epochs.
_HARD = {
    "negatives": "similarity",
    "neighbour_select": 64,
    "neighbour_range": 128,
    "refresh_negatives": 4,
}
# MFRGN's code is Sample4Geo's with another rate and batch (method sheet, section 3).
_MFRGN = {**_SAMPLE4GEO, "network": "mfrgn", "lr": 1e-4, "batch_size": 64, "seed": 42}
_MFRGN_STREET = {**_MFRGN, "epochs": 50, "preset": "paper-cvusa"}
# TransGeo's README; GeoViewMatch's recipe is visibly the same (unsaid there: decay, rho).
_TRANSGEO = {
    **_PLAIN,
    "network": "transgeo",
    "preset": "paper-cvusa-cvact",
    "optimizer": "adamw",
    "lr": 1e-4,
    "weight_decay": 0.03,
    "decay_all": True,
    "schedule": "cosine",
    "warmup_epochs": 0.0,
    "asam_rho": 2.5,
    "batch_size": 32,
    "epochs": 100,
}
_GEOVIEWMATCH = {
    **_TRANSGEO,
    "network": "geoviewmatch",  # turns and looks are its own ``augment``
    "lr": 2e-4,  # of aggregation and head
    "trunk_lr_factor": 0.5,  # 1e-4
    "epochs": 200,
}
_MSAE = {
    **_PLAIN,  # turned views from above are its own ``rotation_deg``
    "network": "msae",
    "preset": "paper-cvusa-cvact",
    "optimizer": "adam",
    "lr": 1e-4,
    "weight_decay": 0.0,
    "schedule": "step",
    "milestones": (80.0,),
    "gamma": 0.1,
    "warmup_epochs": 0.0,
    "batch_size": 64,
    "epochs": 100,
}
# FSRA's code, of which LPN is the ancestor and MIFT the copy. The satellite picture is turned by
# up to 90 degrees against the drone's, which here the query is. Colours are left as they are.
_FSRA = {
    **_PLAIN,
    "network": "fsra",
    "preset": "paper-university",
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "lr": 0.01,
    "trunk_lr_factor": 0.3,
    "weight_decay": 5e-4,
    "decay_all": True,
    "schedule": "step",
    "milestones": (70.0, 110.0),
    "gamma": 0.1,
    "warmup_epochs": 0.0,
    "epochs": 120,
    # 8 in the code; 9 holds three places whole, as mining the hardest pictures needs.
    "batch_size": 9,
    "samples_per_place": 3,
    "heading_jitter_deg": 90.0,
    "flip": True,
}
_ATTENGEO = {
    **_PLAIN,
    "network": "attengeo",
    "optimizer": "adamw",
    "lr": 1e-4,
    "weight_decay": 0.01,  # unsaid; torch's own
    "schedule": "step",
    "milestones": (10.0, 20.0),  # "decayed every 10 epochs"; by how much is unsaid
    "gamma": 0.1,  # DetGeo's
    "warmup_epochs": 0.0,
    "epochs": 30,
    "batch_size": 12,  # unsaid; DetGeo's
    "best_by": "accu@0.5",  # DetGeo's code chooses so
    # DetGeo's changes of the satellite picture alone: parts of it, quarter turns, looks.
    "zoom_jitter": 0.2,
    "quarter_turns": True,
    "looks": 1.0,
}
_DETGEO = {
    **_ATTENGEO,
    "network": "detgeo",
    "optimizer": "rmsprop",
    "momentum": 0.0,
    "weight_decay": 5e-4,
    "decay_all": True,
    "epochs": 25,
}
_TINY = {"network": "sample4geo", "lr": 6e-4, "negatives": "neighbours", "neighbour_share": 0.25}
_OBJECT_SETS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "cvogl-drone": ("CVOGL, drone to satellite", {"preset": "paper-drone"}),
    "cvogl-street": ("CVOGL, street to satellite", {"preset": "paper-street"}),
    # Its boxes are seen from a drone: anchors of its own, as the authors clustered them.
    "g2d": ("G2D", {"preset": "paper-street", "overrides": {"anchors": "clustered"}}),
}

RECIPES = (
    Recipe(
        "tiny-drone",
        "Small network for drone photos, trains on a CPU",
        "the shipped checkpoint's",
        (),
        {**_TINY, "preset": "tiny-drone", "epochs": 12},
    ),
    Recipe(
        "tiny-street",
        "Small network for panoramas, trains on a CPU",
        "the shipped checkpoint's",
        (),
        {**_TINY, "preset": "tiny-street", "epochs": 12, "lr": 5e-4, "zoom_jitter": 0.0},
    ),
    Recipe(
        "adapt",
        "Fine-tune a checkpoint on your own imagery, without photos",
        "this program's: views of the imagery are rendered, and stand in for photos",
        (),
        # A small rate and averaged weights: the start knows much already. The last weights count
        # (ADR 0026): tiles of one area overlap, so ranks among its own views say little.
        {"preset": "", "lr": 2e-4, "epochs": 10, "batch_size": 32, "ema": 0.99, "amp": True}
        | {"best_by": "loss", "negatives": "neighbours", "neighbour_share": 0.25},
    ),
    Recipe(
        "mift-university",
        "MIFT on University-1652, as the paper says",
        "MIFT, sections 4.2 and 4.4.4: SGD, 200 epochs, x0.1 after 100 and 120, k = 3",
        ("university",),
        {**_FSRA, "network": "mift", "epochs": 200, "milestones": (100.0, 120.0)},
    ),
    Recipe(
        "mift-university-released",
        "MIFT on University-1652, as its code does",
        "MIFT's code: 120 epochs, x0.1 after 70 and 110, k = 1, cross-entropy and triplet",
        ("university",),
        {**_FSRA, "network": "mift", "preset": "paper-university-released"}
        | {"batch_size": 8, "samples_per_place": 1},
    ),
    Recipe(
        "fsra-university",
        "FSRA on University-1652",
        "FSRA's code, k = 3",
        ("university",),
        _FSRA,
    ),
    Recipe(
        "lpn-university",
        "LPN on University-1652",
        "LPN's train.py: 120 epochs, x0.1 after 80, trunk at a tenth of 0.01",
        ("university",),
        {**_FSRA, "network": "lpn", "trunk_lr_factor": 0.1, "milestones": (80.0,)}
        | {"batch_size": 8, "samples_per_place": 1},
    ),
    Recipe(
        "sample4geo-university",
        "Sample4Geo on University-1652",
        "Sample4Geo, section 4.2 and train_university: 1 epoch, warm-up of a tenth",
        ("university",),
        # The satellite picture is turned alone there, by quarters: here the query, by any angle.
        {**_SAMPLE4GEO, "preset": "paper-university", "epochs": 1, "warmup_epochs": 0.1}
        | {"heading_jitter_deg": 180.0},
    ),
    Recipe(
        "sample4geo-cvusa",
        "Sample4Geo on CVUSA",
        "Sample4Geo, section 4.2 and train_cvusa",
        ("cvusa",),
        {**_SAMPLE4GEO, **_HARD, "preset": "paper-cvusa"},
    ),
    Recipe(
        "sample4geo-cvact",
        "Sample4Geo on CVACT: whole panoramas",
        "Sample4Geo, section 4.2 and train_cvact",
        ("cvact",),
        {**_SAMPLE4GEO, **_HARD, "preset": "paper-cvusa", "data_name": "cvact-all"},
    ),
    Recipe(
        "sample4geo-vigor",
        "Sample4Geo on VIGOR",
        "Sample4Geo, section 4.2 and train_vigor",
        ("vigor",),
        {**_SAMPLE4GEO, **_HARD, "preset": "paper-vigor"},
    ),
    Recipe(
        "mfrgn-cvusa",
        "MFRGN on CVUSA",
        "MFRGN, section 4.1 and train_cvusa: plain, no sampling",
        ("cvusa",),
        _MFRGN_STREET,
    ),
    Recipe(
        "mfrgn-cvact",
        "MFRGN on CVACT: whole panoramas",
        "MFRGN, section 4.1 and train_cvact",
        ("cvact",),
        {**_MFRGN_STREET, "data_name": "cvact-all"},
    ),
    Recipe(
        "mfrgn-vigor",
        "MFRGN on VIGOR",
        "MFRGN's train_vigor: 70 epochs (the paper prints 50), seed 40",
        ("vigor",),
        {**_MFRGN, "preset": "paper-vigor", "epochs": 70, "seed": 40},
    ),
    Recipe(
        "mfrgn-university",
        "MFRGN on University-1652",
        "MFRGN's train_university: 3 epochs",
        ("university",),
        {**_MFRGN, "preset": "paper-university", "epochs": 3, "warmup_epochs": 0.1}
        | {"heading_jitter_deg": 180.0},
    ),
    Recipe(
        "mfrgn-plus-cvusa",
        "MFRGN+ on CVUSA: with hard negatives",
        "MFRGN, table 1, row MFRGN+: Sample4Geo's sampling, 64 of 128",
        ("cvusa",),
        {**_MFRGN_STREET, **_HARD},
    ),
    Recipe(
        "mfrgn-plus-cvact",
        "MFRGN+ on CVACT: with hard negatives and the middle of the panorama",
        "MFRGN, table 1, row MFRGN+: Sample4Geo's sampling, 32 of 64",
        ("cvact",),
        {**_MFRGN_STREET, **_HARD, "neighbour_select": 32, "neighbour_range": 64}
        | {"data_name": "cvact-middle"},
    ),
    Recipe(
        "geoviewmatch",
        "GeoViewMatch on CVUSA or CVACT",
        "GeoViewMatch, section 4.2; decay and rho, unsaid, are TransGeo's",
        ("cvusa", "cvact"),
        _GEOVIEWMATCH,
    ),
    Recipe(
        "transgeo",
        "TransGeo, stage 1, on CVUSA or CVACT",
        "TransGeo's run_CVUSA.sh: 100 epochs, ASAM with rho 2.5, decay 0.03",
        ("cvusa", "cvact"),
        _TRANSGEO,
    ),
    Recipe(
        "msae",
        "MSAE on CVUSA or CVACT",
        "MSAE, section 4.2: Adam at 1e-4, x0.1 every 80 epochs, 100 epochs",
        ("cvusa", "cvact"),
        _MSAE,
    ),
    *(
        Recipe(
            f"{network}-{key}",
            f"{title} on {shown}",
            source,
            (key,),
            {**fields, **chosen, "data_name": key},
        )
        for key, (shown, chosen) in _OBJECT_SETS.items()
        for network, title, source, fields in (
            ("attengeo", "AttenGeo", "AttenGeo, section 4.1: AdamW at 1e-4, 30 epochs", _ATTENGEO),
            ("detgeo", "DetGeo", "DetGeo's code: RMSprop at 1e-4, x0.1 every 10 epochs", _DETGEO),
        )
    ),
)
BY_NAME = {one.name: one for one in RECIPES}


def recipe(name: str) -> Mapping[str, Any]:
    """The fields of ``Train`` that this recipe sets, ``recipe`` itself among them."""
    if name not in BY_NAME:
        raise UserError(f"There is no recipe {name}", f"Choose one of {', '.join(BY_NAME)}.")
    return {**BY_NAME[name].fields, "recipe": name}


def make_train(run_dir: Path, data: Path | None = None, **given: Any) -> Train:
    """The request: the recipe that ``given["recipe"]`` names, with the other fields replaced.

    Without ``data``, pairs that are rendered (recipe adapt) go into the run's folder. A checkpoint
    to start from brings its configuration and its network, where neither is given.
    """
    chosen = {**(recipe(given["recipe"]) if given.get("recipe") else {}), **given}
    if data is None:
        if chosen.get("imagery") is None:
            raise UserError("A run needs a data set", "Name its folder, or your own imagery.")
        data = run_dir / "pairs"
    if chosen.get("neighbour_share") and "negatives" not in chosen:
        chosen["negatives"] = "neighbours"
    if chosen.get("init") is not None and not chosen.setdefault("preset", ""):
        chosen.setdefault("network", read_card(chosen["init"]).network)
    return Train(run_dir, data, **chosen)
