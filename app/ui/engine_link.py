"""The window's one way to the engine. Only this file knows that there is a process.

Starting the process, sending and receiving happen in two threads, so that neither a slow start
nor a full pipe ever holds the window up.
"""

import itertools
import logging
import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue

from PySide6.QtCore import QObject, Signal, SignalInstance, Slot

from app.engine.worker import Answer, serve
from app.messages import (
    NO_JOB,
    Cancel,
    ClaimDevices,
    EpochDone,
    Event,
    Problem,
    Progress,
    QueryRead,
    Request,
)

log = logging.getLogger(__name__)

_RUNNING = (Progress, EpochDone, QueryRead)
JOIN_S = 1.0  # how long a closing engine may finish on its own


class _Engine:
    """The life of one engine process, from its start to its end."""

    def __init__(
        self,
        device: str,
        answer: Answer | None,
        execution: str,
        told: Callable[[Event], None],
        ended: Callable[[int | None], None],
    ) -> None:
        self._with = (device, answer, execution)
        self._told, self._ended = told, ended
        self.outbox: SimpleQueue[tuple[int, Request] | Cancel | None] = SimpleQueue()
        self._wake_reader, self._wake = multiprocessing.Pipe(duplex=False)
        self.process: SpawnProcess | None = None
        self._talker = threading.Thread(target=self._talk, name="engine-talk", daemon=True)
        self._talker.start()

    def close(self) -> None:
        """Ends the process and both threads, at the latest after two seconds."""
        self.outbox.put(None)
        self._wake.close()  # the listener hears this, and hangs up
        self._talker.join(2 * JOIN_S)

    def _talk(self) -> None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        self.process = context.Process(
            target=serve, args=(there, *self._with), name="engine", daemon=True
        )
        self.process.start()
        there.close()
        listener = threading.Thread(
            target=self._listen, args=(here, self.process), name="engine-listen", daemon=True
        )
        listener.start()
        try:
            while (message := self.outbox.get()) is not None:
                here.send(message)
        except OSError:
            log.info("the engine hung up while it was spoken to")
        listener.join()

    def _listen(self, conn: Connection, process: SpawnProcess) -> None:
        try:
            while self._wake_reader not in wait([conn, self._wake_reader]):
                self._told(conn.recv())
        except (EOFError, OSError):
            log.info("the engine hung up")
        finally:
            conn.close()  # an engine in good health ends when it hears this
            process.join(JOIN_S)
            if process.is_alive():
                process.kill()
                process.join(JOIN_S)
            self._wake_reader.close()
            self.outbox.put(None)
            self._ended(process.exitcode)


class EngineLink(QObject):
    """Sends requests; emits ``told`` on the GUI thread.

    A job always ends in exactly one Outcome, even if the process dies.
    """

    told = Signal(object)  # Event
    asked = Signal(int, object)  # job, Request: for whoever shows what is going on
    _received = Signal(int, object)
    _closed = Signal(int, object)

    def __init__(
        self,
        device: str = "auto",
        *,
        execution: str = "auto",
        answer: Answer | None = None,
        parent: QObject | None = None,
    ) -> None:
        """``answer`` takes the place of the real engine in tests; a function of a module."""
        super().__init__(parent)
        self._with = (device, answer, execution)
        self._received.connect(self._on_received)
        self._closed.connect(self._on_closed)
        self._ids = itertools.count(1)
        self._open_jobs: set[int] = set()
        self._claims: ClaimDevices | None = None  # a new engine must know them too
        self._generation = 0
        self._is_closed = False
        self._engine: _Engine | None = None

    @property
    def pid(self) -> int | None:
        """Of the engine process, if one runs."""
        process = None if self._engine is None else self._engine.process
        return None if process is None else process.pid

    def send(self, request: Request) -> int:
        """Queue a request, starting the process if need be; its events carry the number."""
        job = next(self._ids)
        if self._is_closed:  # asked by a signal that was still on its way
            return job
        if self._engine is None:
            self._engine = self._start()
            if self._claims is not None and not isinstance(request, ClaimDevices):
                self._engine.outbox.put((next(self._ids), self._claims))
        if isinstance(request, ClaimDevices):
            self._claims = request
        self._open_jobs.add(job)
        self._engine.outbox.put((job, request))
        self.asked.emit(job, request)
        return job

    def cancel(self, job: int) -> None:
        if self._engine is not None and job in self._open_jobs:
            self._engine.outbox.put(Cancel(job))

    def close(self) -> None:
        """For good, in at most two seconds; jobs still open are told nothing more."""
        self._is_closed = True
        self._open_jobs.clear()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _start(self) -> _Engine:
        self._generation += 1
        mine = self._generation

        def told(event: Event) -> None:
            _emit(self._received, mine, event)

        def ended(code: int | None) -> None:
            _emit(self._closed, mine, code)

        return _Engine(*self._with, told, ended)

    @Slot(int, object)
    def _on_received(self, generation: int, event: Event) -> None:
        if generation != self._generation or event.job not in (NO_JOB, *self._open_jobs):
            return
        if not isinstance(event.body, _RUNNING):
            self._open_jobs.discard(event.job)
        self.told.emit(event)

    @Slot(int, object)
    def _on_closed(self, generation: int, code: int | None) -> None:
        if generation != self._generation or self._engine is None:
            return
        self._engine = None
        log.error("the engine ended by itself with exit code %s", code)
        problem = Problem(
            f"The engine stopped unexpectedly (exit code {code})",
            "Try again: it starts afresh. If it recurs, choose a smaller checkpoint or close "
            "other programs: running out of memory is the usual cause.",
        )
        for job in sorted(self._open_jobs):
            self._open_jobs.discard(job)
            self.told.emit(Event(job, problem))


def _emit(signal: SignalInstance, generation: int, body: object) -> None:
    try:
        signal.emit(generation, body)
    except RuntimeError:
        log.debug("the link was deleted while its engine spoke")
