"""Which objects are clicked in which photo, and what was found for each. Signals, no widgets.

What the user decides (pins) is kept apart from what the engine answered: pins can be undone, and
an answer once given is kept, so that undoing shows it again without asking. The newest decision
wins: a question that no pin has any more is withdrawn. A pin follows the candidate that is looked
at, unless its box was corrected by hand: that one stays.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QUndoGroup, QUndoStack

from app.messages import (
    ExplainObject,
    ObjectsFound,
    Problem,
    Warm,
)
from app.object_messages import Point
from app.ui.clicked_objects import Box, Fix, Marker, Pin, Question, is_inside
from app.ui.library import Library
from app.ui.object_edits import Edit
from app.ui.object_files import ObjectFiles
from app.ui.object_memory import ObjectMemory
from app.ui.object_questions import ObjectMaps, ObjectQuestions, maps_of
from app.ui.object_record import Record, record_of
from app.ui.session import Engine, LocateSession

Pins = tuple[Pin, ...]

TOP = 5  # candidates that are looked around when all the best are asked

NO_FINDER = (
    "No checkpoint finds objects in {photos} yet. Train AttenGeo (Train, New run…), or import a "
    "published DetGeo checkpoint (Gallery, Open or import a checkpoint…)."
)


class ObjectsSession(QObject):
    switched = Signal(bool)  # clicks on the photo are of objects
    changed = Signal()  # what ``markers`` says
    selected = Signal()  # ``current``
    explained = Signal(object)  # ExplainState | None, of the selected object
    noted = Signal(str)  # what a click or an act came to, in words
    failed = Signal(object)  # Problem of an export or a correction

    def __init__(
        self,
        engine: Engine,
        session: LocateSession,
        library: Library,
        memory: ObjectMemory | None = None,
        parent: QObject | None = None,
    ) -> None:
        """``memory`` None: objects are gone when the window is."""
        super().__init__(parent)
        self._engine, self._session, self._library = engine, session, library
        self._memory = memory
        self.is_on = False
        self.looks_wider = False  # around the best candidates, not only the selected one
        self.shows_alternatives = False  # the other boxes of the selected object too
        self.undo_group = QUndoGroup(self)
        self._stacks: dict[Path, QUndoStack] = {}
        self._pins: dict[Path, Pins] = {}
        self._selected: dict[Path, int] = {}
        self._latest: dict[tuple[Path, int], ObjectsFound] = {}  # of photos not looked at
        self._warmed: Path | None = None
        self._questions = ObjectQuestions(engine, self)
        self._maps = ObjectMaps(engine, self)
        self._questions.answered.connect(self._on_answered)
        self._maps.explained.connect(self.explained)
        self._files = ObjectFiles(engine, self)
        self._files.noted.connect(self.noted)
        self._files.failed.connect(self.failed)
        self._files.added.connect(self._on_added)
        session.selected.connect(self._on_photo)
        session.candidate_selected.connect(self._refresh)
        session.removed.connect(self._forget)
        session.cleared.connect(self._forget_all)
        library.changed.connect(self._refresh)
        library.chosen.connect(self._on_finder)
        library.finder_chosen.connect(self._on_finder)
        if memory is not None:
            session.added.connect(memory.recall)
            memory.recalled.connect(self._on_recalled)
            memory.failed.connect(self.failed)

    # --- what there is ---

    @property
    def photo(self) -> Path | None:
        state = self._session.current
        return None if state is None else state.path

    @property
    def markers(self) -> tuple[Marker, ...]:
        """Of the photo that is looked at."""
        photo = self.photo
        return () if photo is None else tuple(self._marker(photo, p) for p in self._pins_of(photo))

    @property
    def current(self) -> Marker | None:
        """The selected object; none while clicks are not of objects."""
        photo = self.photo
        if photo is None or not self.is_on:
            return None
        number = self._selected.get(photo)
        return next((m for m in self.markers if m.pin.number == number), None)

    @property
    def why_not(self) -> str:
        """Why a click cannot be answered now, in words; empty if it can."""
        if self._library.finder is None:
            view = self._library.photo_view
            return NO_FINDER.format(photos="photos" if view is None else f"{view} photos")
        if self._session.current is None:
            return "Open a photo first."
        if self._session.candidate is None:
            return "The photo has to be located first: an object is looked for around its tile."
        return ""

    @property
    def has_answers(self) -> bool:
        return any(True for _ in self._all_markers())

    def _pins_of(self, photo: Path) -> Pins:
        return self._pins.get(photo, ())

    def _marker(self, photo: Path, pin: Pin) -> Marker:
        if pin.fix is not None:
            return Marker(pin, pin.fix.answer)
        question = self._question(photo, pin)
        if question is None:
            return Marker(pin, missing=self.why_not)
        match self._questions.answer(question):
            case ObjectsFound() as answer:
                return Marker(pin, answer)
            case Problem() as problem:
                return Marker(pin, problem=problem)
            case _:
                return Marker(pin)

    def _question(self, photo: Path, pin: Pin) -> Question | None:
        finder, candidate, target = (
            self._library.finder,
            self._session.candidate,
            self._session.target,
        )
        if finder is None or candidate is None or target is None or photo != self.photo:
            return None
        tiles: tuple[str, ...] = (candidate.tile,)
        state = self._session.current
        if self.looks_wider and state is not None and state.answer is not None:
            tiles = tuple(c.tile for c in state.answer.candidates[:TOP])
        where = target.gallery, finder.path, tiles
        return Question(photo, pin.click, *where, pin.refine, pin.force)

    # --- what the user does ---

    def switch(self, on: bool) -> None:
        """Whether clicks on the photo are of objects."""
        if on == self.is_on:
            return
        self.is_on = on
        self.switched.emit(on)
        self._on_photo()
        self._warm()

    def look_wider(self, wider: bool) -> None:
        """Look around the best candidates at once, or around the selected one."""
        if wider != self.looks_wider:
            self.looks_wider = wider
            self._refresh()

    def show_alternatives(self, shows: bool) -> None:
        self.shows_alternatives = shows
        self.changed.emit()

    def place(self, click: Point) -> None:
        """A new object where the photo was clicked, in pixels of its file."""
        photo, state = self.photo, self._session.current
        waits = self._memory is not None and photo is not None and self._memory.is_reading(photo)
        if photo is None or state is None or state.read is None or waits:
            self.noted.emit("The photo is still being read.")
            return
        if why := self.why_not:
            self.noted.emit(why)
            return
        if not is_inside(click, state.read.width, state.read.height):
            self.noted.emit("That click is beside the photo: click an object in it.")
            return
        pins = self._pins_of(photo)
        number = max((p.number for p in pins), default=0) + 1
        self._edit(f"Place object {number}", (*pins, Pin(number, click)), select=number)

    def move(self, number: int, click: Point, *, by_steps: bool = False) -> None:
        """What was corrected or forced there is no more. Steps in a row are undone as one."""
        state = self._session.current
        if state is None or state.read is None:
            return
        x = min(max(click[0], 0.0), float(state.read.width))
        y = min(max(click[1], 0.0), float(state.read.height))
        self._change(
            number,
            "Move",
            lambda p: replace(p, click=(x, y), rank=1, refine=False, force=False, fix=None),
            merges=by_steps,
        )

    def rename(self, number: int, name: str) -> None:
        shown = "".join(c for c in name if c.isprintable()).strip()[:80]
        self._change(number, "Rename", lambda p: replace(p, name=shown))

    def choose_box(self, number: int, rank: int) -> None:
        """Another of the boxes that were found; a correction is given up for it."""
        self._change(number, "Choose another box of", lambda p: replace(p, rank=rank, fix=None))

    def refine(self, number: int) -> None:
        """Look once more, centred on the best box."""
        self._change(number, "Look closer at", lambda p: replace(p, rank=1, refine=True, fix=None))

    def look_anyway(self, number: int) -> None:
        """Look again, and although the click seems to lie on nothing."""
        marker, photo = self._marker_of(number), self.photo
        if marker is None or photo is None:
            return
        if marker.pin.force and (question := self._question(photo, marker.pin)) is not None:
            self._questions.forget(question)
            self._refresh()
        else:
            self._change(number, "Look anyway for", lambda p: replace(p, force=True))

    def correct(self, number: int, box: Box) -> None:
        """The box as a person drew it, in the reference that it lies in."""
        marker = self._marker_of(number)
        reference = None if marker is None else marker.reference
        if marker is None or marker.box is None or marker.answer is None or reference is None:
            return
        old = marker.pin.fix
        fix = Fix(marker.answer, reference, box, marker.box.box if old is None else old.found)
        self._change(number, "Correct", lambda p: replace(p, fix=fix))

    def give_up_correction(self, number: int) -> None:
        self._change(number, "Give up the correction of", lambda p: replace(p, fix=None))

    def delete(self, number: int) -> None:
        """Its neighbour is selected."""
        photo = self.photo
        marker = self._marker_of(number)
        if photo is None or marker is None:
            return
        pins = self._pins_of(photo)
        rest = tuple(p for p in pins if p.number != number)
        at = min(pins.index(marker.pin), len(rest) - 1)
        after = rest[at].number if rest else None
        self._edit(f"Delete {marker.pin.title}", rest, select=after)

    def select(self, number: int | None) -> None:
        photo = self.photo
        if photo is None or self._selected.get(photo) == number:
            return
        if number is None:
            self._selected.pop(photo, None)
        else:
            self._selected[photo] = number
        self.selected.emit()
        self._maps.want(self._maps_wanted())

    def step(self, by: int) -> None:
        numbers = [p.number for p in self._pins_of(self.photo)] if self.photo else []
        if numbers:
            now = self.current
            at = numbers.index(now.pin.number) + by if now is not None else 0
            self.select(numbers[at % len(numbers)])

    def close(self) -> None:
        if self._memory is not None:
            self._memory.close()

    def undo(self) -> None:
        self.undo_group.undo()

    def redo(self) -> None:
        self.undo_group.redo()

    def export(self, path: Path, *, locations: bool = False) -> None:
        """Write all objects of all photos; with ``locations``, where the photos were taken too."""
        states = [self._session.query(p) for p in self._session.paths] if locations else []
        found = tuple(s.answer for s in states if s.answer is not None)
        self._files.export(path, found, tuple(self._all_markers()))

    def add_to_training(self, number: int) -> None:
        """Keep a corrected box as training data, in the user's own folder of corrections."""
        photo, marker = self.photo, self._marker_of(number)
        if photo is not None and marker is not None and marker.pin.fix is not None:
            self._files.add_to_training(photo, marker.pin, marker.pin.fix)

    def _all_markers(self) -> Iterator[tuple[Path, Marker]]:
        """Of all photos, those with a box, as they were last looked at."""
        for photo, pins in self._pins.items():
            for pin in pins:
                answer = self._latest.get((photo, pin.number))
                marker = self._marker(photo, pin)
                if marker.box is None and photo != self.photo and answer is not None:
                    marker = Marker(pin, answer)
                if marker.box is not None:
                    yield photo, marker

    # --- editing ---

    def _marker_of(self, number: int) -> Marker | None:
        return next((m for m in self.markers if m.pin.number == number), None)

    def _change(
        self, number: int, words: str, change: Callable[[Pin], Pin], *, merges: bool = False
    ) -> None:
        marker, photo = self._marker_of(number), self.photo
        if marker is None or photo is None or (new := change(marker.pin)) == marker.pin:
            return
        pins = tuple(new if p.number == number else p for p in self._pins_of(photo))
        merge = number if merges else None
        self._edit(f"{words} {marker.pin.title}", pins, select=number, merge=merge)

    def _edit(
        self, words: str, pins: Pins, *, select: int | None, merge: int | None = None
    ) -> None:
        photo = self.photo
        assert photo is not None
        stack = self._stack(photo)
        self.undo_group.setActiveStack(stack)
        before = self._pins_of(photo)

        def put(new: Pins, number: int | None) -> None:
            self._put(photo, new, number)

        chosen = self._selected.get(photo)
        stack.push(Edit(words, put, (before, chosen), (pins, select), merge))

    def _stack(self, photo: Path) -> QUndoStack:
        if photo not in self._stacks:
            self._stacks[photo] = QUndoStack(self.undo_group)
        return self._stacks[photo]

    def _put(self, photo: Path, pins: Pins, select: int | None) -> None:
        self._pins[photo] = pins
        if select is None:
            self._selected.pop(photo, None)
        else:
            self._selected[photo] = select
        numbers = {p.number: p.click for p in pins}
        for key, answer in list(self._latest.items()):
            if key[0] == photo and numbers.get(key[1]) != answer.objects[0].click:
                del self._latest[key]
        self._refresh()

    @Slot()
    def _on_photo(self) -> None:
        photo = self.photo
        if photo is not None:
            self.undo_group.setActiveStack(self._stack(photo))
        self._refresh()

    @Slot()
    def _on_finder(self) -> None:
        self._warm()
        self._refresh()

    def _warm(self) -> None:
        """The first click need not wait for the checkpoint."""
        finder = self._library.finder
        if self.is_on and finder is not None and finder.path != self._warmed:
            self._warmed = finder.path
            self._engine.send(Warm(finder.path))

    @Slot(object)
    def _forget(self, photo: Path) -> None:
        self._pins.pop(photo, None)
        self._selected.pop(photo, None)
        self._latest = {k: v for k, v in self._latest.items() if k[0] != photo}
        if (stack := self._stacks.pop(photo, None)) is not None:
            self.undo_group.removeStack(stack)
            stack.deleteLater()
        self._refresh()

    @Slot()
    def _forget_all(self) -> None:
        for photo in {*self._stacks, *self._pins}:
            self._forget(photo)

    # --- asking and hearing ---

    @Slot()
    def _refresh(self) -> None:
        """Ask what is not known, the selected object first; tell."""
        photo = self.photo
        pins = () if photo is None else self._pins_of(photo)
        chosen = None if photo is None else self._selected.get(photo)
        ordered = sorted((p for p in pins if p.fix is None), key=lambda p: p.number == chosen)
        asked = [] if photo is None else [self._question(photo, pin) for pin in ordered]
        self._questions.want(question for question in asked if question is not None)
        if photo is not None:
            self._remember(photo)
        self.changed.emit()
        self.selected.emit()
        self._maps.want(self._maps_wanted())

    def _remember(self, photo: Path) -> None:
        """What is known of the photo that is looked at, for when it is no more."""
        for marker in self.markers:
            if marker.answer is not None:
                self._latest[photo, marker.pin.number] = marker.answer
        self._keep(photo)

    def _keep(self, photo: Path) -> None:
        if self._memory is not None and photo in self._pins:
            self._memory.keep(photo, record_of(photo, self._pins[photo], self._latest))

    @Slot(object, object)
    def _on_recalled(self, photo: Path, record: Record) -> None:
        """As it was left; steps of then cannot be undone."""
        if record.pins and photo in self._session.paths:
            self._pins[photo] = record.pins
            self._latest.update({(photo, number): answer for number, answer in record.answers})
            self._refresh()

    @Slot(object)
    def _on_answered(self, question: Question) -> None:
        answer = self._questions.answer(question)
        if isinstance(answer, ObjectsFound):
            for pin in self._pins_of(question.photo):
                if pin.click == question.click:
                    self._latest[question.photo, pin.number] = answer
            self._keep(question.photo)
        self._refresh()

    def _maps_wanted(self) -> ExplainObject | None:
        """Of the selected object, once it is found."""
        marker, photo = self.current, self.photo
        return None if marker is None or photo is None else maps_of(photo, marker)

    @Slot(object, object)
    def _on_added(self, photo: Path, pin: Pin) -> None:
        """Marked where it still is; no step to undo: what was added stays added."""
        if pin.fix is not None:
            marked = replace(pin, fix=replace(pin.fix, added=True))
            self._pins[photo] = tuple(marked if p == pin else p for p in self._pins_of(photo))
            self._refresh()
