"""Saves the window in every state, light and dark, to a folder: ``python -m tests.gallery out/``.

Look at them with each change of the window. The engine is scripted and the map is a plain one,
so that this takes seconds and needs no checkpoint.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("SKYFIX_HOME", tempfile.mkdtemp(prefix="skyfix-gallery-"))

from PySide6.QtCore import QCoreApplication, QEvent, QThreadPool
from PySide6.QtWidgets import QApplication, QWidget

from app.diagnosis import Diagnosis, Doctor, Finding
from app.messages import (
    BuildGallery,
    Event,
    FindObjects,
    ImportCheckpoint,
    Locate,
    Problem,
    Progress,
)
from app.settings import Settings
from app.ui.actions import HelpSheet
from app.ui.build_gallery_dialog import BuildGalleryDialog
from app.ui.building import BuildSession
from app.ui.checkup import Checkup
from app.ui.doctor_dialog import DoctorDialog
from app.ui.evaluation_session import EvaluationSession
from app.ui.jobs import Jobs
from app.ui.library import Library
from app.ui.map_view import MapView
from app.ui.notices import Notice
from app.ui.objects_session import ObjectsSession
from app.ui.options_dialog import OptionsDialog
from app.ui.pickers import DetailsPopup
from app.ui.preferences import Preferences
from app.ui.session import LocateSession
from app.ui.theme import apply_theme
from app.ui.thumbnails import Thumbnails
from app.ui.training_session import TrainingSession
from app.ui.window import MainWindow, Rooms
from tests.gallery_evaluation import evaluation_states
from tests.ui.object_scene import answer_maps, answer_objects, write_finder
from tests.ui.scene import Scene, ScriptedEngine

LONG = "DJI_20260802111403_0042_W_Überflug Ortsmitte Süd – zweite Befliegung (Kopie) 東京.JPG"
SIZES = {"1280": (1280, 800), "1920": (1920, 1080), "3840": (3840, 2160)}


class Studio:
    """One window with a scripted engine."""

    def __init__(self, scene: Scene, settings: Settings, make_map: Callable | None) -> None:
        self.scene, self.engine = scene, ScriptedEngine()
        session, library = LocateSession(self.engine), Library(self.engine)
        self.rooms = Rooms(
            session=session,
            library=library,
            builds=BuildSession(self.engine),
            jobs=Jobs(self.engine),
            checkup=Checkup(self.engine),
            preferences=Preferences(settings),
            training=TrainingSession(self.engine),
            evaluations=EvaluationSession(self.engine),
            thumbnails=Thumbnails(self.engine),
            objects=ObjectsSession(self.engine, session, library),
        )
        self.window = MainWindow(self.rooms, make_map=make_map)

    def choose(self) -> None:
        self.rooms.library.choose(checkpoint=self.scene.checkpoint, gallery=self.scene.gallery)
        settle(
            lambda: bool(self.rooms.library.gallery and self.rooms.library.checkpoint.sha256), 20
        )

    def close(self) -> None:
        self.window.close()
        self.window.shutdown()
        self.rooms.library.close()
        self.rooms.training.close()
        self.rooms.evaluations.close()
        self.rooms.thumbnails.close()
        self.rooms.preferences.close()
        self.window.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def settle(until: Callable[[], bool] = lambda: False, seconds: float = 0.4) -> None:
    """Let the loop run until something holds, at most so long; then until pictures are in."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        QApplication.processEvents()
        time.sleep(0.005)
    while time.monotonic() < end + 20 and any(p.activeThreadCount() for p in _pools()):
        QApplication.processEvents()
    QApplication.processEvents()


def _pools() -> list[QThreadPool]:
    return [pool for w in QApplication.topLevelWidgets() for pool in w.findChildren(QThreadPool)]


def empty(studio: Studio) -> None:
    studio.rooms.session.added.emit(())


def start(studio: Studio) -> None:
    studio.choose()
    studio.rooms.preferences.remember_photos(
        (Path("/data/photos/DJI_0042.JPG"), Path(f"/data/photos/very/deep/folder/{LONG}"))
    )


def busy(studio: Studio) -> None:
    studio.choose()
    studio.rooms.session.add(Path(f"/photos/DJI_{n:04d}.JPG") for n in range(41, 47))
    first, second = (studio.engine.job(Locate, i) for i in (0, 1))
    studio.engine.tell(first, studio.scene.read(Path("/photos/DJI_0041.JPG")))
    studio.engine.tell(first, Progress(3, 12, "describing the turned query"))
    studio.engine.tell(second, Progress(0, 0, "opening the gallery"))
    studio.rooms.builds.start(
        BuildGallery(Path("x.tif"), studio.scene.checkpoint, Path("/g/town"), name="Town 2026")
    )
    studio.engine.tell(studio.engine.job(BuildGallery), Progress(214, 1200, "describing tiles"))


def full(studio: Studio) -> None:
    studio.choose()
    studio.rooms.session.add(Path(f"/photos/DJI_{n:04d}.JPG") for n in range(41, 52))
    studio.scene.answer_all(studio.engine)


def picked(studio: Studio) -> None:
    full(studio)
    studio.rooms.session.pick(3)
    studio.scene.answer_all(studio.engine)


def panorama(studio: Studio) -> None:
    studio.choose()
    studio.rooms.session.add((Path("/photos/pano_007.jpg"),))
    studio.scene.answer_all(studio.engine, kind="panorama")


def long_names(studio: Studio) -> None:
    studio.choose()
    studio.rooms.session.add((Path(f"/photos/{LONG}"), Path("/photos/a.jpg")))
    studio.scene.answer_all(studio.engine, count=200)


