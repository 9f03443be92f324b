"""The window tries itself on the demo case: what ``skyfix doctor --window`` does.

The real window, engine, map page and a training in the background, under whatever display there
is, with settings and folders of its own that are gone afterwards. Each check says what it saw; one
that fails does not keep the next from being made.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QEventLoop, QPointF, Qt, QTimer
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication, QWidget

from app.engine.run_control import LIVE
from app.errors import UserError
from app.messages import Location
from app.settings import Settings
from app.train_request import Train
from app.ui.demo_cases import DemoCase, Kind, demo_case
from app.ui.engine_link import EngineLink
from app.ui.failures import catch_unexpected
from app.ui.main import close_rooms, make_application, make_map, make_rooms
from app.ui.map_view import MapView, prepare_web_engine
from app.ui.notices import notice_of
from app.ui.tasks import TRAIN
from app.ui.theme import apply_theme
from app.ui.window import MainWindow, Rooms

LIMIT_S = 300.0  # for one thing to happen: a loaded machine takes a minute for the first answer
POLL_MS = 20
PAIRS = 8
MARKS = 'JSON.stringify([...document.querySelectorAll("%s")].map((mark) => mark.textContent))'


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    words: str  # what was seen, or why not
    passed: bool
    seconds: float


def try_window() -> tuple[Check, ...]:
    """Opens the window, tries it, closes it; half a minute on a quiet machine."""
    shown = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in shown):
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    with (
        tempfile.TemporaryDirectory(prefix="skyfix window ", ignore_cleanup_errors=True) as home,
        _home(home),
    ):
        prepare_web_engine()
        app = make_application()
        link = EngineLink("cpu")
        rooms = make_rooms(link, Settings())
        apply_theme(app, "light")
        window = MainWindow(rooms, make_map=make_map)
        undo = catch_unexpected(window.notices.say)
        trial = _Trial(window, rooms, Path(home))
        try:
            trial.run()
        finally:
            undo()
            window.close()
            window.shutdown()
            close_rooms(rooms)
            link.close()
        return tuple(trial.checks)


def checks_text(checks: tuple[Check, ...]) -> str:
    width = max(len(check.name) for check in checks)
    return "".join(f"{' ' if c.passed else '!'} {c.name:<{width}}  {c.words}\n" for c in checks)


def checks_json(checks: tuple[Check, ...]) -> str:
    body = {"well": all(c.passed for c in checks), "checks": [asdict(c) for c in checks]}
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


@contextmanager
def _home(folder: str) -> Iterator[None]:
    """Everything that is written, by the processes that are started too, goes below ``folder``."""
    before = os.environ.get("SKYFIX_HOME")
    os.environ["SKYFIX_HOME"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["SKYFIX_HOME"]
        else:
            os.environ["SKYFIX_HOME"] = before


class _Missed(Exception):
    """What did not happen."""


class _Trial:
    """The checks in their order, and what they share."""

    def __init__(self, window: MainWindow, rooms: Rooms, home: Path) -> None:
        self._window, self._rooms, self._home = window, rooms, home
        self.checks: list[Check] = []

    def run(self) -> None:
        self._check("window", self._show)
        cases: tuple[tuple[Kind, str], ...] = (("drone", "drone photo"), ("street", "panorama"))
        for kind, name in cases:
            self._check(name, partial(self._locate, kind))
            self._check(f"map of the {name}", self._read_pins)
            if demo_case(kind).finder.is_file():
                self._check(f"object in the {name}", partial(self._click, demo_case(kind)))
        self._check("export", self._export)
        self._check("training", self._train)
        self._check("notices", self._read_notices)

    def _check(self, name: str, look: Callable[[], str]) -> None:
        started = time.monotonic()
        try:
            words, passed = look(), True
        except (_Missed, UserError) as missed:
            words, passed = str(missed), False
        self.checks.append(Check(name, words, passed, round(time.monotonic() - started, 2)))

    # --- the checks: each says what it saw, or raises _Missed ---

    def _show(self) -> str:
        self._window.show()
        self._until(lambda: self._window.bench.map.map is not None, "the window to be shown")
        screen = self._window.screen()
        size = screen.size()
        return f"shown on {screen.name() or 'a screen'} of {size.width()} x {size.height()}"

    def _locate(self, kind: Kind) -> str:
        """The first photo of a demo case; the others are not waited for."""
        case, session = demo_case(kind), self._rooms.session
        if case.missing:
            raise _Missed(case.missing)
        self._window.open_demo(case)
        self._until(
            lambda: self._answer() is not None and self._answer_is_of(case.photos),
            f"an answer to the first {kind} photo",
        )
        session.cancel_all()
        answer = self._answer()
        assert answer is not None
        first = answer.candidates[0]
        return f"{answer.query.photo.name}: tile {first.tile} of {len(answer.candidates)}"

    def _answer(self) -> Location | None:
        state = self._rooms.session.current
        if state is not None and state.problem is not None:
            raise _Missed(notice_of(state.problem).title)
        return None if state is None else state.answer

    def _answer_is_of(self, photos: Path) -> bool:
        answer = self._answer()
        return answer is not None and answer.query.photo.is_relative_to(photos)

    def _read_pins(self) -> str:
        answer = self._answer()
        if answer is None:
            raise _Missed("there is no answer to show")
        self._read_page(".pin", [str(candidate.rank) for candidate in answer.candidates])
        return f"{len(answer.candidates)} pins read back from the page"

    def _read_page(self, marks: str, wanted: list[str]) -> None:
        """Asks the page in the web engine which marks of a class it draws."""
        view = self._window.bench.map.map
        assert isinstance(view, MapView)
        self._until(lambda: view.face is not None, "the map to begin")
        page = getattr(view.face, "page", None)
        if page is None:
            raise _Missed("the plain map is shown, not the web page")
        told: list[list[str]] = [[]]

        def hear(said: Any) -> None:
            told[0] = sorted(json.loads(said)) if said else []

        def ask() -> bool:
            page.runJavaScript(MARKS % marks, hear)
            return told[0] == sorted(wanted)

        self._until(ask, f"{len(wanted)} marks {marks} on the page")
        gate = getattr(view.face, "gate", None)
        blocked = 0 if gate is None else len(gate.blocked)
        if blocked:
            raise _Missed(f"the page asked the network for {blocked} things")

    def _click(self, case: DemoCase) -> str:
        """An object in the photo, by the mouse: its box, and its number on the map."""
        if self._answer() is None:
            raise _Missed("the photo is not located")
        objects, compare = self._rooms.objects, self._window.bench.compare
        objects.switch(True)
        self._until(lambda: self._finder_path() == case.finder, f"{case.finder.name} to be in use")
        self._until(
            lambda: compare.query.view.has_picture and compare.markers.size is not None,
            "the photo to be shown",
        )
        _press(compare.query.view, compare.markers.to_widget(case.click))
        self._until(self._is_found, "a box for the click")
        marker = objects.current
        assert marker is not None
        box, reference = marker.box, marker.reference
        assert box is not None
        assert reference is not None
        self._read_page(".object-pin", [str(marker.pin.number)])
        objects.switch(False)
        return f"{box.width_m:.1f} x {box.height_m:.1f} m at {box.centre}, around {reference.tile}"

    def _finder_path(self) -> Path | None:
        finder = self._rooms.library.finder
        return None if finder is None else finder.path

    def _is_found(self) -> bool:
        marker = self._rooms.objects.current
        if marker is not None and marker.problem is not None:
            raise _Missed(notice_of(marker.problem).title)
        return marker is not None and marker.box is not None

    def _export(self) -> str:
        """GeoJSON of the last case, read back: where its photo was taken, and what was clicked."""
        path, objects = self._home / "located.geojson", self._rooms.objects
        objects.export(path, locations=True)
        self._until(path.is_file, f"{path.name} to be written")
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        kinds = [feature["properties"]["feature"] for feature in features]
        wanted = sum(marker.box is not None for marker in objects.markers)
        if "candidate" not in kinds or kinds.count("object") != wanted:
            raise _Missed(f"{path.name} holds {kinds.count('object')} of {wanted} objects")
        return f"{len(features)} features, {wanted} of them objects"

    def _train(self) -> str:
        """Two updates of the smallest network in a process of its own, then stop."""
        training = self._rooms.training
        self._window.tasks.show_task(TRAIN.name)
        self._until(self._window.training.isVisible, "the training tab")
        data = self._home / "pairs"
        _write_pairs(data)
        run = Train(
            self._home / "run",
            data,
            preset="smallest",
            epochs=10_000,
            batch_size=4,
            log_every=1,
            device="cpu",
        )
        training.start(run)
        self._until(
            lambda: not self._awaits_run() and bool(training.details[0].steps[1:]),
            "two updates of a training",
        )
        training.tell_run(training.details[0].row, "stop")
        self._until(
            lambda: bool(training.rows) and training.rows[0].status.state not in (*LIVE, "queued"),
            "the training to stop",
        )
        row = training.rows[0]
        if row.status.state != "stopped":
            raise _Missed(f"the training is {row.status.state}: {row.status.problem}")
        return f"stopped after {len(training.details[0].steps)} updates"

    def _awaits_run(self) -> bool:
        """Whether the run is not there yet. Raises _Missed if it ended by itself."""
        details = self._rooms.training.details
        if details and details[0].row.status.state in ("failed", "dead", "diverged", "done"):
            status = details[0].row.status
            raise _Missed(f"the training is {status.state}: {status.problem}")
        return not details

    def _read_notices(self) -> str:
        notices = self._window.notices.notices
        bad = [notice.title for notice in notices if notice.severity in ("problem", "warning")]
        if bad:
            raise _Missed("; ".join(bad))
        return "no problem was told"

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        """Lets the window live until this holds. Raises _Missed after LIMIT_S."""
        loop, poll = QEventLoop(), QTimer()
        missed: list[_Missed] = []
        met: list[bool] = []

        def look() -> None:
            try:
                if not holds():
                    return
            except _Missed as why:
                missed.append(why)
            met.append(True)
            loop.quit()

        poll.timeout.connect(look)
        poll.start(POLL_MS)
        QTimer.singleShot(round(LIMIT_S * 1000), loop, loop.quit)
        loop.exec()
        poll.stop()
        if missed:
            raise missed[0]
        if not met:
            raise _Missed(f"waited {LIMIT_S:.0f} s in vain for {what}")


def _press(widget: QWidget, at: QPointF) -> None:
    """A click of the mouse."""
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    for kind, held in (
        (QEvent.Type.MouseButtonPress, left),
        (QEvent.Type.MouseButtonRelease, none),
    ):
        where = at, QPointF(widget.mapToGlobal(at))
        event = QMouseEvent(kind, *where, left, held, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(widget, event)


def _write_pairs(folder: Path) -> None:
    """A pair folder of demo photos and tiles; what it would teach does not matter here."""
    case = demo_case("drone")
    photos = sorted(case.photos.glob("*.jpg"))[:PAIRS]
    tiles = sorted((case.gallery / "thumbnails").glob("*.jpg"))[:PAIRS]
    lines = ["query,satellite,split,place,lat,lon,heading_deg,view,kind"]
    for number, (photo, tile) in enumerate(zip(photos, tiles, strict=True)):
        for source, name in ((photo, "query"), (tile, "satellite")):
            target = folder / name / f"{number}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
        split = "train" if number < PAIRS - 2 else "val"
        pictures = f"query/{number}.jpg,satellite/{number}.jpg"
        place = f"{number},{48 + number / 100},2.65"  # too near each other is no batch
        lines.append(f"{pictures},{split},{place},0,drone,perspective")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
