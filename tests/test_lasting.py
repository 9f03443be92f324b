"""PySide6 6.12 on Python 3.11 loses a reference to None with each call: see app.ui.lasting."""

import subprocess
import sys

MANY_CALLS = """
import app.ui
from PySide6.QtCore import QObject
thing = QObject()
for _ in range(300_000):
    thing.setObjectName("x")
    thing.parent()
print("alive")
"""


def test_none_outlives_any_number_of_calls_into_qt():
    done = subprocess.run(
        [sys.executable, "-c", MANY_CALLS], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr[-500:]
