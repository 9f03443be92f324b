"""The two demo cases: photos of a procedural city, its gallery, and the checkpoints for them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from app.manifest import MANIFEST_NAME
from app.object_messages import Point
from app.paths import demo, demo_checkpoint, resources

Kind = Literal["drone", "street"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class DemoCase:
    kind: Kind
    title: str
    words: str
    photos: Path
    gallery: Path
    checkpoint: Path
    finder: Path  # the checkpoint for clicks
    click: Point  # on a building in the first photo

    @property
    def missing(self) -> str:
        """A sentence for the user if a part did not ship; empty when all is there."""
        for part, path in (
            ("photos", self.photos),
            ("gallery", self.gallery / MANIFEST_NAME),
            ("checkpoint", self.checkpoint),
        ):
            if not path.exists():
                return f"This copy of Skyfix came without the {part} of this case ({path.name})."
        return ""


def demo_case(kind: Kind) -> DemoCase:
    title, words = {
        "drone": ("Drone photos", "Oblique and nadir photos; which way they face is unknown."),
        "street": ("Street panoramas", "360° panoramas taken between the houses."),
    }[kind]
    clicks: dict[Kind, Point] = {"drone": (165.0, 52.0), "street": (267.0, 233.0)}
    return DemoCase(
        kind=kind,
        title=title,
        words=words,
        photos=demo() / kind / "photos",
        gallery=demo() / "galleries" / kind,
        checkpoint=demo_checkpoint(kind),
        finder=resources() / "checkpoints" / f"attengeo-{kind}.safetensors",
        click=clicks[kind],
    )
