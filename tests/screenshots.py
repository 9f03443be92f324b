"""Takes the pictures of the README: the real program on the demo cases, without a display.

    python -m tests.screenshots [FOLDER] [--only NAME...]          (docs/images)

Those of training and evaluating show runs and figures of a small procedural data set, made first.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHOTS = {
    "window-light": ("drone", "light", 1),
    "window-dark": ("drone", "dark", 4),
    "street": ("street", "light", 1),
}
OBJECTS = {"objects": ("drone", "light", 6)}
CLICKS = {(484.5, 155.5): "Pond", (311.5, 417.5): "Flat roof", (273.5, 195.5): "Red roof"}
TASKS = {"training": ("train", "light"), "evaluation": ("evaluate", "light")}
CHECKPOINT = "resources/checkpoints/sample4geo-drone.safetensors"
RUNS = {"first try": ["--lr", "0.002"], "slower rate": ["--lr", "0.0005"]}
SIZE = (1440, 900)
PATIENCE_S = 300


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/images"))
    names = sorted({*SHOTS, *OBJECTS, *TASKS})
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--one", choices=names, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return take(args.one, args.folder)
    args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as worked:
        if set(args.only) & set(TASKS):
            work(_environment(worked))
        for name in args.only:
            _, theme = TASKS.get(name) or {**SHOTS, **OBJECTS}[name][:2]
            with tempfile.TemporaryDirectory() as fresh:
                home = worked if name in TASKS else fresh
                config = Path(home) / "config"
                config.mkdir(exist_ok=True)
                (config / "settings.json").write_text(f'{{"theme": "{theme}"}}', encoding="utf-8")
                command = [sys.executable, "-m", "tests.screenshots", str(args.folder)]
                subprocess.run([*command, "--one", name], env=_environment(home), check=True)
                print(args.folder / f"{name}.png")
    return 0


def _environment(home: str) -> dict[str, str]:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "SKYFIX_HOME": home}
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        environment["QTWEBENGINE_DISABLE_SANDBOX"] = "1"
    return environment


def work(environment: dict[str, str]) -> None:
    """Two short runs and an evaluation, by the command line, into the home of ``environment``."""
    home = Path(environment["SKYFIX_HOME"])
    data = str(home / "procedural towns")
    world = ["world", data, "--pairs", "120", "--train-seeds", "1-3", "--val-seeds", "4"]
    acts = [[*world, "--size-m", "700"]]
    for name, options in RUNS.items():
        folder = str(home / "data" / "runs" / name)
        run = ["train", "--run-dir", folder, "--data", data, "--preset", "smallest"]
        acts.append([*run, "--epochs", "12", "--batch-size", "24", "--log-every", "3", *options])
        acts.append(["runs", "rebuild"])
    acts.append(["evaluate", "--checkpoint", CHECKPOINT, "--data", data])
    for act in acts:
        subprocess.run(
            [sys.executable, "-m", "app", *act],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )


def take(name: str, folder: Path) -> int:
    """One picture, in a process of its own: a second map in one process is no real start."""
    from PySide6.QtCore import QTimer

    from app.ui.main import run
    from app.ui.map_view import prepare_web_engine

    prepare_web_engine()
    from PySide6.QtWidgets import QApplication

    application = QApplication(["skyfix"])
    photographer: Photographer
    if name in TASKS:
        photographer, arguments = OfTask(folder / f"{name}.png", TASKS[name][0]), []
    else:
        kind, _, row = {**SHOTS, **OBJECTS}[name]
        made = OfObjects if name in OBJECTS else Photographer
        photographer, arguments = made(folder / f"{name}.png", row), ["--demo", kind]
    timer = QTimer()
    timer.setInterval(200)
    timer.timeout.connect(photographer.look)
    timer.start()
    run(arguments)
    del application
    return 0 if photographer.done else 1


class Photographer:
    """Waits until every photo has its answer, its maps are drawn and the map is there."""

    def __init__(self, path: Path, row: int) -> None:
        self._path, self._row = path, row
        self._until = time.monotonic() + PATIENCE_S
        self._still = 0
        self.done = False

    def look(self) -> None:
        from PySide6.QtWidgets import QApplication

        from app.ui.window import MainWindow

        window = next((w for w in QApplication.topLevelWidgets() if type(w) is MainWindow), None)
        if window is None:
            return
        if time.monotonic() > self._until:
            print("the window did not come to rest", file=sys.stderr)
            window.close()
            return
        if self._still == 0:
            if not self.is_ready(window):
                return
            window.resize(*SIZE)
            self.arrange(window)
        if self._still < 1 or self.rests(window):
            self._still += 1
        if self._still == 30:  # six seconds at rest: heatmaps and map tiles have come
            self.done = window.grab().save(str(self._path))
            window.close()

    def is_ready(self, window: Any) -> bool:
        session = window._rooms.session
        return bool(session.paths) and session.count("located", "problem") == len(session.paths)

    def arrange(self, window: Any) -> None:
        session = window._rooms.session
        session.select(session.paths[self._row])

    def rests(self, window: Any) -> bool:
        """Whether what was arranged has its answers."""
        del window
        return True


class OfObjects(Photographer):
    """Of a photo in which three objects were clicked and named."""

    def is_ready(self, window: Any) -> bool:
        return super().is_ready(window) and window._rooms.library.finder is not None

    def arrange(self, window: Any) -> None:
        super().arrange(window)
        objects = window._rooms.objects
        objects.switch(True)
        for number, (click, name) in enumerate(CLICKS.items(), 1):
            objects.place(click)
            objects.rename(number, name)

    def rests(self, window: Any) -> bool:
        return all(marker.box is not None for marker in window._rooms.objects.markers)


class OfTask(Photographer):
    """Of the training or the evaluation tab, all that there is selected."""

    def __init__(self, path: Path, task: str) -> None:
        super().__init__(path, 0)
        self._task = task

    def is_ready(self, window: Any) -> bool:
        window.tasks.show_task(self._task)
        rooms = window._rooms
        return bool(rooms.training.rows if self._task == "train" else rooms.evaluations.entries)

    def arrange(self, window: Any) -> None:
        if self._task == "train":
            window.training.table.selectAll()


if __name__ == "__main__":
    sys.exit(main())
