"""The main window: lays out the panels and joins them to the sessions. No rules live here."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QSettings, QSize, Qt, QTimer, QUrl, Signal, Slot
from PySide6.QtGui import (
    QCloseEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDropEvent,
    QKeySequence,
    QShortcut,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QHBoxLayout,
    QMainWindow,
    QSizePolicy,
    QStackedWidget,
    QToolBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.geo import LatLon
from app.paths import log_dir
from app.ui.actions import HelpSheet, make_actions, show_about
from app.ui.announcements import (
    moved_notice,
    paired_notice,
    skipped_notice,
    waiting_notice,
)
from app.ui.building import BuildSession
from app.ui.checkup import Checkup
from app.ui.clicking import Clicking
from app.ui.demo_cases import DemoCase, demo_case
from app.ui.doctor_dialog import DoctorDialog
from app.ui.doors import Doors
from app.ui.evaluation_page import EvaluationPage
from app.ui.evaluation_session import EvaluationSession
from app.ui.import_dialog import Importing
from app.ui.intake import Found
from app.ui.jobs import Jobs
from app.ui.layout_memory import LayoutMemory
from app.ui.library import Library
from app.ui.long_work import LongWork
from app.ui.notices import Notice, NoticeBar, notice_of
from app.ui.objects_session import ObjectsSession
from app.ui.options_dialog import OptionsDialog
from app.ui.pickers import CheckpointPicker, GalleryPicker
from app.ui.pictures import Pictures
from app.ui.preferences import Preferences
from app.ui.session import LocateSession, Target
from app.ui.start_page import StartPage
from app.ui.status import StatusBar
from app.ui.tasks import EVALUATE, LOCATE, TRAIN, Tasks, TaskSwitch
from app.ui.thumbnails import Thumbnails
from app.ui.training_page import TrainingPage
from app.ui.training_session import TrainingSession
from app.ui.wardrobe import Wardrobe
from app.ui.workbench import Map, Workbench


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the window joins; made by ``main`` or by a test."""

    session: LocateSession
    library: Library
    builds: BuildSession
    jobs: Jobs
    checkup: Checkup
    preferences: Preferences
    training: TrainingSession
    evaluations: EvaluationSession
    thumbnails: Thumbnails
    objects: ObjectsSession


