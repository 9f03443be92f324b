"""What every test of the window stands on: no freeze, no thread left, an engine that is a list."""

import gc

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QSettings, QThread, QThreadPool

from app.settings import Settings
from app.ui.building import BuildSession
from app.ui.checkup import Checkup
from app.ui.evaluation_session import EvaluationSession
from app.ui.jobs import Jobs
from app.ui.library import Library
from app.ui.objects_session import ObjectsSession
from app.ui.preferences import Preferences
from app.ui.session import LocateSession
from app.ui.theme import apply_theme
from app.ui.thumbnails import Thumbnails
from app.ui.training_session import TrainingSession
from app.ui.window import MainWindow, Rooms
from tests.stall import StallMeter
from tests.ui.scene import Scene, ScriptedEngine

FREEZE_S = 0.5


@pytest.fixture(autouse=True)
def no_thread_left(qapp):
    """Fails a test that leaves a QThread running or work in the global pool."""
    yield
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    # type() and not isinstance(): that would ask every object for its __class__, and torch has
    # some that warn when they are touched.
    running = [t for t in gc.get_objects() if issubclass(type(t), QThread) and t.isRunning()]
    running = [t for t in running if t is not QThread.currentThread() and t is not qapp.thread()]
    assert running == []
    assert QThreadPool.globalInstance().activeThreadCount() == 0


@pytest.fixture(scope="session", autouse=True)
def what_earlier_tests_left_is_never_looked_through():
    """Two thousand tests leave a heap that Python needs most of a second to go through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def never_frozen(no_thread_left):
    """Fails a test in which the event loop stood still for more than half a second."""
    meter = StallMeter()
    meter.start()
    yield
    stall = meter.stop()
    assert stall.seconds <= FREEZE_S, f"the event loop stood still: {stall}"


@pytest.fixture
def engine(qapp):
    return ScriptedEngine()


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """Pictures are drawn once for all tests."""
    made = Scene(tmp_path_factory.mktemp("scene"), shrink=4)
    made.write_library()
    return made


@pytest.fixture
def rooms(engine):
    session, library = LocateSession(engine), Library(engine)
    rooms = Rooms(
        session=session,
        library=library,
        builds=BuildSession(engine),
        jobs=Jobs(engine),
        checkup=Checkup(engine),
        preferences=Preferences(Settings(theme="light")),
        training=TrainingSession(engine),
        evaluations=EvaluationSession(engine),
        thumbnails=Thumbnails(engine),
        objects=ObjectsSession(engine, session, library),
    )
    yield rooms
    rooms.library.close()
    rooms.training.close()
    rooms.evaluations.close()
    rooms.thumbnails.close()
    rooms.preferences.close()


@pytest.fixture
def layout(tmp_path):
    return QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)


@pytest.fixture
def window(qtbot, qapp, rooms, layout):
    """Shown, without a map."""
    apply_theme(qapp, "light")
    window = MainWindow(rooms, layout=layout)
    qtbot.addWidget(window)
    window.resize(1280, 800)
    window.show()
    yield window
    window.shutdown()


@pytest.fixture
def chosen(qtbot, rooms, scene):
    """The scene's checkpoint and gallery are in use."""
    rooms.library.choose(checkpoint=scene.checkpoint, gallery=scene.gallery)
    qtbot.waitUntil(
        lambda: rooms.library.gallery is not None and bool(rooms.library.checkpoint.sha256)
    )
