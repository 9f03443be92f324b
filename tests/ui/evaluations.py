"""Evaluations as they lie on disk, and answers of the engine about them: tests and screenshots."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

from app.messages import (
    BrowseErrors,
    Compare,
    Compared,
    ErrorsBrowsed,
    Project,
    Projected,
    Shrink,
    Shrunk,
    Thumbnail,
)
from app.results import (
    RESULT_NAME,
    Bin,
    BoxRow,
    Comparison,
    Curve,
    Difference,
    ErrorRow,
    EvaluationResult,
    Measure,
    Projection,
    Reliability,
    Shown,
    Threshold,
    result_to_json,
)
from tests.ui.scene import city


def measure(name, value, *, unit="share", chance=None, note=""):
    spread = 0.03 if unit == "share" else 0.2 * value
    return Measure(name, value, max(0.0, value - spread), value + spread, unit, chance, note)


def result(**changes):
    """Of a retrieval test, small and whole."""
    recall = tuple(min(1.0, 0.62 + 0.09 * math.log(k)) for k in range(1, 101))
    made = EvaluationResult(
        task="retrieval",
        data="University-1652",
        test="drone to satellite",
        protocol="university",
        put="headings as given",
        checkpoint="ab" * 32,
        checkpoint_title="Sample4Geo tiny, drone",
        network="sample4geo",
        queries=37855,
        gallery=951,
        measures=(
            measure("R@1", 0.6213, chance=0.0011),
            measure("R@5", 0.7712, chance=0.0053),
            measure("R@1%", 0.8031, chance=0.01, note="of the best 11"),
            measure("AP", 0.6644, note="trapezoids, as in University-1652's code"),
            measure("median error", 38.2, unit="m", note="of rank 1"),
        ),
        curves=(
            Curve("recall", "K", tuple(range(1, 101)), recall),
            Curve("within metres", "metres", (1.0, 10.0, 100.0, 1000.0), (0.6, 0.65, 0.9, 0.97)),
        ),
        reliability=Reliability(
            0.0335,
            "the checkpoint's card",
            70,
            0.118,
            (Bin(0.2, 0.4, 20, 0.31, 0.25), Bin(0.6, 0.8, 50, 0.72, 0.6)),
        ),
        thresholds=(Threshold(0.05, 0.742, 0.41),),
        notes=("3 queries hang on equal scores, which are ranked by the gallery's order",),
        resamples=1000,
        groups=701,
        created="2026-11-20T10:00:00+00:00",
        code_version="0.1.0",
    )
    return replace(made, **changes)


def object_result(**changes):
    return result(
        **{
            "task": "object",
            "data": "CVOGL",
            "test": "test, drone to satellite",
            "protocol": "boxes",
            "checkpoint_title": "AttenGeo tiny, drone",
            "network": "attengeo",
            "measures": (
                measure("accu@0.25", 0.55),
                measure("accu@0.5", 0.48),
                measure("centre error", 12.0, unit="px"),
            ),
            "curves": (Curve("accuracy", "IoU", (0.0, 0.25, 0.5, 0.75), (0.7, 0.55, 0.48, 0.2)),),
            "reliability": None,
            "thresholds": (),
            "notes": (),
            **changes,
        }
    )


def write(folder, made=None, *, minutes=0):
    """A scored folder; later ``minutes`` are newer."""
    made = result() if made is None else made
    made = replace(made, created=f"2026-11-20T10:{minutes:02d}:00+00:00")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT_NAME).write_text(result_to_json(made), encoding="utf-8")
    os.utime(folder / RESULT_NAME, ns=(0, 10**18 + minutes * 10**9))
    return folder


def damage(folder):
    (folder / RESULT_NAME).write_text(json.dumps({"format": 1}), encoding="utf-8")


class Answers:
    """What a good engine would answer, with pictures that are there."""

    def __init__(self, folder: Path, *, errors=120, side=120):
        self.folder, self.errors = folder, errors
        self.pictures = []
        for n in range(12):
            path = folder / f"picture{n}.jpg"
            if not path.exists():
                city(300 + n, (side, side), tilt=0.3 * (n % 2)).save(path, quality=85)
            self.pictures.append(path)

    def picture(self, kind, n):
        return Path(f"/data/University-1652/test/{kind}/{n:04d}/image-{n:02d}.jpeg")

    def shown(self, n, *, right):
        return Shown(self.picture("satellite", n), n, 0.7 - 0.01 * (n % 9), right, 12.5 * n)

    def errors_of(self, request: BrowseErrors, task="retrieval"):
        last = min(request.start + request.count, self.errors)
        make = self.error_row if task == "retrieval" else self.box_row
        return ErrorsBrowsed(
            request.folder,
            self.errors,
            request.start,
            tuple(make(n) for n in range(request.start, last)),
        )

    def error_row(self, n):
        none = n % 7 == 6
        return ErrorRow(
            query=self.picture("drone", n),
            row=n,
            label=f"{n:04d}",
            rank=None if none else 900 - n,
            right=() if none else (self.shown(n + 1, right=True),),
            best=(self.shown(n + 2, right=False),),
            gap=None if none else 0.31 - 0.001 * n,
            probability=0.82 - 0.002 * n,
            metres=None if n % 5 == 4 else 48.0 * n + 20,
        )

    def box_row(self, n):
        return BoxRow(
            query=self.picture("drone", n),
            satellite=self.picture("satellite", n),
            row=n,
            click=(60, 50),
            truth=(20, 20, 60, 70),
            found=(50, 60, 100, 110),
            score=3.1 - 0.1 * n,
            iou=0.01 * n,
            category="house" if n % 2 else "",
            centre_px=44.0,
            centre_m=None if n % 3 else 13.2,
        )

    def projected(self, request: Project, count=200):
        """Queries on a spiral, each beside its gallery picture."""
        x, y, side, row, picture, label, rank = [], [], [], [], [], [], []
        for n in range(count):
            for kind, off in (("query", 0.0), ("gallery", 0.12)):
                far = 0.2 + n / count
                x.append(far * math.cos(0.35 * n) + off * math.sin(n))
                y.append(far * math.sin(0.35 * n) + off * math.cos(n))
                side.append(kind)
                row.append(n)
                where = "drone" if kind == "query" else "satellite"
                picture.append(str(self.picture(where, n)))
                label.append(f"{n:04d}")
                rank.append((1 if n % 3 else n + 2) if kind == "query" else 0)
        columns = (x, y, side, row, picture, label, rank)
        return Projected(
            request.folder,
            Projection(request.method, "shows the two main axes", *map(tuple, columns)),
        )

    def compared(self, request: Compare):
        return Compared(
            request.first,
            request.second,
            Comparison(
                data="University-1652",
                test="drone to satellite",
                first_title="one",
                second_title="two",
                queries=37855,
                differences=(
                    Difference("R@1", 0.62, 0.68, 0.06, 0.03, 0.09),
                    Difference("R@5", 0.77, 0.775, 0.005, -0.01, 0.02),
                    Difference("AP", 0.66, 0.64, -0.02, -0.03, -0.01),
                    Difference("median error", 38.2, 30.1, -8.1, -12.0, -3.0, "m"),
                ),
                only_first=24,
                only_second=71,
                p_value=1.4e-6,
                p_name="exact sign test of R@1 by place",
                resamples=1000,
                seed=0,
            ),
        )

    def shrunk(self, request: Shrink):
        return Shrunk(
            tuple(
                Thumbnail(picture, self.pictures[sum(map(ord, str(picture))) % 12], 120, 120)
                for picture in request.pictures
            )
        )

    def answer(self, engine, *, task="retrieval", since=0):
        """Answer what is open, after the first ``since`` requests; the answer is their number."""
        done = since
        while done < len(engine.sent):
            done += 1
            request = engine.sent[done - 1]
            match request:
                case Project():
                    engine.tell(done, self.projected(request))
                case BrowseErrors():
                    engine.tell(done, self.errors_of(request, task))
                case Compare():
                    engine.tell(done, self.compared(request))
                case Shrink():
                    engine.tell(done, self.shrunk(request))
        return done