class MainWindow(QMainWindow):
    shown = Signal()  # once: the window is on the screen

    def __init__(
        self,
        rooms: Rooms,
        *,
        make_map: Callable[[], tuple[QWidget, Map]] | None = None,
        layout: QSettings | None = None,
    ) -> None:
        """``make_map`` is called after the first show. ``layout`` None: nothing is remembered."""
        super().__init__()
        self._rooms = rooms
        self._make_map, self._memory = make_map, LayoutMemory(layout)
        self._was_shown = False
        self._doctor: DoctorDialog | None = None
        self.setWindowTitle("Skyfix")
        self.setAcceptDrops(True)
        self.wardrobe = Wardrobe(rooms.preferences, self)
        self.doors = Doors(rooms.preferences, self)
        self.long_work = LongWork(
            rooms.library, rooms.builds, rooms.training, rooms.evaluations, self
        )
        self.clicking = Clicking(rooms.objects, rooms.library, rooms.preferences, self)
        self.pictures = Pictures(self)
        self.importing = Importing(rooms.library, self)
        self._lay_out()
        self.actions_by_name = make_actions(self, self._acts())
        self._add_toolbar()
        self._add_hidden_keys()
        self._join()
        self._memory.restore(self, self.bench)
        self._refresh_start()

    # --- layout ---

    def _lay_out(self) -> None:
        rooms, settings = self._rooms, self._rooms.preferences.settings
        self.notices = NoticeBar()
        self.start = StartPage((demo_case("drone"), demo_case("street")))
        self.bench = Workbench(
            rooms.session,
            rooms.objects,
            rooms.library,
            self.pictures,
            opacity=settings.heatmap_opacity,
            style=self._memory.style,
        )
        self.pages = QStackedWidget()
        self.pages.addWidget(self.start)
        self.pages.addWidget(self.bench)
        self.tasks = Tasks()
        self.training = TrainingPage(rooms.training, rooms.library)
        self.tasks.add(LOCATE, self.pages)
        self.tasks.add(TRAIN, self.training)
        self.evaluation = EvaluationPage(rooms.evaluations, rooms.library, rooms.thumbnails)
        self.tasks.add(EVALUATE, self.evaluation)
        whole = QWidget()
        column = QVBoxLayout(whole)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.notices)
        column.addWidget(self.tasks, 1)
        self.setCentralWidget(whole)
        self.status = StatusBar(rooms.library, rooms.jobs)
        self.setStatusBar(self.status)
        self.resize(1280, 800)

    def _add_toolbar(self) -> None:
        bar = QToolBar("Main")
        bar.setObjectName("main")
        bar.setMovable(False)
        bar.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        bar.setIconSize(QSize(20, 20))
        bar.addWidget(TaskSwitch(self.tasks))
        of_locating = bar.addWidget(self._locating_tools(bar.iconSize()))
        space = QWidget()
        space.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        in_its_place = bar.addWidget(space)
        in_its_place.setVisible(False)
        self.tasks.switched.connect(lambda name: of_locating.setVisible(name == LOCATE.name))
        self.tasks.switched.connect(lambda name: in_its_place.setVisible(name != LOCATE.name))
        for name in ("options", "theme", "help"):
            bar.addAction(self.actions_by_name[name])
        self.addToolBar(bar)

    def _locating_tools(self, icon_size: QSize) -> QWidget:
        """What the toolbar holds while photos are located. Where to begin is said in words."""
        self.checkpoints = CheckpointPicker(self._rooms.library)
        self.galleries = GalleryPicker(self._rooms.library)
        tools = QWidget()
        row = QHBoxLayout(tools)
        row.setContentsMargins(0, 0, 0, 0)
        for name in ("open_photos", "open_folder", "paste"):
            row.addWidget(self._button(name, icon_size, in_words=name == "open_photos"))
        for picker in (self.galleries, self.checkpoints):
            picker.setMaximumWidth(380)
            row.addWidget(picker, 1)
        row.addWidget(self._button("build_gallery", icon_size, in_words=True))
        row.addStretch()
        tools.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        return tools

    def _button(self, act: str, icon_size: QSize, *, in_words: bool) -> QToolButton:
        button = QToolButton()
        button.setDefaultAction(self.actions_by_name[act])
        button.setIconSize(icon_size)
        button.setAutoRaise(True)
        if in_words:
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        return button

    def _acts(self) -> dict[str, Callable[[], object]]:
        session, bench = self._rooms.session, self.bench
        return {
            "open_photos": self.doors.ask_photos,
            "open_folder": self.doors.ask_folder,
            "paste": self.doors.paste,
            "task_locate": lambda: self.tasks.show_task(LOCATE.name),
            "task_train": lambda: self.tasks.show_task(TRAIN.name),
            "new_run": partial(self._ask_training, self.training.ask_run),
            "adapt": partial(self._ask_training, self.training.ask_adapting),
            "task_evaluate": lambda: self.tasks.show_task(EVALUATE.name),
            "new_evaluation": self.evaluation.ask_evaluation,
            "start_page": lambda: self._show_page(self.start),
            "quit": self.close,
            "copy_position": bench.answer.copy_position,
            "previous_query": partial(session.step_query, -1),
            "next_query": partial(session.step_query, 1),
            "next_candidate": partial(session.step_candidate, 1),
            "previous_candidate": partial(session.step_candidate, -1),
            "retry": self._retry,
            "cancel_all": session.cancel_all,
            "remove": self._remove,
            "clear": session.clear,
            "options": self._ask_options,
            "build_gallery": self.long_work.ask_build,
            "browse_gallery": lambda: self.galleries.browse.click(),
            "browse_checkpoint": lambda: self.checkpoints.browse.click(),
            **self.clicking.acts(),
            "fit": bench.compare.fit,
            "actual_size": bench.compare.show_actual_size,
            "heatmap": lambda: bench.compare.heat.toggle(),
            "fit_candidates": lambda: bench.map_call(lambda m: m.fit_candidates()),
            "fit_gallery": lambda: bench.map_call(lambda m: m.fit_gallery()),
            "show_queries": lambda: self._toggle(bench.queries),
            "show_candidates": lambda: self._toggle(bench.candidates),
            "show_map": lambda: self._toggle(bench.map),
            "reset_layout": self._reset_layout,
            "theme": self.wardrobe.switch,
            "theme_system": self.wardrobe.follow_system,
            "help": lambda: HelpSheet(self).exec(),
            "doctor": self._ask_doctor,
            "open_log": lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(log_dir()))),
            "about": partial(show_about, self),
        }

    def _add_hidden_keys(self) -> None:
        for rank in range(1, 10):
            key = QShortcut(QKeySequence(str(rank)), self)
            key.activated.connect(partial(self._rooms.session.pick, rank))
        QShortcut(QKeySequence("Esc"), self).activated.connect(self.notices.dismiss_all)

    def _join(self) -> None:
        rooms = self._rooms
        self.doors.found.connect(self._on_found)
        self.doors.said.connect(self.notices.say)
        self.start.open_photos.connect(self.doors.ask_photos)
        self.start.open_folder.connect(self.doors.ask_folder)
        self.start.build_gallery.connect(self.long_work.ask_build)
        self.start.demo_asked.connect(self.open_demo)
        self.start.photo_asked.connect(lambda path: self.doors.intake.take((path,)))
        self.start.gallery_asked.connect(rooms.library.choose_gallery)
        rooms.session.added.connect(lambda _: self._show_page(self.bench))
        rooms.library.changed.connect(self._refresh_start)
        rooms.library.chosen.connect(self._on_chosen)
        rooms.library.state_changed.connect(self._show_view)
        rooms.library.failed.connect(lambda problem: self.notices.say(notice_of(problem)))
        rooms.library.noted.connect(lambda words: self.notices.say(Notice(words)))
        rooms.library.moved.connect(lambda change: self.notices.say(moved_notice(change)))
        rooms.library.paired.connect(lambda entry: self.notices.say(paired_notice(entry)))
        self.importing.said.connect(self.notices.say)
        self.long_work.said.connect(self.notices.say)
        self.clicking.said.connect(self.notices.say)
        rooms.objects.switched.connect(self.actions_by_name["objects"].setChecked)
        self.long_work.results_asked.connect(self.evaluation.wanted)
        self.long_work.change_asked.connect(self.evaluation.change_request)
        self.evaluation.wanted.connect(lambda: self.tasks.show_task(EVALUATE.name))
        self.evaluation.locate_asked.connect(self.open_photo)
        rooms.preferences.changed.connect(self._on_preferences)
        self.bench.compare.opacity_changed.connect(self._on_opacity)
        self.bench.map.hovered.connect(self._on_hovered)
        self.wardrobe.dressed.connect(self._on_dressed)

    def _show_page(self, page: QWidget) -> None:
        self.tasks.show_task(LOCATE.name)
        self.pages.setCurrentWidget(page)

    # --- coming and going ---

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._was_shown:
            self._was_shown = True
            QTimer.singleShot(0, self, self._on_first_shown)

    @Slot()
    def _on_first_shown(self) -> None:
        self.shown.emit()
        if self._make_map is not None:
            view, made = self._make_map()
            self.bench.map.adopt(view, made)

    def closeEvent(self, event: QCloseEvent) -> None:
        self._memory.keep(self, self.bench)
        super().closeEvent(event)

    def shutdown(self) -> None:
        """Ends the map's and the window's threads; nothing works after it."""
        self.bench.map_call(lambda made: made.shutdown())
        self.doors.intake.close()
        self.pictures.close()

    # --- photos in ---

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if event.mimeData().hasUrls() or event.mimeData().hasImage():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        self.doors.take(event.mimeData())
        event.acceptProposedAction()

    @Slot(object)
    def open_demo(self, case: DemoCase) -> None:
        if case.missing:
            self.notices.say(
                Notice(case.missing, "Install a complete Skyfix, or use your own imagery.")
            )
            return
        self._rooms.session.clear()
        self._rooms.library.choose(checkpoint=case.checkpoint, gallery=case.gallery)
        self.doors.intake.take((case.photos,))

    @Slot(object)
    def open_photo(self, photo: Path) -> None:
        """Locate one photo and look at it."""
        self._show_page(self.bench)
        self._on_found(Found(photos=(photo,)))
        self._rooms.session.select(photo)

    @Slot(object)
    def _on_found(self, found: Found) -> None:
        library = self._rooms.library
        if found.checkpoints:
            library.choose_checkpoint(found.checkpoints[0])
        if found.galleries:
            library.choose_gallery(found.galleries[0])
        if found.photos:
            self._rooms.session.add(found.photos)
            self._rooms.preferences.remember_photos(found.photos)
            if self._rooms.session.target is None and not library.is_choosing:
                self._ask_for_gallery()
        if found.skipped:
            self.notices.say(skipped_notice(found.skipped))

    def _ask_for_gallery(self) -> None:
        missing = "gallery" if self._rooms.library.gallery is None else "checkpoint"
        picker = self.galleries if missing == "gallery" else self.checkpoints
        self.notices.say(
            waiting_notice(missing, choose=picker.browse.click, build=self.long_work.ask_build)
        )

    def _retry(self) -> None:
        if (state := self._rooms.session.current) is not None:
            self._rooms.session.retry(state.path)

    def _remove(self) -> None:
        if (state := self._rooms.session.current) is not None:
            self._rooms.session.remove(state.path)

    # --- checkpoint, gallery, options ---

    @Slot()
    def _on_chosen(self) -> None:
        library, prefs = self._rooms.library, self._rooms.preferences
        prefs.remember_choice(
            checkpoint=None if library.checkpoint is None else library.checkpoint.path,
            gallery=None if library.gallery is None else library.gallery.path,
        )
        self._aim()
        self._show_view()

    def _aim(self) -> None:
        library, settings = self._rooms.library, self._rooms.preferences.settings
        if library.checkpoint is None or library.gallery is None:
            self._rooms.session.use(None)
            return
        self._rooms.session.use(
            Target(
                library.gallery.path,
                library.checkpoint.path,
                settings.top_k,
                settings.turns,
                settings.use_heading,
            )
        )

    @Slot()
    def _show_view(self) -> None:
        checkpoint = self._rooms.library.checkpoint
        card = None if checkpoint is None else checkpoint.card
        self.bench.compare.show_view(None if card is None else card.query_view)

    @Slot()
    def _on_preferences(self) -> None:
        self._aim()
        self._refresh_start()

    def _ask_options(self) -> None:
        dialog = OptionsDialog(self._rooms.preferences.settings, self)
        if dialog.exec():
            self._rooms.preferences.change(dialog.settings)

    def _ask_doctor(self) -> None:
        if self._doctor is None:
            self._doctor = DoctorDialog(self._rooms.checkup, self)
        self._doctor.show()
        self._doctor.raise_()

    def _ask_training(self, ask: Callable[[], object]) -> None:
        self.tasks.show_task(TRAIN.name)
        ask()

    # --- looks ---

    def _refresh_start(self) -> None:
        photos = tuple(Path(p) for p in self._rooms.preferences.settings.recent_photos)
        galleries = tuple(
            (e.manifest.name, e.path) for e in self._rooms.library.galleries if e.manifest
        )
        self.start.show_recent(photos, galleries)

    @Slot(bool)
    def _on_dressed(self, dark: bool) -> None:
        self.bench.map_call(lambda made: made.set_dark(dark))

    def _toggle(self, panel: QWidget) -> None:
        panel.setVisible(panel.isHidden())

    def _reset_layout(self) -> None:
        self.bench.reset_layout()
        for name in ("show_queries", "show_candidates", "show_map"):
            self.actions_by_name[name].setChecked(True)

    @Slot(float)
    def _on_opacity(self, opacity: float) -> None:
        prefs = self._rooms.preferences
        prefs.change(replace(prefs.settings, heatmap_opacity=opacity))

    @Slot(object)
    def _on_hovered(self, place: LatLon | None) -> None:
        self.status.show_pointer(place, self.bench.answer.style_of_positions)
