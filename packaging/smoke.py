"""Runs a built program as a stranger would, and says what it saw; ``dev.py package --smoke``.

    python packaging/smoke.py dist/skyfix [--no-window] [--report FILE.json]

The program works for a user of its own where this is root, without network where the system lets
that be taken away, in an empty folder, with an empty PATH, in a home with spaces and letters from
four scripts. Its ranks are compared with those of this checkout, if the Python that runs this
has the packages. Standard library only.
"""

import argparse
import json
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
from smoke_stage import Failed, Stage, executable_of  # noqa: E402

TOP = 10
SAME_SCORE = 2e-3
SAME_PX = 1.0
LOCATORS = {"drone": "sample4geo", "street": "mfrgn"}  # as in app/paths.py
CLICKS = {"drone": (165.0, 52.0), "street": (267.0, 233.0)}  # as in app/ui/demo_cases.py
START_LIMIT_S, DOCTOR_LIMIT_S, LONG_S = 60, 300, 900


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("program", type=Path, help="the program's folder")
    parser.add_argument("--no-window", action="store_true", help="leave the window out")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write what was seen")
    parser.add_argument("--only", nargs="*", choices=tuple(STEPS), help="these steps alone")
    args = parser.parse_args(arguments)
    chosen = [name for name in STEPS if not args.only or name in args.only]
    if args.no_window:
        chosen.remove("window")
    seen: dict[str, object] = {}
    failed = 0
    with Stage(executable_of(args.program.resolve()), needs_display="window" in chosen) as stage:
        print(f"smoke: {stage.words}", flush=True)
        for name in [*chosen, "traces"]:
            started = time.monotonic()
            try:
                found = stage.traces() if name == "traces" else STEPS[name](stage)
            except Failed as failure:
                failed += 1
                found = {"failed": str(failure)}
            seconds = time.monotonic() - started
            seen[name] = {**found, "seconds": round(seconds, 1)}
            mark = "FAILED" if "failed" in found else "ok"
            told = ", ".join(f"{key} {value}" for key, value in found.items())
            print(f"smoke: {name:<10}{mark:<8}{seconds:6.1f} s  {told}", flush=True)
        seen["stage"] = stage.words
    if args.report is not None:
        args.report.write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")
    print(f"smoke: {'all is well' if not failed else f'{failed} of {len(chosen) + 1} failed'}")
    return 1 if failed else 0


Found = dict[str, object]


def version(stage: Stage) -> Found:
    """Three starts: the first reads the program from the disk."""
    times = []
    for _ in range(3):
        started = time.monotonic()
        said = stage.run("--version", limit_s=START_LIMIT_S)
        times.append(time.monotonic() - started)
    if not said.startswith("skyfix "):
        raise Failed(f"--version says {said!r}")
    return {
        "version": said.split()[1],
        "first start": f"{times[0]:.1f} s",
        "again": f"{min(times):.1f} s",
    }


def doctor(stage: Stage) -> Found:
    said = stage.run("doctor", "--json", limit_s=DOCTOR_LIMIT_S)
    findings = json.loads(said)["findings"]
    bad = [f"{f['name']}: {f['words']}" for f in findings if f["severity"] == "problem"]
    unnamed = [f["name"] for f in findings if "version unknown" in f["words"]]
    if bad or unnamed:
        raise Failed("; ".join([*bad, *(f"{name} came without its version" for name in unnamed)]))
    notes = [f["name"] for f in findings if f["severity"] == "note"]
    return {"findings": len(findings), "notes": notes}


