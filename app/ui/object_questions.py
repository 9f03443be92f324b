"""What the engine is asked about clicked objects: the newest wish first, no question twice.

Answers are kept, so that undoing a step, or going back to a candidate, shows them at once.
"""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from app.messages import (
    Event,
    ExplainObject,
    Explanation,
    FindObjects,
    ObjectsFound,
    Problem,
    Progress,
    QueryRead,
)
from app.ui.clicked_objects import Marker, Question
from app.ui.session import Engine, ExplainState

IN_FLIGHT = 2  # one at work and one behind it
KEPT = 400
NOT_LOOKED = Problem("Cancelled before it was found", "Look again, or move the marker.")


class ObjectQuestions(QObject):
    answered = Signal(object)  # Question

    def __init__(self, engine: Engine, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._answers: OrderedDict[Question, ObjectsFound | Problem] = OrderedDict()
        self._waiting: OrderedDict[Question, None] = OrderedDict()  # the next one last
        self._asked: dict[int, Question] = {}
        engine.told.connect(self._on_told)

    def answer(self, question: Question) -> ObjectsFound | Problem | None:
        """None: not known, or not yet."""
        return self._answers.get(question)

    def forget(self, question: Question) -> None:
        self._answers.pop(question, None)

    def want(self, questions: Iterable[Question]) -> None:
        """Ask these, the last one first; withdraw all others."""
        wanted = [q for q in questions if q not in self._answers]
        for job, question in tuple(self._asked.items()):
            if question not in wanted:
                self._engine.cancel(job)
                del self._asked[job]
        under_way = set(self._asked.values())
        self._waiting = OrderedDict.fromkeys(q for q in wanted if q not in under_way)
        self._pump()

    def _pump(self) -> None:
        while self._waiting and len(self._asked) < IN_FLIGHT:
            q, _ = self._waiting.popitem()
            where = q.gallery, q.checkpoint, q.tiles
            request = FindObjects(q.photo, (q.click,), *where, refine=q.refine, force=q.force)
            self._asked[self._engine.send(request)] = q

    @Slot(object)
    def _on_told(self, event: Event) -> None:
        if event.job not in self._asked or isinstance(event.body, Progress | QueryRead):
            return
        question, body = self._asked.pop(event.job), event.body
        while len(self._answers) >= KEPT:
            self._answers.popitem(last=False)
        self._answers[question] = body if isinstance(body, ObjectsFound | Problem) else NOT_LOOKED
        self._pump()
        self.answered.emit(question)


class ObjectMaps(QObject):
    """The maps of one object at a time."""

    explained = Signal(object)  # ExplainState | None

    def __init__(self, engine: Engine, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._wanted: ExplainObject | None = None
        self._job: int | None = None
        self._kept: OrderedDict[ExplainObject, Explanation] = OrderedDict()
        engine.told.connect(self._on_told)

    def want(self, request: ExplainObject | None) -> None:
        """Ask for these maps; the former wish is withdrawn."""
        if request == self._wanted:
            return
        if self._job is not None:
            self._engine.cancel(self._job)
        self._job, self._wanted = None, request
        if request is None:
            self.explained.emit(None)
            return
        known = self._kept.get(request)
        self.explained.emit(ExplainState(request.photo, request.tile, explanation=known))
        if known is None:
            self._job = self._engine.send(request)

    @Slot(object)
    def _on_told(self, event: Event) -> None:
        request = self._wanted
        if event.job != self._job or request is None or isinstance(event.body, Progress):
            return
        self._job = None
        match event.body:
            case Explanation() as explanation:
                while len(self._kept) >= KEPT:
                    self._kept.popitem(last=False)
                self._kept[request] = explanation
                state = ExplainState(request.photo, request.tile, explanation=explanation)
                self.explained.emit(state)
            case Problem() as problem:
                self.explained.emit(ExplainState(request.photo, request.tile, problem=problem))
            case _:
                self._wanted = None
                self.explained.emit(None)


def maps_of(photo: Path, marker: Marker) -> ExplainObject | None:
    """The question of what was looked at for a found object; None while it is not found."""
    reference, answer = marker.reference, marker.answer
    if reference is None or answer is None:
        return None
    where = answer.gallery, answer.checkpoint, reference.tile
    return ExplainObject(photo, marker.pin.click, *where, (reference.x, reference.y))
