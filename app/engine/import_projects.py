"""The projects whose published checkpoints can be imported, as data: loads no torch.

Scores are those that the projects publish for these files; tile sizes follow from each data set's
own description.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DataSet:
    """``tile_size_m``: the ground that a satellite picture shows, at the set's middle latitude."""

    name: str
    tile_size_m: float
    words: tuple[str, ...]  # what a file's or a folder's name has of it, lower case


CVUSA = DataSet("CVUSA", 175.0, ("cvusa",))  # 750 pixels of zoom 19 at 39 degrees north
CVACT = DataSet("CVACT", 144.0, ("cvact",))  # 1200 pixels of 0.12 m
VIGOR = DataSet("VIGOR", 71.0, ("vigor",))  # 640 pixels of zoom 20, mean of four cities
UNIVERSITY = DataSet(  # 512 pixels of zoom 18 at 42 degrees; its 72 universities lie anywhere
    "University-1652", 227.0, ("university", "u1652", "u-1652", "d2s", "s2d")
)
CVOGL_DRONE = DataSet("CVOGL drone", 120.0, ("drone",))  # 1024 pixels; zoom 20 is assumed
CVOGL_GROUND = DataSet("CVOGL ground", 120.0, ("svi", "ground", "street"))


@dataclass(frozen=True, slots=True)
class Release:
    """One published file, or several alike."""

    preset: str  # of the network, in the catalog
    data: DataSet
    score: str = ""  # to expect
    words: tuple[str, ...] = ()  # which the file's name has in place of the data set's


@dataclass(frozen=True, slots=True)
class Project:
    name: str  # as the user types it
    title: str
    network: str  # in the catalog
    signs: str  # how its files are told from others
    releases: tuple[Release, ...]
    note: str = ""  # what differs in use

    @property
    def presets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(release.preset for release in self.releases))


SAMPLE4GEO = Project(
    "sample4geo",
    "Sample4Geo",
    "sample4geo",
    "logit_scale beside a timm network named model",
    (
        Release("paper-cvusa", CVUSA, "R@1 98.68", ("98.6830",)),
        Release("paper-cvusa", CVACT, "R@1 90.81 (CVACT val)", ("90.8149",)),
        Release("paper-vigor", VIGOR, "R@1 77.86 (same area)", ("0.7786", "vigor_same")),
        Release(
            "paper-vigor",
            VIGOR,
            "R@1 61.70 (cross area; the file's own name says 61.09)",
            ("0.6109", "vigor_cross"),
        ),
        Release(
            "paper-university",
            UNIVERSITY,
            "R@1 92.65 drone to satellite, 95.14 satellite to drone",
            ("0.9515",),
        ),
    ),
    "Trained with OpenCV's area averaging, which differs a little from the resizing here.",
)
MFRGN = Project(
    "mfrgn",
    "MFRGN",
    "mfrgn",
    "embed.input_proj and transformer*_H beside backbone.backbone",
    (
        Release("paper-cvusa", CVUSA, "R@1 98.24 (98.67 as MFRGN+)"),
        Release("paper-cvusa", CVACT, "R@1 88.78 (91.09 as MFRGN+; CVACT val)"),
        Release("paper-vigor", VIGOR, "R@1 71.41 (same area), 43.18 (cross area)"),
        Release(
            "paper-university",
            UNIVERSITY,
            "R@1 94.33 drone to satellite, 96.15 satellite to drone",
        ),
    ),
)
MIFT = Project(
    "mift",
    "MIFT",
    "mift",
    "a CrossFormer (patch_embed.projs) with FSRA's heads in model_1",
    (
        Release(
            "paper-university-released",
            UNIVERSITY,
            "the paper's R@1, 87.84 drone to satellite and 92.30 satellite to drone, is that of "
            "its fused network; the released code has none printed",
        ),
    ),
    "Trained with Pillow's bicubic resizing, which differs a little from the one here.",
)
FSRA = Project(
    "fsra",
    "FSRA",
    "fsra",
    "a ViT (model_1.transformer.cls_token) with heads classifier_heat1 and so on",
    (
        Release(
            "paper-university",
            UNIVERSITY,
            "R@1 84.51 drone to satellite, 88.45 satellite to drone (k = 3)",
        ),
    ),
    "Trained with Pillow's bicubic resizing, which differs a little from the one here.",
)
LPN = Project(
    "lpn",
    "LPN",
    "lpn",
    "ResNets model_1 to model_3 with heads classifier0, classifier1 and so on",
    (
        Release(
            "paper-university",
            UNIVERSITY,
            "R@1 75.93 drone to satellite, 86.45 satellite to drone",
        ),
    ),
    "Trained with Pillow's bicubic resizing, which differs a little from the one here.",
)
TRANSGEO = Project(
    "transgeo",
    "TransGeo",
    "transgeo",
    "two distilled DeiTs, query_net and reference_net",
    (
        Release("paper-cvusa-cvact", CVUSA, "R@1 94.08 after stage 2"),
        Release("paper-cvusa-cvact", CVACT, "R@1 84.95 after stage 2 (CVACT val)"),
        Release("paper-cvusa-cvact-320", CVUSA, "R@1 94.08"),
        Release("paper-cvusa-cvact-320", CVACT, "R@1 84.95 (CVACT val)"),
        Release("paper-vigor", VIGOR, "R@1 61.48 (same area), 18.99 (cross area) after stage 2"),
    ),
    "Stage 2 leaves satellite patches out; here all of them are looked at.",
)
DETGEO = Project(
    "detgeo",
    "DetGeo",
    "detgeo",
    "query_resnet and reference_darknet",
    (
        Release("paper-drone", CVOGL_DRONE, "accu@0.25 61.97, accu@0.5 57.66"),
        Release("paper-street", CVOGL_GROUND, "accu@0.25 45.43, accu@0.5 42.24"),
    ),
    "The ground size of CVOGL's pictures is not published: the tile size is an estimate.",
)
PROJECTS = (SAMPLE4GEO, MFRGN, MIFT, DETGEO, TRANSGEO, FSRA, LPN)
BY_NAME = {project.name: project for project in PROJECTS}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is known of the training of a file, once its preset is."""

    data: str
    tile_size_m: float
    score: str
    why: str


def releases_named(project: Project, file: Path) -> Iterator[Release]:
    """Those that the name of the file gives away, or else of the folders that it lies in."""
    for part in (file.name, *(folder.name for folder in file.absolute().parents[:2])):
        told = part.lower()
        found = [r for r in project.releases if any(word in told for word in r.words)]
        found = found or [r for r in project.releases if any(word in told for word in r.data.words)]
        if found:
            yield from found
            return


def choose_release(project: Project, preset: str, file: Path) -> Chosen:
    """Of a preset's releases the one that names give away, or all of them in one."""
    named = [r for r in releases_named(project, file) if r.preset == preset]
    found = named or [r for r in project.releases if r.preset == preset]
    if not found:
        return Chosen("data unknown", 0.0, "", "the preset is not one of its releases")
    sets = tuple(dict.fromkeys(release.data for release in found))
    hint = "" if len(sets) == 1 else f"; the tile size is that of {sets[0].name}"
    return Chosen(
        " or ".join(data.name for data in sets),
        sets[0].tile_size_m,
        "; ".join(release.score for release in found if release.score),
        f"by its {'name' if named else 'shapes'}{hint}",
    )
