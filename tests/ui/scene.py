"""An engine that is a list, and answers with pictures to feed it: for tests and screenshots."""

import json
import math
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from PySide6.QtCore import QObject, Signal

from app.card import CARD_KEY, Card, Metric, card_to_json, identity_of
from app.geo import Area, LatLon
from app.manifest import MANIFEST_NAME, Manifest, manifest_to_json
from app.messages import (
    Candidate,
    Claim,
    Confidence,
    Event,
    Explain,
    Explanation,
    GalleryOpened,
    Heatmap,
    Locate,
    Location,
    OpenGallery,
    Problem,
    Progress,
    QueryRead,
    Warm,
    Warmed,
)

HERE = LatLon(48.2082, 16.3738)


class ScriptedEngine(QObject):
    """Keeps what it is sent; ``tell`` answers."""

    told = Signal(object)
    asked = Signal(int, object)

    def __init__(self):
        super().__init__()
        self.sent, self.cancelled = [], []

    def send(self, request):
        self.sent.append(request)
        self.asked.emit(len(self.sent), request)
        return len(self.sent)

    def cancel(self, job):
        self.cancelled.append(job)

    def tell(self, job, body):
        self.told.emit(Event(job, body))

    def job(self, request_type, nth=-1):
        """The number of the n-th request of a type."""
        numbers = [i for i, r in enumerate(self.sent, 1) if isinstance(r, request_type)]
        return numbers[nth]


def card(view="drone", title="Sample4Geo tiny, drone"):
    return Card(
        network="sample4geo",
        config={"backbone": "tf_efficientnet_lite0", "note": title},  # so each is one of its own
        title=title,
        task="retrieval",
        query_view=view,
        sizes={view: (192, 192), "satellite": (192, 192)},
        descriptor=1280,
        tile_size_m=80,
        training={"data": "12 procedural worlds", "seed": 0},
        metrics=(Metric("R@1", 0.71, "demo world seed 9001, heading unknown"),),
        licence="CC0-1.0",
    )


def manifest(name="Demo city", checkpoint="", tiles=624):
    return Manifest(
        name=name,
        source="city.tif",
        source_kind="raster",
        licence="CC0 Skyfix demo world",
        crs="EPSG:32633",
        gsd_m=0.5,
        tile_size_m=80,
        overlap=0.5,
        tiles=tiles,
        descriptor=1280,
        checkpoint=checkpoint,
        checkpoint_title="Sample4Geo tiny, drone",
        query_view="drone",
        area=Area(48.2, 16.36, 48.216, 16.388),
        created="2026-11-21T03:00:00Z",
        code_version="0.1.0",
        skipped=3,
    )


