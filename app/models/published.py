"""What the papers and the released codes say of their networks' size, as data: loads no torch.

Figures stand as printed. Every paper calls multiply-accumulates (MACs) FLOPs, and every one counted
with a tool that sees modules, not products: attention's two products, and whatever else is written
as a function, cost nothing there. ``counting`` says which tool, so that ours can be counted alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# "products": every product of a forward pass. "modules": those of convolution and linear modules
# (ptflops). "modules and norms": also four for each number that a norm with gains sees, and only
# the parameters of such modules (thop).
Counting = Literal["products", "modules", "modules and norms"]

HOW: Mapping[Counting, str] = {
    "products": "every product",
    "modules": "convolution and linear modules alone",
    "modules and norms": "convolution, linear and norm modules alone",
}


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a paper's table, or of a released code's size; "" where nothing is said."""

    network: str  # its name in the catalog
    preset: str
    row: str = ""  # of the paper, where the preset alone does not say
    changes: Mapping[str, Any] = field(default_factory=dict)  # of the preset's config
    parameters_m: str = ""
    macs_g: str = ""  # of a query and a satellite picture together
    descriptor: str = ""  # of an object network: its boxes
    counting: Counting = "products"
    counted_once: str = ""  # a module that both views share, and whose second pass was forgotten
    # What the released code holds or computes, and nothing uses: ours leaves it out.
    parameters_too: int = 0
    macs_too: int = 0
    remark: str = ""


PUBLISHED = (
    Published("sample4geo", "paper-university", descriptor="1024"),
    Published("sample4geo", "paper-cvusa", descriptor="1024"),
    Published("sample4geo", "paper-vigor", descriptor="1024"),
    Published(
        "mift",
        "paper-university",
        descriptor="2048",
        remark="described twice, as it is and mirrored, and summed",
    ),
    *(
        Published(
            "mift",
            "paper-university",
            row=f"table 8, {name}",
            changes={"attention": attention, "flip_sum": False},
            descriptor="2048",
            remark=f"{seconds} s for 10 pictures on the authors' laptop: only the order can be "
            "compared" + more,
        )
        for name, attention, seconds, more in (
            ("MHA", "mha", 16, ""),
            ("PVT", "pvt", 14, "; by products PVT costs least of the four, not second most"),
            ("Swin", "swin", 12, ""),
            ("GLRA", "glra", 12, ""),
        )
    ),
    Published(
        "mift",
        "paper-university-released",
        parameters_m="33.674854",
        descriptor="2048",
        parameters_too=768 * 1000 + 1000,
        remark="with the ImageNet head that the released code carries and never uses",
    ),
    Published(
        "mfrgn",
        "paper-cvusa",
        row="table 5, LA + PPS",
        macs_g="21.80",
        descriptor="2048",
        counting="modules and norms",
        counted_once="backbone",
        remark="one pass of the shared trunk is missing in the published figure",
    ),
    Published(
        "mfrgn",
        "paper-cvusa",
        row="table 5, LA",
        changes={"sampling": False},
        macs_g="22.31",
        descriptor="2048",
        counting="modules and norms",
        counted_once="backbone",
    ),
    Published(
        "mfrgn",
        "paper-cvusa",
        row="table 5, neither",
        changes={"sampling": False, "linear_attention": False},
        macs_g="22.31",
        descriptor="2048",
        counting="modules and norms",
        counted_once="backbone",
        remark="the published figure is the one with LA, since its tool sees no attention products",
    ),
    Published("mfrgn", "paper-vigor", descriptor="2048"),
    Published("mfrgn", "paper-university", descriptor="2048"),
    Published(
        "geoviewmatch",
        "paper-cvusa-cvact",
        parameters_m="57.47",
        macs_g="9.7616",
        descriptor="9216",
        counting="modules",
        remark="the projection head's widths are unsaid: ours make up the published parameters; "
        "13.42 G with timm's padded windows in place of the authors' smaller ones",
    ),
    Published("transgeo", "paper-cvusa-cvact", descriptor="1000"),
    Published("transgeo", "paper-cvusa-cvact-320", descriptor="1000"),
    Published("transgeo", "paper-vigor", descriptor="1000"),
    Published(
        "fsra",
        "paper-university",
        descriptor="2048",
        remark="described twice, as it is and mirrored, and summed",
    ),
    Published(
        "lpn",
        "paper-university",
        descriptor="2048",
        remark="described twice, as it is and mirrored, and summed",
    ),
    Published(
        "attengeo",
        "paper-drone",
        row="table 5",
        parameters_m="42.15",
        macs_g="110.46",
        descriptor="9216",
        counting="modules and norms",
    ),
    Published(
        "attengeo",
        "paper-street",
        row="table 5",
        parameters_m="42.15",
        macs_g="116.43",
        descriptor="9216",
        counting="modules and norms",
    ),
    *(
        Published(
            "detgeo",
            preset,
            row="AttenGeo's table 5",
            parameters_m="73.80",
            macs_g=macs,
            descriptor="36864",
            counting="modules and norms",
            parameters_too=7_525_373,
            macs_too=28_675_407_872,
            remark="with the layers of YOLOv3 that the released code computes for nothing",
        )
        for preset, macs in (("paper-drone", "204.54"), ("paper-street", "206.94"))
    ),
)
