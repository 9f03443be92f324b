"""Measures how long an event loop stands still: for the window's tests and for the benchmarks."""

import sys
import threading
import time
import traceback
from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt, QTimer

BEAT_MS = 5
WATCH_S = 0.02


@dataclass(frozen=True, slots=True)
class Stall:
    """The longest time without a beat, and what the GUI thread was doing then."""

    seconds: float = 0.0
    where: str = ""

    def __str__(self) -> str:
        return f"{1000 * self.seconds:.0f} ms\n{self.where}"


class StallMeter(QObject):
    """Start and stop it on the GUI thread.

    A timer beats in the event loop and a thread watches it. On a machine with too much to do the
    whole process may stand still, which is no fault of the window: so a pause counts only as
    much as the GUI thread computed in it, or as the watching thread saw of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self._beat)
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._gui = threading.get_ident()
        self._last = self._cpu = 0.0
        self._seen = 0.0  # of the pause under way, by the watching thread
        self._stack = ""
        self._longest = Stall()

    def start(self) -> None:
        self._gui = threading.get_ident()
        self._longest, self._stack = Stall(), ""
        self._last, self._cpu = time.perf_counter(), time.thread_time()
        self._stopped.clear()
        self._timer.start()
        self._thread = threading.Thread(target=self._watch, name="stall-meter", daemon=True)
        self._thread.start()

    def stop(self) -> Stall:
        self._beat()
        self._timer.stop()
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        return self._longest

    def _beat(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        pause = now - self._last
        counted = min(pause, max(cpu - self._cpu, self._seen))
        if counted > self._longest.seconds:
            self._longest = Stall(counted, self._stack)
        self._last, self._cpu, self._seen, self._stack = now, cpu, 0.0, ""

    def _watch(self) -> None:
        before = time.perf_counter()
        while not self._stopped.wait(WATCH_S):
            now = time.perf_counter()
            if now - self._last > 2 * WATCH_S:
                self._seen += min(now - before, 2 * WATCH_S)
                if not self._stack and now - self._last > 0.1:
                    frame = sys._current_frames().get(self._gui)
                    self._stack = "".join(traceback.format_stack(frame)[-6:])
            before = now
