"""What the user is locating: queries, the answer to each, what is selected.

The model half of the window. It has signals but no widgets and touches no files, so its rules
are tested without showing anything. Its first rule: the newest ask wins; an answer to an older
one is dropped, whenever it comes.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from PySide6.QtCore import QObject, Signal, SignalInstance, Slot

from app.messages import (
    Cancelled,
    Candidate,
    EpochDone,
    Event,
    Explain,
    Explanation,
    Locate,
    Location,
    Problem,
    Progress,
    QueryRead,
    Request,
)

Step = Literal["waiting", "reading", "matching", "located", "problem", "cancelled"]

IN_FLIGHT = 2  # one at work and one behind it: an Explain never waits for a whole folder
EXPLANATIONS_KEPT = 64


class Engine(Protocol):
    """What a session needs of an EngineLink; a test gives it a list instead."""

    @property
    def told(self) -> SignalInstance: ...
    def send(self, request: Request) -> int: ...
    def cancel(self, job: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where queries are looked for, and how."""

    gallery: Path
    checkpoint: Path
    top_k: int = 20
    turns: int | None = None
    use_heading: bool = True


@dataclass(frozen=True, slots=True)
class QueryState:
    """One row of the query list. At most one of ``answer`` and ``problem`` is set."""

    path: Path
    step: Step = "waiting"
    note: str = ""
    read: QueryRead | None = None
    answer: Location | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class ExplainState:
    """What is known of the maps for the selected candidate; all None while they are drawn."""

    photo: Path
    tile: str
    explanation: Explanation | None = None
    problem: Problem | None = None


