"""What every test stands on: no display, a home of its own, shapes checked, nothing leaked."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

HOME = Path(tempfile.mkdtemp(prefix="skyfix-tests-"))
os.environ["SKYFIX_HOME"] = str(HOME)  # and so for every process that a test starts
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same sums in the same order everywhere
os.environ.setdefault("QTWEBENGINE_CHROMIUM_FLAGS", "--disable-gpu")
if "XDG_RUNTIME_DIR" not in os.environ:  # else Qt warns, and a warning fails a test
    (HOME / "runtime").mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(HOME / "runtime")
if hasattr(os, "geteuid") and os.geteuid() == 0:
    os.environ.setdefault("QTWEBENGINE_DISABLE_SANDBOX", "1")  # Chromium's does not work as root

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import psutil
import pytest
from jaxtyping import install_import_hook
from PIL import Image, ImageDraw
from PySide6.QtCore import QCoreApplication, Qt, QTimer

# From here on every shape annotation in these packages is checked at run time. As for mypy, an
# int will do where a float is asked for.
install_import_hook(
    ["app.models", "app.engine"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

# Must be so before the application is made, wherever a test makes a web view.
QCoreApplication.setAttribute(Qt.ApplicationAttribute.AA_ShareOpenGLContexts)

REPOSITORY = Path(__file__).resolve().parent.parent
LEAK_GRACE_S = 3.0

# Processes that outlive the test that caused them by design: Python's own tracker of shared
# memory, and QtWebEngine's helpers, which live as long as the application.
LASTING_PROCESSES = ("resource_tracker", "QtWebEngineProc")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-snapshots", action="store_true", help="write pictures, not compare")


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """Fails a test that leaves a thread or a process behind which would keep Python from ending.

    What a fixture of a wider scope started before the test is that fixture's to end.
    """
    threads, processes = _threads(), _processes()
    yield
    deadline = time.monotonic() + LEAK_GRACE_S
    while (left := _threads() - threads | _processes() - processes) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.01)
    assert not left, f"left behind: {', '.join(sorted(str(thing) for thing in left))}"


def _threads() -> set[object]:
    return {thread for thread in threading.enumerate() if not thread.daemon}


def _processes() -> set[object]:
    return {child for child in psutil.Process().children() if not _lasts(child)}


def _lasts(child: psutil.Process) -> bool:
    try:
        words = " ".join([child.name(), *child.cmdline()])
    except psutil.Error:  # ended while it was asked
        return True
    return any(name in words for name in LASTING_PROCESSES)


@pytest.fixture(autouse=True)
def checkpoints_of_no_other_test() -> Iterator[None]:
    """What a test imported or promoted into the user's folder is not there for the next one."""
    yield
    shutil.rmtree(HOME / "data" / "checkpoints", ignore_errors=True)


@pytest.fixture(autouse=True)
def same_dice_for_every_test() -> None:
    random.seed(0)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


@dataclass
class Stall:
    """The longest that the event loop was busy with one thing."""

    longest_s: float = 0.0


@pytest.fixture
def no_stall(qapp: QCoreApplication) -> Callable[..., AbstractContextManager[Stall]]:
    """``with no_stall():`` fails if the event loop freezes for longer than ``limit_s`` within.

    All that happens in the block counts, so let it do nothing but wait (``qtbot.waitUntil``).
    """

    @contextmanager
    def watch(limit_s: float = 0.5) -> Iterator[Stall]:
        stall, last = Stall(), time.perf_counter()

        def beat() -> None:
            nonlocal last
            now = time.perf_counter()
            stall.longest_s, last = max(stall.longest_s, now - last), now

        timer = QTimer(timerType=Qt.TimerType.PreciseTimer, interval=5)
        timer.timeout.connect(beat)
        timer.start()
        try:
            yield stall
        finally:
            timer.stop()
        beat()
        assert stall.longest_s <= limit_s, f"the window froze for {stall.longest_s:.2f} s"

    return watch


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos and imagery, where the machine has them."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data beside the repository (../shared/data)")
    return folder


@pytest.fixture
def snapshot(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[object, str], None]:
    """Compare a picture (anything with ``save(path)``) with the stored one.

    A few pixels of smoothing may differ: 99.5 % must lie within two levels.
    """

    def check(actual, name: str) -> None:
        stored = Path(__file__).parent / "snapshots" / name
        if request.config.getoption("--update-snapshots"):
            stored.parent.mkdir(exist_ok=True)
            actual.save(str(stored))
            return
        if sys.platform != "linux":
            pytest.skip("pictures are compared on Linux only: other systems draw other letters")
        expected = np.asarray(Image.open(stored).convert("RGB"), dtype=int)
        actual.save(str(tmp_path / name))
        got = np.asarray(Image.open(tmp_path / name).convert("RGB"), dtype=int)
        assert got.shape == expected.shape
        same = (abs(got - expected) <= 2).all(axis=2).mean()
        assert same >= 0.995, f"{1 - same:.2%} of the pixels differ: see {tmp_path / name}"

    return check


@pytest.fixture
def picture() -> np.ndarray:
    """96 x 128 RGB with a top and a left: sky above, a red house on the left, a green field."""
    image = Image.new("RGB", (128, 96), (90, 140, 200))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 48, 127, 95), fill=(70, 130, 60))
    draw.rectangle((12, 30, 44, 70), fill=(180, 40, 40))
    draw.ellipse((90, 60, 110, 76), fill=(230, 220, 60))
    return np.asarray(image)


@pytest.fixture
def photo(tmp_path: Path, picture: np.ndarray) -> Path:
    """``picture`` as a JPEG without any metadata."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(picture).save(path, quality=95)
    return path
