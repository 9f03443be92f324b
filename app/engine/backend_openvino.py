"""Networks by OpenVINO, converted once: the converted model is kept in the cache folder.

A kept model is a folder of its own, whole or not there: ``model.xml``, ``model.bin`` and the
trial's outcome. Its name stands for the checkpoint, the part and every version that matters, so
that it is never used for another. A refusal is kept too: a conversion takes some ten seconds.
"""

import contextlib
import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from app import __version__
from app.engine.backends import TRIAL_PICTURES, Part, Run, Trial, first_line, trial_pictures

log = logging.getLogger(__name__)

MAX_KEPT = 8  # models; that of a paper's network has some 400 MB
MAX_BATCH = 1024

TryOut = Callable[..., Trial]


def kept(
    part: Part, identity: str, cache: Path | None, try_out: TryOut
) -> tuple[Run, Trial] | None:
    """The model of an earlier start with its trial, if it still gives what the network gives."""
    folder = _folder(part, identity, cache)
    if folder is None or not folder.is_dir():
        return None
    try:
        trial = Trial(**json.loads((folder / "trial.json").read_text(encoding="utf-8")))
        if trial.disagreement:  # no need to read it again
            return part.run, trial
        run = _runner(folder / "model.xml")
        now = try_out(run, timed=False)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        log.info("%s is damaged (%s): converted anew", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # used lately: swept last
    return run, Trial(now.cosine, now.difference, trial.speedup)


def convert(part: Part, identity: str, cache: Path | None, try_out: TryOut) -> tuple[Run, Trial]:
    """A network that cannot be converted comes back as it is, with a trial that says so."""
    import openvino

    model: object = None
    try:
        model = openvino.convert_model(_exported(part))
        run = _runner(model)
        trial = try_out(run)
    except Exception as error:  # torch's export and OpenVINO have dozens
        log.info("%s cannot be converted", part.name, exc_info=True)
        run, trial = part.run, Trial(0.0, 1.0, 1.0, f"cannot convert it ({first_line(error)})")
    folder = _folder(part, identity, cache)
    if folder is not None:
        try:
            _keep(model, trial, folder)
        except OSError as error:  # the model runs all the same
            log.warning("%s cannot be kept: %s", folder, error)
    return run, trial


def _exported(part: Part) -> torch.export.ExportedProgram:
    """For batches of any size."""
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    pictures = trial_pictures(part, "cpu").contiguous()
    assert len(pictures) == TRIAL_PICTURES > 1  # export takes 0 and 1 for constants
    return torch.export.export(_Module(part), (pictures,), dynamic_shapes=({0: batch},))


class _Module(nn.Module):
    """A part as a module, which is all that can be exported."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.network = part.network
        self._run = part.run

    def forward(self, images: Tensor) -> Tensor:
        return self._run(images)


def _runner(model: object) -> Run:
    """``model`` is one of OpenVINO's, or the path of one."""
    import openvino

    compiled = openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",  # some CPUs would take bfloat16
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        },
    )

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(compiled(images.contiguous().numpy())[0])

    return run


def _folder(part: Part, identity: str, cache: Path | None) -> Path | None:
    if cache is None or not identity:
        return None
    name = (
        identity, part.name, part.size, __version__, torch.__version__, version("openvino"),
        platform.machine(), torch.backends.cpu.get_cpu_capability(),
    )  # fmt: skip
    digest = hashlib.sha256("\x00".join(map(str, name)).encode()).hexdigest()
    return cache / f"openvino-{digest[:32]}"


def _keep(model: object, trial: Trial, folder: Path) -> None:
    import openvino

    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if not trial.disagreement:
            openvino.save_model(model, partial / "model.xml", compress_to_fp16=False)
        (partial / "trial.json").write_text(json.dumps(asdict(trial)), encoding="utf-8")
        if not folder.exists():  # another Skyfix may have been faster
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _sweep(folder.parent)


def _sweep(cache: Path) -> None:
    """Only those used last stay."""
    folders = [path for path in cache.glob("openvino-*") if path.suffix != ".partial"]
    for old in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[MAX_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
