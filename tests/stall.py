"""Measures how long an event loop stands still: for the window's tests and for the benchmarks."""

import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, Qt, QTimer

BEAT_MS = 5
WATCH_S = 0.02
DEPTH = 12
SEEN_S = 0.1  # a pause of so long is looked into


@dataclass(frozen=True, slots=True)
class Stall:
    """The longest time without a beat, and what the GUI thread was doing then."""

    seconds: float = 0.0
    where: str = ""

    def __str__(self) -> str:
        return f"{1000 * self.seconds:.0f} ms\n{self.where}"


class StallMeter(QObject):
    """Start and stop it on the GUI thread.

    A timer beats in the event loop; a thread watches it, to say where a pause came from. On a
    machine with too much to do the GUI thread may be ready and get no processor, which is no
    fault of the window: Linux counts that time for each thread, and it is taken off the pause.
    """

    def __init__(self) -> None:
        super().__init__()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self._beat)
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._gui = 0
        self._counters = Path()
        self._last = self._queued = 0.0
        self._stack = ""
        self._longest = Stall()

    def start(self) -> None:
        self._gui = threading.get_ident()
        self._counters = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._longest, self._stack = Stall(), ""
        self._last, self._queued = time.perf_counter(), self._queued_s()
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

    def _queued_s(self) -> float:
        """How long this thread has waited for a processor in all; 0 where nobody counts it."""
        try:
            return int(self._counters.read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            return 0.0

    def _beat(self) -> None:
        now, queued = time.perf_counter(), self._queued_s()
        own = (now - self._last) - (queued - self._queued)
        if own > self._longest.seconds:
            self._longest = Stall(own, self._stack)
        self._last, self._queued, self._stack = now, queued, ""

    def _watch(self) -> None:
        while not self._stopped.wait(WATCH_S):
            if not self._stack and time.perf_counter() - self._last > SEEN_S:
                self._stack = _stack_of(self._gui)


def _stack_of(thread: int) -> str:
    """Innermost first. No frame is held for longer than it takes: its painter would stay open."""
    lines, frame = [], sys._current_frames().get(thread)
    while frame is not None and len(lines) < DEPTH:
        code = frame.f_code
        lines.append(f"  {code.co_filename}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return "\n".join(lines)
