"""Starts the window: application, theme, log, exception hook, engine, then what was asked for."""

import argparse
import logging
from pathlib import Path

from PySide6.QtCore import QSettings, Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QMessageBox, QWidget

from app.card import read_card
from app.errors import UserError
from app.paths import config_dir, demo_checkpoint, objects_dir, shipped_checkpoints
from app.settings import Settings, load_settings
from app.ui.announcements import settings_notice
from app.ui.building import BuildSession
from app.ui.checkup import Checkup
from app.ui.demo_cases import KINDS, demo_case
from app.ui.engine_link import EngineLink
from app.ui.evaluation_session import EvaluationSession
from app.ui.failures import catch_unexpected, start_log, stop_log
from app.ui.jobs import Jobs
from app.ui.library import Library
from app.ui.map_view import MapView, prepare_web_engine
from app.ui.notices import Notice
from app.ui.object_memory import ObjectMemory
from app.ui.objects_session import ObjectsSession
from app.ui.preferences import Preferences
from app.ui.session import LocateSession
from app.ui.single_instance import Asked, SingleInstance
from app.ui.theme import app_icon, apply_theme
from app.ui.thumbnails import Thumbnails
from app.ui.training_session import TrainingSession
from app.ui.window import MainWindow, Rooms
from app.ui.workbench import Map

log = logging.getLogger(__name__)


def run(argv: list[str]) -> int:
    """Open the window; the answer is the exit code."""
    args = _parser().parse_args(argv)
    prepare_web_engine()
    app = make_application()
    try:
        instance = SingleInstance(config_dir())
    except OSError as error:
        _say_no_home(error)
        return 1
    # Safe mode is for when something is wrong, with the first window perhaps.
    if not args.safe and not instance.is_first() and instance.hand_over(_asked(args)):
        return 0
    handler, no_log = start_log()
    settings, bad = (Settings(), ()) if args.safe else load_settings()
    link = EngineLink(settings.device, execution=settings.execution)
    rooms = make_rooms(link, settings)
    apply_theme(app, settings.theme)
    layout = QSettings(str(config_dir() / "window.ini"), QSettings.Format.IniFormat)
    if args.safe:
        layout.clear()
    window = MainWindow(rooms, make_map=make_map, layout=layout)
    undo = catch_unexpected(window.notices.say)
    window.shown.connect(lambda: _begin(window, rooms, args))
    instance.asked.connect(lambda asked: _come_forward(window, rooms, asked))
    if bad:
        window.notices.say(settings_notice(bad))
    if no_log:
        window.notices.say(Notice(no_log, severity="warning"))
    window.show()
    try:
        return app.exec()
    finally:
        instance.close()
        undo()
        window.shutdown()
        close_rooms(rooms)
        link.close()
        stop_log(handler)


def _say_no_home(error: OSError) -> None:
    words = (
        f"{error.filename} cannot be made: {error.strerror}.",
        "Give yourself the right to write there, or set SKYFIX_HOME to another folder.",
    )
    QMessageBox.critical(None, "Skyfix", "\n\n".join(words))


def make_rooms(link: EngineLink, settings: Settings) -> Rooms:
    session = LocateSession(link)
    library = Library(
        link,
        checkpoints=settings.recent_checkpoints,
        galleries=settings.recent_galleries,
        finders={view: Path(path) for view, path in settings.object_checkpoints.items()},
    )
    return Rooms(
        session=session,
        library=library,
        builds=BuildSession(link),
        jobs=Jobs(link),
        checkup=Checkup(link),
        preferences=Preferences(settings),
        training=TrainingSession(link),
        evaluations=EvaluationSession(link),
        thumbnails=Thumbnails(link),
        objects=ObjectsSession(link, session, library, ObjectMemory(objects_dir)),
    )


def close_rooms(rooms: Rooms) -> None:
    """Ends their threads, once the window has ended its own."""
    rooms.objects.close()
    rooms.library.close()
    rooms.training.close()
    rooms.evaluations.close()
    rooms.thumbnails.close()
    rooms.preferences.close()


def make_map() -> tuple[QWidget, Map]:
    view = MapView()
    return view, view


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skyfix", description="Open the window.")
    parser.add_argument("photos", nargs="*", type=Path, help="photos or folders to locate")
    parser.add_argument("--demo", nargs="?", const="drone", choices=KINDS, help="open a demo case")
    parser.add_argument("--safe", action="store_true", help="start with default settings")
    parser.add_argument("--gallery", type=Path, help="the gallery to look in")
    parser.add_argument("--checkpoint", type=Path, help="the checkpoint to locate with")
    return parser


def make_application() -> QApplication:
    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        return existing
    app = QApplication(["skyfix"])
    app.setApplicationName("skyfix")
    app.setApplicationDisplayName("Skyfix")
    app.setDesktopFileName("skyfix")
    QGuiApplication.setWindowIcon(app_icon())
    return app


def _begin(window: MainWindow, rooms: Rooms, args: argparse.Namespace) -> None:
    """What is done once the window stands: the engine starts, the choices are restored."""
    settings = rooms.preferences.settings
    rooms.training.guard()
    if args.demo is not None:
        window.open_demo(demo_case(args.demo))
    else:
        kept = Path(settings.checkpoint) if settings.checkpoint else first_locator()
        checkpoint = args.checkpoint or kept
        gallery = args.gallery or (Path(settings.gallery) if settings.gallery else None)
        rooms.library.choose(checkpoint=checkpoint, gallery=gallery)
    if args.photos:
        QTimer.singleShot(0, window, lambda: window.doors.intake.take(args.photos))


def first_locator() -> Path | None:
    """Of what ships, the drone case's before others; those for clicked objects locate nothing."""
    for path in sorted(shipped_checkpoints(), key=lambda one: one != demo_checkpoint("drone")):
        try:
            if read_card(path).task == "retrieval":
                return path
        except UserError as error:  # listed with its problem where one is chosen
            log.warning("%s", error)
    return None


def _asked(args: argparse.Namespace) -> Asked:
    """What a start was asked for, in words that hold in any working folder."""
    return Asked(
        photos=tuple(str(path.absolute()) for path in args.photos),
        demo=args.demo,
        gallery=str(args.gallery.absolute()) if args.gallery else "",
        checkpoint=str(args.checkpoint.absolute()) if args.checkpoint else "",
    )


def _come_forward(window: MainWindow, rooms: Rooms, asked: Asked) -> None:
    """Do for a second start what it was asked for, in this window."""
    window.setWindowState(window.windowState() & ~Qt.WindowState.WindowMinimized)
    window.show()
    window.raise_()
    window.activateWindow()
    QApplication.alert(window)  # where a desktop lets no window push itself forward
    if asked.demo is not None:
        window.open_demo(demo_case(asked.demo))
    if asked.checkpoint:
        rooms.library.choose_checkpoint(Path(asked.checkpoint))
    if asked.gallery:
        rooms.library.choose_gallery(Path(asked.gallery))
    if asked.photos:
        window.doors.intake.take(tuple(Path(photo) for photo in asked.photos))