def objects_none(studio: Studio) -> None:
    with patch("app.ui.library.shipped_checkpoints", tuple):
        full(studio)
    studio.rooms.objects.switch(True)


def objects(studio: Studio) -> None:
    """Three objects: found with its alternatives shown, under way, refused."""
    full(studio)
    library, finder = studio.rooms.library, write_finder(studio.scene)
    library.choose_checkpoint(finder)
    clicked = studio.rooms.objects
    settle(lambda: library.finder is not None and library.finder.path == finder, 20)
    clicked.switch(True)
    for click in ((900.0, 700.0), (2300.0, 1900.0), (3100.0, 900.0)):
        clicked.place(click)
        answer_objects(studio.scene, studio.engine)
    clicked.rename(2, "Pump house by the long canal")
    clicked.place((3500.0, 2000.0))
    clicked.place((700.0, 2500.0))
    refused = studio.engine.job(FindObjects)
    sky = "lies on the sky: nothing of it is on the ground"
    problem = Problem(f"The click 700, 2500 in DJI_0041.JPG {sky}", "Click the object itself.")
    studio.engine.tell(refused, problem)
    clicked.select(2)
    answer_maps(studio.scene, studio.engine)
    studio.window.bench.objects.others.setChecked(True)


def objects_refused(studio: Studio) -> None:
    objects(studio)
    studio.rooms.objects.select(5)


def objects_fixed(studio: Studio) -> None:
    objects(studio)
    studio.rooms.objects.correct(2, (90.0, 90.0, 132.0, 128.0))
    studio.window.bench.compare.heat.setChecked(False)


def failed(studio: Studio) -> None:
    studio.choose()
    studio.rooms.session.add((Path("/photos/broken scan.jpg"), Path("/photos/DJI_0042.JPG")))
    studio.scene.answer_all(studio.engine)
    studio.window.notices.say(
        Notice(
            "2 things were not taken",
            "notes.txt: not a photo; old.zip: .zip files are not photos",
            "warning",
        )
    )
    studio.engine.told.emit(Event(0, Progress(0, 0)))
    studio.rooms.library.failed.emit(
        Problem(
            "The engine stopped unexpectedly (exit code -9)",
            "Try again: it starts afresh.",
            "Traceback: none",
        )
    )


def dialog(studio: Studio) -> QWidget:
    studio.choose()
    it = BuildGalleryDialog(studio.rooms.library, studio.window)
    it.source.setText("/data/imagery/Ortho 2026 Süd.tif")
    it.show()
    return it


def options(studio: Studio) -> QWidget:
    it = OptionsDialog(studio.rooms.preferences.settings, studio.window)
    it.show()
    return it


def importing(studio: Studio) -> QWidget | None:
    file = Path("/data/Sample4Geo/pretrained/university/convnext_base/weights_e1_0.9515.pth")
    studio.window.importing.ask(ImportCheckpoint(file, project="sample4geo"))
    return studio.window.importing.dialog


def help_sheet(studio: Studio) -> QWidget:
    it = HelpSheet(studio.window)
    it.show()
    return it


def doctor(studio: Studio) -> QWidget:
    it = DoctorDialog(studio.rooms.checkup, studio.window)
    it.show()
    findings = (
        Finding("Versions", "Skyfix", "0.1.0"),
        Finding("Versions", "Python", "3.11.7"),
        Finding("Device", "Chosen", "cpu: no CUDA GPU found"),
        Finding("Map's web engine", "Sandbox", "does not run as root", "note", "Be a user."),
        Finding("Your folders", "Cache", "cannot be written", "problem", "Give yourself rights."),
    )
    studio.engine.tell(studio.engine.job(Doctor), Diagnosis(findings))
    return it


def card_popup(studio: Studio) -> QWidget:
    studio.choose()
    it = DetailsPopup(studio.rooms.library.checkpoint, studio.window)
    it.show()
    return it


def gallery_popup(studio: Studio) -> QWidget:
    studio.choose()
    it = DetailsPopup(studio.rooms.library.gallery, studio.window)
    it.show()
    return it


STATES: dict[str, Callable[[Studio], QWidget | None]] = {
    f.__name__: f
    for f in (
        start, empty, busy, full, picked, panorama, long_names, failed, dialog, options,
        objects_none, objects, objects_refused, objects_fixed,
        importing, help_sheet, doctor, card_popup, gallery_popup,
    )
}  # fmt: skip
STATES.update(evaluation_states(settle))


def plain_map() -> tuple[QWidget, MapView]:
    view = MapView()  # without prepare_web_engine it is the plain one
    return view, view


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--states", nargs="*", default=list(STATES))
    parser.add_argument("--sizes", nargs="*", default=["1280"], choices=list(SIZES))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    app = QApplication.instance() or QApplication(["gallery"])
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder))
        scene.write_library()
        for theme in ("light", "dark"):
            apply_theme(app, theme)
            for size in args.sizes:
                for state in args.states:
                    studio = Studio(scene, Settings(theme=theme), plain_map)
                    studio.window.resize(*SIZES[size])
                    studio.window.show()
                    settle(seconds=0.05)
                    shown = STATES[state](studio)
                    settle(seconds=0.8)
                    path = args.out / f"{state}-{size}-{theme}.png"
                    (shown or studio.window).grab().save(str(path))
                    if shown is not None:
                        shown.close()
                    studio.close()
                    print(path)


if __name__ == "__main__":
    main()