def city(seed, size=(480, 640), *, tilt=0.0):
    """A picture with streets, roofs and trees, so that screenshots look like the real thing."""
    rng = np.random.default_rng(seed)
    h, w = size
    image = Image.new("RGB", (w, h), (118, 132, 98))
    draw = ImageDraw.Draw(image)
    step = int(rng.integers(70, 110))
    for x in range(-step, w + step, step):
        draw.line((x, -9, x + int(tilt * h), h + 9), fill=(120, 118, 116), width=14)
        draw.line((x, -9, x + int(tilt * h), h + 9), fill=(196, 192, 180), width=1)
    for y in range(int(rng.integers(0, step)), h, step):
        draw.line((0, y, w, y), fill=(112, 110, 110), width=16)
    roofs = [(168, 92, 70), (188, 178, 166), (140, 142, 150), (206, 198, 184), (124, 80, 66)]
    for _ in range(w * h // 4200):
        x, y = int(rng.integers(0, w)), int(rng.integers(0, h))
        if x % step < 22 or y % step < 22:
            continue
        dx, dy = (int(v) for v in rng.integers(14, 34, 2))
        draw.rectangle((x + 4, y + 4, x + dx + 4, y + dy + 4), fill=(70, 78, 66))
        draw.rectangle((x, y, x + dx, y + dy), fill=roofs[int(rng.integers(0, 5))])
    for _ in range(w * h // 1800):
        x, y, r = int(rng.integers(0, w)), int(rng.integers(0, h)), int(rng.integers(3, 8))
        green = int(rng.integers(70, 110))
        draw.ellipse((x, y, x + 2 * r, y + 2 * r), fill=(52, green, 44))
    image = image.filter(ImageFilter.GaussianBlur(0.7))
    noise = rng.normal(0, 5, (h, w, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def heat(seed, size=(60, 80)):
    rng = np.random.default_rng(seed)
    h, w = size
    y, x = np.mgrid[0:h, 0:w] / np.array([h, w])[:, None, None]
    value = np.zeros((h, w))
    for _ in range(4):
        cy, cx, s = rng.uniform(0.15, 0.85), rng.uniform(0.15, 0.85), rng.uniform(0.06, 0.16)
        value += rng.uniform(0.5, 1) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * s * s))
    value /= value.max()
    grey = (255 * value).astype(np.uint8)
    alpha = np.full_like(grey, 255)
    return Image.fromarray(np.stack([grey, alpha], axis=2), "LA")


class Scene:
    """Answers about photos that do not exist, with pictures that do."""

    def __init__(self, folder: Path, *, shrink: int = 1):
        """``shrink`` divides the pictures' sides: small ones will do where nobody looks."""
        self.folder, self.shrink = folder, shrink
        self.checkpoint = folder / "sample4geo-drone.safetensors"
        self.gallery = folder / "galleries" / "demo-city"
        self._tiles: dict[int, Path] = {}

    def _draw(self, seed, size, *, tilt=0.0):
        return city(seed, (size[0] // self.shrink, size[1] // self.shrink), tilt=tilt)

    def tile(self, n):
        if n not in self._tiles:
            path = self.folder / f"tile{n}.jpg"
            self._draw(100 + n, (256, 256)).save(path, quality=88)
            self._tiles[n] = path
        return self._tiles[n]

    def read(self, photo, *, kind="perspective", claim=True, seed=None):
        seed = sum(map(ord, photo.name)) if seed is None else seed
        preview = self.folder / f"preview-{seed}-{kind}.jpg"
        if not preview.exists():
            size = (512, 1024) if kind == "panorama" else (750, 1000)
            self._draw(seed, size, tilt=0.35).save(preview, quality=88)
        place = Claim(LatLon(HERE.lat + 4e-4, HERE.lon + 3e-4), "EXIF GPS", "2026-08-02 11:14:03")
        return QueryRead(
            photo=photo,
            preview=preview,
            width=4000,
            height=2000 if kind == "panorama" else 3000,
            kind=kind,
            claim=place if claim else None,
            heading_deg=None,
        )

    def candidates(self, count, heading=132.0):
        found = []
        for i in range(count):
            angle, away = 2.4 * i, 0 if i == 0 else 3.6e-4 * math.sqrt(i) * (6 if i % 5 == 4 else 1)
            place = LatLon(HERE.lat + away * math.cos(angle), HERE.lon + away * math.sin(angle))
            d = 3.6e-4
            corners = tuple(
                LatLon(place.lat + a * d, place.lon + b * d * 1.5)
                for a, b in ((1, -1), (1, 1), (-1, 1), (-1, -1))
            )
            found.append(
                Candidate(
                    rank=i + 1,
                    tile=f"r{12 + i:03d}c{7 + 2 * i:03d}",
                    position=place,
                    score=0.812 - 0.021 * i,
                    probability=0.44 * 0.62**i,
                    heading_deg=(heading + 7 * i) % 360,
                    footprint=corners,
                    thumbnail=self.tile(i),
                )
            )
        return tuple(found)

    def location(self, photo, *, count=20, kind="perspective", claim=True, calibrated=False):
        return Location(
            query=self.read(photo, kind=kind, claim=claim),
            candidates=self.candidates(count),
            confidence=Confidence(
                calibrated=calibrated,
                best_probability=0.62,
                radius_m=80,
                area_90_m2=61_400,
                spread_m=143,
                gap=0.038,
                reasons=(
                    "8 of the top 10 lie within 80 m",
                    "a rival 1.2 km away scores 0.04 less",
                    "three headings fit almost equally",
                ),
            ),
            turns=12,
            seconds=0.84,
            device="cpu",
        )

    def explanation(self, request: Explain, *, kind="perspective"):
        names = ("activation energy of the last stage", "similarity to the other picture")
        maps = {}
        for side in ("query", "tile"):
            found = []
            for i, name in enumerate(names):
                path = self.folder / f"heat-{side}-{i}.png"
                if not path.exists():
                    heat(7 * i + len(side), (60, 80) if side == "query" else (64, 64)).save(path)
                found.append(Heatmap(path, name, 0.03 * i, 1.84 + i))
            maps[side] = tuple(found)
        rank = next((n for n in self._tiles if f"r{12 + n:03d}c{7 + 2 * n:03d}" == request.tile), 0)
        return Explanation(
            photo=request.photo,
            tile=request.tile,
            query_picture=self.read(request.photo, kind=kind).preview,
            tile_picture=self.tile(rank),
            query_maps=maps["query"],
            tile_maps=maps["tile"],
        )

    def answer_all(self, engine, *, kind="perspective", count=20):
        """Answer every request that is still open, as a good engine would."""
        done = 0
        while done < len(engine.sent):
            done += 1
            request = engine.sent[done - 1]
            match request:
                case Warm():
                    engine.tell(done, Warmed(request.checkpoint, card(), "cpu, 2 threads"))
                case OpenGallery():
                    engine.tell(done, GalleryOpened(request.gallery, manifest()))
                case Locate():
                    engine.tell(done, Progress(0, 0, "starting"))
                    engine.tell(done, self.read(request.photo, kind=kind))
                    if "broken" in request.photo.name:
                        engine.tell(
                            done,
                            Problem(
                                f"{request.photo.name} ends before its picture does",
                                "It was not copied whole: copy it again from the camera.",
                            ),
                        )
                    else:
                        engine.tell(done, self.location(request.photo, kind=kind, count=count))
                case Explain():
                    engine.tell(done, self.explanation(request, kind=kind))

    def write_library(self):
        """The checkpoint and the gallery as files that the window can read; nothing more."""
        write_checkpoint(self.checkpoint, card())
        write_gallery(self.gallery, manifest(checkpoint=identity_of(self.checkpoint)))


def write_checkpoint(path, its_card):
    """A header with a card and no weights."""
    header = json.dumps({"__metadata__": {CARD_KEY: card_to_json(its_card)}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def write_gallery(folder, its_manifest):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_NAME).write_text(manifest_to_json(its_manifest), encoding="utf-8")
