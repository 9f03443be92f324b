"""From a cold start to a usable window, and to the first answer of the demo case.

    python -m benchmarks.start_up [--rounds 5]

Peers, in the same run: an empty PySide6 window (for the first), and a bare script that imports
torch and timm, loads the same checkpoint and describes one photo at its turns (for the second).
Files are in the system's cache: the first round is thrown away. Aims: 1.5 s and 8 s on two cores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from app.ui.demo_cases import demo_case

OURS = """
import json, sys, time
from PySide6.QtCore import QTimer
from app.ui import main
from app.ui.window import MainWindow
from PySide6.QtWidgets import QApplication
begun, told = float(sys.argv[1]), {}
def look():
    window = next((w for w in QApplication.topLevelWidgets() if type(w) is MainWindow), None)
    if window is None:
        return
    if "window" not in told and window.isVisible():
        told["window"] = time.monotonic() - begun
    if window._rooms.session.count("located", "problem"):
        told["answer"] = time.monotonic() - begun
        window.close()
main.prepare_web_engine()
app = QApplication(["skyfix"])
timer = QTimer(interval=5)
timer.timeout.connect(look)
timer.start()
main.run(["--demo", "drone"])
print(json.dumps(told))
"""

EMPTY_WINDOW = """
import json, sys, time
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMainWindow
app = QApplication(["empty"])
window = QMainWindow()
window.show()
def told():
    print(json.dumps({"window": time.monotonic() - float(sys.argv[1])}))
    app.quit()
QTimer.singleShot(0, told)
app.exec()
"""

BARE_ANSWER = """
import json, sys, time
from pathlib import Path
from app.engine.checkpoints import load_checkpoint
from app.engine.framing import frame_turns
from app.engine.photos import read_rgb
checkpoint = load_checkpoint(Path(sys.argv[2]))
card = checkpoint.card
turns = [360 * i / card.turns for i in range(card.turns)]
picture = read_rgb(Path(sys.argv[3]))
size = card.sizes[card.query_view]
frames = frame_turns(picture, kind="perspective", size=size, headings_deg=turns)
checkpoint.describe(frames, card.query_view)
print(json.dumps({"answer": time.monotonic() - float(sys.argv[1])}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    case = demo_case("drone")
    if case.missing:
        print(case.missing, file=sys.stderr)
        return 1
    photo = next(iter(sorted(case.photos.glob("*.jpg"))))
    seconds: dict[str, list[float]] = {"window": [], "answer": [], "empty": [], "bare": []}
    for round_ in range(rounds + 1):
        ours = _timed(OURS)
        empty = _timed(EMPTY_WINDOW)
        bare = _timed(BARE_ANSWER, str(case.checkpoint), str(photo))
        if round_ == 0:
            continue
        for name, value in (
            ("window", ours["window"]),
            ("answer", ours["answer"]),
            ("empty", empty["window"]),
            ("bare", bare["answer"]),
        ):
            seconds[name].append(value)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    worst = {name: max(values) for name, values in seconds.items()}
    print(f"median (longest) of {rounds} rounds, {os.cpu_count()} cores")
    for name, peer, words, aim in (
        ("window", "empty", "usable window, against an empty PySide6 window", 1.5),
        ("answer", "bare", "first answer of the demo, against a bare script", 8.0),
    ):
        print(
            f"{words:<52} {middle[name]:6.2f} ({worst[name]:.2f}) s   {middle[peer]:6.2f} s   "
            f"ratio {middle[name] / middle[peer]:5.2f}   aim {aim:g} s"
        )
    return 0


def _timed(code: str, *arguments: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "SKYFIX_HOME": home}
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            environment["QTWEBENGINE_DISABLE_SANDBOX"] = "1"
        command = [sys.executable, "-c", code, str(time.monotonic()), *arguments]
        done = subprocess.run(
            command,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parent.parent,
        )
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    sys.exit(main())