class LocateSession(QObject):
    added = Signal(object)  # tuple[Path, ...], at the end of the list
    refreshed = Signal()  # the state of every query is new
    removed = Signal(object)  # Path
    cleared = Signal()
    changed = Signal(object)  # Path whose state is new
    selected = Signal(object)  # Path | None
    candidate_selected = Signal(object)  # Candidate | None
    explained = Signal(object)  # ExplainState | None

    def __init__(self, engine: Engine, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._target: Target | None = None
        self._queries: dict[Path, QueryState] = {}
        self._tally: Counter[Step] = Counter()
        self._order: dict[Path, None] = {}  # waiting to be sent, next first
        self._running: dict[int, Path] = {}  # every Locate the engine still has, stale ones too
        self._job_of: dict[Path, int] = {}  # the newest ask for a photo
        self._selected: Path | None = None
        self._rank_of: dict[Path, int] = {}
        self._explain_job: int | None = None
        self._explain_key: tuple[Path, str] | None = None
        self._explanations: dict[tuple[Path, str], Explanation] = {}
        engine.told.connect(self._on_told)

    # --- what there is ---

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self._queries)

    @property
    def target(self) -> Target | None:
        return self._target

    @property
    def current(self) -> QueryState | None:
        return None if self._selected is None else self._queries[self._selected]

    @property
    def candidate(self) -> Candidate | None:
        """The selected candidate of the selected query."""
        state = self.current
        if state is None or state.answer is None:
            return None
        rank = self._rank_of.get(state.path, 1)
        return state.answer.candidates[min(rank, len(state.answer.candidates)) - 1]

    def query(self, path: Path) -> QueryState:
        return self._queries[path]

    def count(self, *steps: Step) -> int:
        return sum(self._tally[step] for step in steps)

    # --- what the user does ---

    def use(self, target: Target | None) -> None:
        """Look there from now on; every query is asked afresh."""
        if target == self._target:
            return
        self._target = target
        self._explanations.clear()
        for path in self._queries:
            self._ask(path)
        self.refreshed.emit()
        self._refresh_selection()
        self._pump()

    def add(self, photos: Iterable[Path]) -> None:
        """A photo that is listed already is asked afresh and forgets its older answer."""
        asked = tuple(dict.fromkeys(photos))
        known = [path for path in asked if path in self._queries]
        new = tuple(path for path in asked if path not in self._queries)
        for path in asked:
            self._ask(path)
        if new:
            self.added.emit(new)
        for path in known:
            self.changed.emit(path)
        if self._selected in known:
            self._refresh_selection()
        elif asked and self._selected is None:
            self.select(asked[0])
        self._pump()

    def retry(self, path: Path) -> None:
        self.add((path,))

    def remove(self, path: Path) -> None:
        """Forget a query; its neighbour is selected."""
        if path not in self._queries:
            return
        paths = list(self._queries)
        at = paths.index(path)
        self._withdraw(path)
        self._tally[self._queries.pop(path).step] -= 1
        self._rank_of.pop(path, None)
        self._explanations = {k: v for k, v in self._explanations.items() if k[0] != path}
        if self._selected == path:
            rest = paths[:at] + paths[at + 1 :]
            self._selected = rest[min(at, len(rest) - 1)] if rest else None
            self.removed.emit(path)
            self.selected.emit(self._selected)
            self._refresh_selection()
        else:
            self.removed.emit(path)
        self._pump()

    def clear(self) -> None:
        """Forget every query."""
        for path in self.paths:
            self._withdraw(path)
        self._queries.clear()
        self._tally.clear()
        self._rank_of.clear()
        self._explanations.clear()
        self._selected = None
        self.cleared.emit()
        self.selected.emit(None)
        self._refresh_selection()

    def cancel_all(self) -> None:
        """Stop what is not answered; the queries stay and can be asked again."""
        for path, state in tuple(self._queries.items()):
            if state.step in ("waiting", "reading", "matching"):
                self._withdraw(path)
                self._keep(replace(state, step="cancelled", note=""))
        self.refreshed.emit()

    def select(self, path: Path | None) -> None:
        if path == self._selected or (path is not None and path not in self._queries):
            return
        self._selected = path
        if path is not None and path in self._order:  # what is looked at is answered first
            del self._order[path]
            self._order = {path: None, **self._order}
        self.selected.emit(path)
        self._refresh_selection()

    def step_query(self, by: int) -> None:
        paths = self.paths
        if not paths:
            return
        at = paths.index(self._selected) + by if self._selected is not None else 0
        self.select(paths[max(0, min(at, len(paths) - 1))])

    def pick(self, rank: int) -> None:
        """Select a candidate of the selected query; a rank that is not there does nothing."""
        state = self.current
        if state is None or state.answer is None:
            return
        if 1 <= rank <= len(state.answer.candidates) and rank != self._rank_of.get(state.path, 1):
            self._rank_of[state.path] = rank
            self._refresh_selection()

    def step_candidate(self, by: int) -> None:
        if (candidate := self.candidate) is not None:
            self.pick(candidate.rank + by)

    # --- asking ---

    def _ask(self, path: Path) -> None:
        """Put it in the queue; whoever calls tells what changed."""
        self._withdraw(path)
        self._rank_of.pop(path, None)
        if self._explanations:
            self._explanations = {k: v for k, v in self._explanations.items() if k[0] != path}
        old = self._queries.get(path)
        read = None if old is None else old.read
        if self._target is None:
            self._keep(QueryState(path, note="choose a gallery and a checkpoint", read=read))
        else:
            self._order[path] = None
            self._keep(QueryState(path, read=read))

    def _withdraw(self, path: Path) -> None:
        self._order.pop(path, None)
        if (job := self._job_of.pop(path, None)) is not None:
            self._engine.cancel(job)

    def _pump(self) -> None:
        while self._target is not None and self._order and len(self._running) < IN_FLIGHT:
            path = next(iter(self._order))
            del self._order[path]
            t = self._target
            job = self._engine.send(
                Locate(path, t.gallery, t.checkpoint, t.top_k, t.turns, t.use_heading)
            )
            self._running[job] = path
            self._job_of[path] = job

    def _refresh_selection(self) -> None:
        candidate = self.candidate
        self.candidate_selected.emit(candidate)
        self._explain(candidate)

    def _explain(self, candidate: Candidate | None) -> None:
        path, target = self._selected, self._target
        if candidate is None or path is None or target is None:
            self._drop_explain()
            self.explained.emit(None)
            return
        key = (path, candidate.tile)
        if key == self._explain_key and self._explain_job is not None:
            return
        self._drop_explain()
        self._explain_key = key
        known = self._explanations.get(key)
        self.explained.emit(ExplainState(path, candidate.tile, explanation=known))
        if known is None:
            self._explain_job = self._engine.send(
                Explain(
                    path, target.gallery, target.checkpoint, candidate.tile, candidate.heading_deg
                )
            )

    def _drop_explain(self) -> None:
        if self._explain_job is not None:
            self._engine.cancel(self._explain_job)
        self._explain_job = self._explain_key = None

    # --- hearing ---

    @Slot(object)
    def _on_told(self, event: Event) -> None:
        if event.job == self._explain_job:
            self._on_explain_told(event)
        elif event.job in self._running:
            self._on_locate_told(event)

    def _on_explain_told(self, event: Event) -> None:
        if isinstance(event.body, Progress) or self._explain_key is None:
            return
        path, tile = self._explain_key
        self._explain_job = None
        match event.body:
            case Explanation() as explanation:
                while len(self._explanations) >= EXPLANATIONS_KEPT:
                    del self._explanations[next(iter(self._explanations))]
                self._explanations[self._explain_key] = explanation
                self.explained.emit(ExplainState(path, tile, explanation=explanation))
            case Problem() as problem:
                self.explained.emit(ExplainState(path, tile, problem=problem))
            case _:
                self.explained.emit(None)

    def _on_locate_told(self, event: Event) -> None:
        path = self._running[event.job]
        newest = self._job_of.get(path) == event.job
        if not isinstance(event.body, Progress | QueryRead | EpochDone):
            del self._running[event.job]
            if newest:
                del self._job_of[path]
        if newest:
            self._advance(self._queries[path], event)
        self._pump()

    def _advance(self, state: QueryState, event: Event) -> None:
        path = state.path
        match event.body:
            case Progress(note=note):
                step: Step = "reading" if state.step == "waiting" else state.step
                self._set(replace(state, step=step, note=note))
            case QueryRead() as read:
                self._set(replace(state, step="matching", read=read))
            case Location() as answer:
                self._set(QueryState(path, "located", read=answer.query, answer=answer))
            case Problem() as problem:
                self._set(QueryState(path, "problem", read=state.read, problem=problem))
            case Cancelled():
                self._set(QueryState(path, "cancelled", read=state.read))
            case body:
                raise AssertionError(f"{type(body).__name__} told under a Locate's number")
        if path == self._selected and isinstance(event.body, Location | Problem | Cancelled):
            self._refresh_selection()

    def _set(self, state: QueryState) -> None:
        self._keep(state)
        self.changed.emit(state.path)

    def _keep(self, state: QueryState) -> None:
        if (old := self._queries.get(state.path)) is not None:
            self._tally[old.step] -= 1
        self._queries[state.path] = state
        self._tally[state.step] += 1
