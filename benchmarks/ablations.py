"""The papers' ablations again, at tiny scale on the demo world: do their effects have their signs?

    python -m benchmarks.ablations --work FOLDER [--methods mift mfrgn] [--seeds 0 1 2]
        [--epochs N] [--jobs N] [--report-only]

Every row of a method's tables is trained from the same data, in the same order, for as many
updates, and measured on held-out places of the cities it learnt from (same-area) and on other
cities (cross-area). For each pair of rows that the paper compares the effect is printed with its
interval over the seeds, beside the paper's figures and sign: paper figures in brackets are of the
other kind of test, the only one that paper has; "seeds" counts those whose own effect in the last
column has the paper's sign. "undecided": the interval contains 0.

The first start renders the cities into FOLDER. Finished runs are kept there, one file a run, and a
run that was killed goes on where it was: start again until the report is whole. Every run is one
thread; ``--jobs`` of them are at work at a time.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch

from app.card import Card
from app.engine.checkpoints import load_checkpoint, save_checkpoint
from app.engine.evaluation_run import evaluate
from app.engine.importers import imagenet_lite0_checkpoint
from app.engine.shelf import Shelf
from app.engine.training import train
from app.engine.writing import write_whole
from app.errors import UserError
from app.messages import EpochDone, Evaluate, Train
from app.models.build import create_network, spec_of
from benchmarks.ablation_data import AREAS, Cities, constant_guess, folder_of, render
from benchmarks.ablation_report import Found, Measured, report
from benchmarks.ablation_tables import METHODS

RECIPE: Mapping[str, Any] = {  # of all runs; known headings and mild changes: little time to learn
    "heading_jitter_deg": 5.0,
    "quarter_turns": False,
    "flip": False,
    "looks": 0.2,
    "amp": True,
    "device": "cpu",
    "keep_last": 0,
    "save_every_min": 2.0,
}
WARMUP = 0.1  # of the epochs
ANCHORS = 9  # the papers' number
RESAMPLES = 100  # of the bootstrap, whose intervals are not used here


@dataclass(frozen=True, slots=True)
class Trial:
    """One training and its figures."""

    method: str
    row: str
    seed: int
    epochs: int  # of this row
    work: Path

    @property
    def identity(self) -> str:
        """Of all that decides the figures: rows that are the same network are trained once."""
        method = METHODS[self.method]
        told = {
            "network": method.network,
            "config": method.config(self.row),
            "samples": method.samples_of(self.row),
            "trunks": method.trunks,
            "cities": asdict(method.cities),
            "recipe": {**RECIPE, **method.settings},
            "learning": (method.lr, method.trunk_lr_factor, method.batch_size),
            "epochs": self.epochs,
            "seed": self.seed,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def kept(self) -> Path:
        """Where the figures go."""
        return self.work / "figures" / f"{self.method}-{self.identity}.json"

    @property
    def run_dir(self) -> Path:
        return self.work / "runs" / f"{self.method}-{self.identity}"


def main() -> int:
    args = _arguments()
    work: Path = args.work.absolute()
    methods = [METHODS[name] for name in args.methods]
    trials = [
        Trial(method.name, row, seed, method.epochs_of(row, args.epochs), work)
        for seed in args.seeds  # outermost: a benchmark that is stopped has whole seeds
        for method in methods
        for row in method.rows
    ]
    failed: list[str] = []
    if not args.report_only:
        failed = run_all(trials, jobs=args.jobs)
    print()
    for line in report(read_found(trials), methods, args.seeds):
        print(line)
    for problem in failed:
        print(f"FAILED {problem}")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="of each method's full network (its own)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="(one a core)")
    parser.add_argument("--report-only", action="store_true", help="print from what is there")
    return parser.parse_args()


def read_found(trials: Sequence[Trial]) -> dict[str, Found]:
    """By method, what is finished."""
    found: dict[str, dict[tuple[str, int], Measured]] = {trial.method: {} for trial in trials}
    for trial in trials:
        if trial.kept.is_file():
            found[trial.method][trial.row, trial.seed] = read_measured(trial.kept)
    return dict(found)


def read_measured(path: Path) -> Measured:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Measured(told["figures"], told["chance"], told["seconds"])
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error})", "Delete it and start again.") from error


def to_do(trials: Sequence[Trial]) -> list[Trial]:
    """Those without figures, and of equal ones the first."""
    once: dict[Path, Trial] = {}
    for trial in trials:
        if not trial.kept.is_file():
            once.setdefault(trial.kept, trial)
    return list(once.values())


def run_all(trials: Sequence[Trial], *, jobs: int) -> list[str]:
    """Train and measure what is not there yet; what failed, in words."""
    left = to_do(trials)
    print(
        f"{len(trials)} rows and seeds, {len(left)} trainings to do, {jobs} at a time", flush=True
    )
    if not left:
        return []
    os.environ["OMP_NUM_THREADS"] = "1"  # the children's; so is what follows
    os.environ["SKYFIX_HOME"] = str(left[0].work / "home")  # the runs are not the user's
    failed = []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        cities = {METHODS[trial.method].cities for trial in left}
        begun = time.perf_counter()
        for name in pool.imap_unordered(partial(_render, left[0].work), cities):
            print(f"{name} is rendered ({time.perf_counter() - begun:.0f} s)", flush=True)
        for done, (words, problem) in enumerate(pool.imap_unordered(attempt, left), start=1):
            print(f"{done}/{len(left)} {words}", flush=True)
            failed += [problem] if problem else []
    return failed


def _render(work: Path, cities: Cities) -> str:
    render(work, cities)
    return cities.name


# --- in a child ------------------------------------------------------------------


def attempt(trial: Trial) -> tuple[str, str]:
    """A line for the screen, and what went wrong: one failure does not end the others."""
    name = f"{trial.method}, {trial.row}, seed {trial.seed}"
    try:
        measured = measure(trial)
    except UserError as problem:
        return f"{name}: failed", f"{name}: {problem} {problem.hint}"
    shown = "  ".join(
        " ".join([area, *(f"{100 * value:.1f}" for value in measured.figures[area].values())])
        for area in AREAS
    )
    return f"{name}: {shown}  ({measured.seconds:.0f} s of a core)", ""


def measure(trial: Trial) -> Measured:
    """Train, or go on with a training that was killed; then both tests. Keeps the figures alone."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    clock = trial.run_dir / "core-seconds"  # of earlier starts of this run
    before = float(clock.read_text()) if clock.is_file() else 0.0
    begun = time.process_time()

    def spent() -> float:
        return before + time.process_time() - begun

    def tick(told: object) -> None:
        if isinstance(told, EpochDone):
            clock.write_text(f"{spent():.1f}")

    trained = train(request(trial), tick)
    figures, chance = {}, {}
    for area in AREAS:
        figures[area], chance[area] = test(trial, trained.checkpoint, area)
    measured = Measured(figures, chance, round(spent(), 1))
    told = {"method": trial.method, "row": trial.row, "seed": trial.seed, "epochs": trial.epochs}
    write_whole(trial.kept, (json.dumps({**told, **asdict(measured)}, indent=1) + "\n").encode())
    shutil.rmtree(trial.run_dir)
    return measured


