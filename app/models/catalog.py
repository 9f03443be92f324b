"""The networks of this program, as data. Anyone may import this: it loads no torch.

python -m app.models.catalog --table    # their sizes beside the published ones, as Markdown
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from app.card import Task
from app.models import presets


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """What the program needs to know of a network without building it."""

    name: str
    title: str
    module: str  # app.models.<module> has build(config)
    task: Task
    paper: str
    presets: Mapping[str, Mapping[str, Any]]  # named configurations; keys are the config's fields


_LITE0 = {
    "backbone": "tf_efficientnet_lite0",
    "satellite_size": (160, 160),
    "mean": (127 / 255,) * 3,  # EfficientNet-Lite's own: (pixel - 127) / 128
    "std": (128 / 255,) * 3,
    "freeze_bn": True,  # its runs start from pretrained statistics
    "frozen_stages": 3,
}

SPECS = (
    NetworkSpec(
        name="sample4geo",
        title="Sample4Geo",
        module="sample4geo",
        task="retrieval",
        paper="Deuser, Habel, Oswald: Sample4Geo, ICCV 2023",
        presets={
            "tiny-drone": {**_LITE0, "query_view": "drone", "query_size": (160, 160)},
            "tiny-street": {**_LITE0, "query_view": "street", "query_size": (96, 384)},
            "smallest": {  # for trials of a data set or a machine: seconds, not hours
                "backbone": "test_efficientnet",
                "drop_path_rate": 0.1,
                "query_view": "drone",
                "query_size": (64, 64),
                "satellite_size": (64, 64),
            },
            "paper-university": {
                "backbone": "convnext_base.fb_in22k_ft_in1k_384",
                "query_view": "drone",
                "query_size": (384, 384),
                "satellite_size": (384, 384),
            },
            "paper-university-street": {  # of photos that are no panoramas
                "backbone": "convnext_base.fb_in22k_ft_in1k_384",
                "query_view": "street",
                "query_size": (384, 384),
                "satellite_size": (384, 384),
            },
            "paper-cvusa": {
                "backbone": "convnext_base.fb_in22k_ft_in1k_384",
                "query_view": "street",
                "query_size": (140, 768),
                "satellite_size": (384, 384),
            },
            "paper-vigor": {
                "backbone": "convnext_base.fb_in22k_ft_in1k_384",
                "query_view": "street",
                "query_size": (384, 768),
                "satellite_size": (384, 384),
            },
        },
    ),
    NetworkSpec(
        name="mift",
        title="MIFT",
        module="mift",
        task="retrieval",
        paper="MIFT: multi-scale information and dual-channel attention, drone to satellite",
        presets=presets.MIFT,
    ),
    NetworkSpec(
        name="mfrgn",
        title="MFRGN",
        module="mfrgn",
        task="retrieval",
        paper="MFRGN: multi-scale feature representation generalization network, ACM MM 2024",
        presets=presets.MFRGN,
    ),
    NetworkSpec(
        name="geoviewmatch",
        title="GeoViewMatch",
        module="geoviewmatch",
        task="retrieval",
        paper="GeoViewMatch, Remote Sensing 16 (2024), 678",
        presets=presets.GEOVIEWMATCH,
    ),
    NetworkSpec(
        name="transgeo",
        title="TransGeo (stage 1)",
        module="transgeo",
        task="retrieval",
        paper="Zhu, Shah, Chen: TransGeo, CVPR 2022",
        presets=presets.TRANSGEO,
    ),
    NetworkSpec(
        name="fsra",
        title="FSRA",
        module="fsra",
        task="retrieval",
        paper="Dai et al.: FSRA, IEEE TCSVT 2022",
        presets=presets.FSRA,
    ),
    NetworkSpec(
        name="lpn",
        title="LPN",
        module="lpn",
        task="retrieval",
        paper="Wang et al.: LPN, IEEE TCSVT 2021",
        presets=presets.LPN,
    ),
    NetworkSpec(
        name="msae",
        title="MSAE",
        module="msae",
        task="retrieval",
        paper="Li et al.: MSAE, CAAI Transactions on Intelligence Technology 2022",
        presets=presets.MSAE,
    ),
    NetworkSpec(
        name="attengeo",
        title="AttenGeo",
        module="attengeo",
        task="object",
        paper="Improving Cross-view Object Geo-localization: a dual attention approach, 2025",
        presets=presets.ATTENGEO,
    ),
    NetworkSpec(
        name="detgeo",
        title="DetGeo",
        module="detgeo",
        task="object",
        paper="Sun et al.: DetGeo, IEEE TGRS 2023",
        presets=presets.DETGEO,
    ),
)
BY_NAME = {spec.name: spec for spec in SPECS}


def main() -> None:
    parser = argparse.ArgumentParser(description="List the networks.")
    parser.add_argument("--table", action="store_true", help="their sizes beside the published")
    if parser.parse_args().table:
        sizes = import_module("app.models.table")  # by name: this file loads no torch
        sys.stdout.write(sizes.table(sizes.measured()))
    else:
        sys.stdout.writelines(f"{s.name:<14}{s.title}: {', '.join(s.presets)}\n" for s in SPECS)


if __name__ == "__main__":
    main()