def locate(stage: Stage) -> Found:
    """A drone photo and a panorama: ranks as from source, and files for a map program."""
    found: Found = {}
    for kind in ("drone", "street"):
        wanted = _locate_words(stage.resources, kind)
        geojson, page = stage.folder / f"{kind}.geojson", stage.folder / f"{kind} map.html"
        said = stage.run(*wanted, "--geojson", str(geojson), "--map", str(page), limit_s=LONG_S)
        ranks = _ranks(said)
        source = stage.from_source(*_locate_words(ROOT / "resources", kind), limit_s=LONG_S)
        if source is None:
            found[kind] = f"{len(ranks)} ranks, not compared with the source's"
        else:
            _require_same(kind, ranks, _ranks(source))
            found[kind] = f"{len(ranks)} ranks as from source"
        features = json.loads(geojson.read_text(encoding="utf-8"))["features"]
        if len(features) < TOP:
            raise Failed(f"{geojson.name} has {len(features)} features")
        if "r0" not in page.read_text(encoding="utf-8"):
            raise Failed(f"{page.name} names no tile")
    return found


def _locate_words(resources: Path, kind: str) -> list[str]:
    photo = min((resources / "demo" / kind / "photos").glob("*.jpg"))
    words = ["locate", str(photo), "--json", "--top-k", str(TOP), "--device", "cpu"]
    words += ["--gallery", str(resources / "demo/galleries" / kind)]
    return [*words, "--checkpoint", str(_locator(resources, kind))]


def _ranks(said: str) -> list[tuple[str, float]]:
    return [(c["tile"], c["score"]) for c in json.loads(said)[0]["candidates"]]


def _require_same(
    kind: str, ours: list[tuple[str, float]], theirs: list[tuple[str, float]]
) -> None:
    """Tiles whose scores agree to the eighth digit may change places."""
    furthest = max(abs(a[1] - b[1]) for a, b in zip(ours, theirs, strict=True))
    if [tile for tile, _ in ours] != [tile for tile, _ in theirs] or furthest > SAME_SCORE:
        raise Failed(f"{kind}: {ours[:3]} … here, {theirs[:3]} … from source")


def click(stage: Stage) -> Found:
    """An object in a drone photo and in a panorama: the box as from source, and on the ground."""
    found: Found = {}
    shipped = [kind for kind in CLICKS if _finder(stage.resources, kind).is_file()]
    if not shipped:
        raise Failed("no checkpoint for clicks came with the program")
    for kind in shipped:
        geojson = stage.folder / f"{kind} objects.geojson"
        wanted = _object_words(stage.resources, kind)
        said = stage.run(*wanted, "--geojson", str(geojson), limit_s=LONG_S)
        tile, box = _best_box(said)
        source = stage.from_source(*_object_words(ROOT / "resources", kind), limit_s=LONG_S)
        if source is None:
            found[kind] = f"a box around {tile}, not compared with the source's"
        else:
            there, its = _best_box(source)
            away = max(abs(a - b) for a, b in zip(box, its, strict=True))
            if tile != there or away > SAME_PX:
                raise Failed(f"{kind}: {box} around {tile} here, {its} around {there} from source")
            found[kind] = f"the box around {tile} as from source, {away:.2f} px off"
        features = json.loads(geojson.read_text(encoding="utf-8"))["features"]
        if not any(feature["properties"].get("feature") == "object" for feature in features):
            raise Failed(f"{geojson.name} has no object")
    return found


def _object_words(resources: Path, kind: str) -> list[str]:
    photo = min((resources / "demo" / kind / "photos").glob("*.jpg"))
    x, y = CLICKS[kind]
    words = ["object", str(photo), "--click", f"{x:g},{y:g}", "--top", "3", "--json"]
    words += ["--gallery", str(resources / "demo/galleries" / kind), "--device", "cpu"]
    words += ["--locator", str(_locator(resources, kind))]
    return [*words, "--checkpoint", str(_finder(resources, kind))]


def _locator(resources: Path, kind: str) -> Path:
    return resources / f"checkpoints/{LOCATORS[kind]}-{kind}.safetensors"


def _finder(resources: Path, kind: str) -> Path:
    return resources / f"checkpoints/attengeo-{kind}.safetensors"