def request(trial: Trial) -> Train:
    """The training, as the program's own ``train`` takes it."""
    method = METHODS[trial.method]
    run = Train(
        run_dir=trial.run_dir,
        data=folder_of(trial.work, method.cities, "same"),
        network=method.network,
        preset=method.preset,
        overrides={**method.base, **method.rows[trial.row].overrides},
        epochs=trial.epochs,
        warmup_epochs=WARMUP * trial.epochs,
        validate_every=trial.epochs,  # the last weights are the ones that are measured
        lr=method.lr,
        trunk_lr_factor=method.trunk_lr_factor,
        batch_size=method.batch_size,
        samples_per_place=method.samples_of(trial.row),
        seed=trial.seed,
        **{**RECIPE, **method.settings},
    )
    return replace(run, init=start_of(trial)) if method.trunks else run


def start_of(trial: Trial) -> Path:
    """A checkpoint of the row's network, fresh by the seed but for trunks that know ImageNet."""
    method, config = METHODS[trial.method], METHODS[trial.method].config(trial.row)
    path = trial.run_dir / "start.safetensors"
    if path.is_file():
        return path
    imagenet = trial.run_dir / "imagenet.safetensors"
    imagenet_lite0_checkpoint(imagenet)
    known = load_checkpoint(imagenet, device="cpu").network.state_dict()
    if config.get("anchors") == "clustered":  # the training finds them; no weights hang on them
        config["anchors"] = ((1.0, 1.0),) * ANCHORS
    torch.manual_seed(trial.seed)
    network = create_network(method.network, config)
    for name in method.trunks:
        trunk = network.get_submodule(name)
        trunk.load_state_dict({key: known[f"model.{key}"] for key in trunk.state_dict()})
    view = network.config.query_view
    card = Card(
        network=method.network,
        config=config,
        title="ImageNet trunk",
        task=spec_of(method.network).task,
        query_view=view,
        sizes={v: network.input_size(v) for v in (view, "satellite")},
        descriptor=getattr(network, "descriptor", 0),
        tile_size_m=80.0,
    )
    save_checkpoint(path, network, card)
    return path


def test(trial: Trial, checkpoint: Path, area: str) -> tuple[dict[str, float], float | None]:
    """The method's measures by the program's own evaluation; for the first, what guessing has."""
    method = METHODS[trial.method]
    cities = method.cities
    asked = Evaluate(
        checkpoint=checkpoint,
        data=folder_of(trial.work, cities, area),
        output=trial.run_dir / "evaluations" / area,
        tests=("val" if cities.objects else f"{cities.view} to satellite",),
        headings="known",
        resamples=RESAMPLES,
    )
    (result,) = evaluate(asked, Shelf("cpu", max_descriptors=0)).results
    found = {measure.name: measure for measure in result.measures}
    chance = found[method.measures[0]].chance
    if cities.objects:
        chance = constant_guess(trial.work, cities, area, 0.5)
    return {name: found[name].value for name in method.measures}, chance


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"{error} {error.hint}".rstrip())
