"""Takes the pictures of the README: the real program on the demo cases, without a display.

python -m tests.screenshots [FOLDER]          (docs/images)
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHOTS = {
    "window-light": ("drone", "light", 1),
    "window-dark": ("drone", "dark", 4),
    "street": ("street", "light", 1),
}
SIZE = (1440, 900)
PATIENCE_S = 300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/images"))
    parser.add_argument("--one", choices=sorted(SHOTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return take(args.one, args.folder)
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, (_, theme, _) in SHOTS.items():
        with tempfile.TemporaryDirectory() as home:
            config = Path(home) / "config"
            config.mkdir()
            (config / "settings.json").write_text(json.dumps({"theme": theme}), encoding="utf-8")
            environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "SKYFIX_HOME": home}
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                environment["QTWEBENGINE_DISABLE_SANDBOX"] = "1"
            command = [sys.executable, "-m", "tests.screenshots", str(args.folder), "--one", name]
            subprocess.run(command, env=environment, check=True)
            print(args.folder / f"{name}.png")
    return 0


def take(name: str, folder: Path) -> int:
    """One picture, in a process of its own: a second map in one process is no real start."""
    from PySide6.QtCore import QTimer

    from app.ui.main import run
    from app.ui.map_view import prepare_web_engine

    prepare_web_engine()
    from PySide6.QtWidgets import QApplication

    application = QApplication(["skyfix"])
    kind, _, row = SHOTS[name]
    photographer = Photographer(folder / f"{name}.png", row)
    timer = QTimer()
    timer.setInterval(200)
    timer.timeout.connect(photographer.look)
    timer.start()
    run(["--demo", kind])
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
        session = window._rooms.session
        if not session.paths or session.count("located", "problem") < len(session.paths):
            return
        if self._still == 0:
            window.resize(*SIZE)
            session.select(session.paths[self._row])
        self._still += 1
        if self._still == 30:  # six seconds at rest: heatmaps and map tiles have come
            self.done = window.grab().save(str(self._path))
            window.close()


if __name__ == "__main__":
    sys.exit(main())