def _best_box(said: str) -> tuple[str, list[float]]:
    """Around which tile it was found, and its sides in that reference's pixels."""
    answer = json.loads(said)[0]
    best = answer["objects"][0]["boxes"][0]
    return answer["references"][best["reference"]]["tile"], best["box"]


def gallery(stage: Stage) -> Found:
    place = stage.folder / "галерея 画廊"
    stage.run(
        "gallery",
        "build",
        str(stage.resources / "demo/galleries/city.tif"),
        *("--checkpoint", str(stage.resources / "checkpoints/sample4geo-drone.safetensors")),
        *("--tile-size-m", "160", "--overlap", "0", "--device", "cpu", "-o", str(place)),
        limit_s=LONG_S,
    )
    tiles = json.loads((place / "manifest.json").read_text(encoding="utf-8"))["tiles"]
    if not tiles:
        raise Failed("the gallery has no tiles")
    stage.run("gallery", "info", str(place), limit_s=START_LIMIT_S)
    return {"tiles": tiles}


def importing(stage: Stage) -> Found:
    """A file that would run a command when it is unpickled: refused, in a process of its own."""
    harmful, touched = stage.folder / "harmful.pth", stage.folder / "touched"
    script = b"cposix\nsystem\n(S'touch " + str(touched).encode("ascii", "replace") + b"'\ntR."
    with zipfile.ZipFile(harmful, "w") as file:
        file.writestr("archive/data.pkl", script)
        file.writestr("archive/version", "3\n")
    stage.own(harmful)
    said = stage.run(
        *("checkpoint", "import", str(harmful), "-o", str(stage.folder / "out.safetensors")),
        limit_s=LONG_S,
        code=1,
    )
    if touched.exists():
        raise Failed("the harmful file was obeyed")
    return {"said": said.strip().splitlines()[-1][:90] if said.strip() else "refused"}


def train(stage: Stage) -> Found:
    """Two updates in the background, then stop: a process of its own, that outlives its starter."""
    data, run = stage.folder / "pairs", stage.folder / "run 1"
    stage.run(
        *("world", str(data), "--pairs", "8", "--size-m", "400", "--gsd-m", "1"),
        *("--train-seeds", "1", "--val-seeds", "2"),
        limit_s=LONG_S,
    )
    stage.run(
        *("train", "--background", "--run", str(run), "--data", str(data), "--epochs", "2000"),
        *("--preset", "smallest", "--batch-size", "2", "--log-every", "1", "--device", "cpu"),
        limit_s=LONG_S,
        leaves=True,
    )
    steps = run / "steps.jsonl"
    stage.wait(lambda: steps.is_file() and len(steps.read_bytes().splitlines()) >= 2, "two updates")
    if "running" not in stage.run("runs", "list", limit_s=START_LIMIT_S, leaves=True):
        raise Failed("runs list does not show the run as running")
    stage.run("runs", "stop", str(run), limit_s=START_LIMIT_S, leaves=True)
    stage.wait(
        lambda: "stopped" in stage.run("runs", "list", limit_s=START_LIMIT_S, leaves=True),
        "runs list to show the run as stopped",
    )
    stage.wait(lambda: not stage.alive(), "the run's processes to end")
    return {"updates": len(steps.read_bytes().splitlines()), "state": "stopped"}


def window(stage: Stage) -> Found:
    """The window tries itself: see app/ui/selftest.py."""
    said = stage.run("doctor", "--window", "--json", limit_s=LONG_S)
    checks = json.loads(said)["checks"]
    bad = [f"{c['name']}: {c['words']}" for c in checks if not c["passed"]]
    if bad:
        raise Failed("; ".join(bad))
    return {c["name"]: c["words"] for c in checks}


STEPS: dict[str, Callable[[Stage], Found]] = {
    "version": version,
    "doctor": doctor,
    "locate": locate,
    "object": click,
    "gallery": gallery,
    "import": importing,
    "train": train,
    "window": window,
}

if __name__ == "__main__":
    sys.exit(main())
