"""A run seen from outside while it goes on: heartbeats, live curves, and words from outside."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from jaxtyping import Float
from torch import Tensor

from app.engine.checkpoints import Device
from app.engine.distributed import Team
from app.engine.machine_memory import used_now
from app.engine.run_control import BEAT_S, RunStatus, State, Word, take_word, write_status
from app.engine.runs import LOG, StepLines, log
from app.errors import JobCancelled, UserError
from app.messages import Progress, Report, Running
from app.train_request import StepsDone, Train

_WORDS: tuple[Word, ...] = ("pause", "resume", "stop", "save")
PAUSE_S = 0.2  # between two looks for a word while a run is paused


class Watch:
    """Of one run. In several processes each has one: the first writes and hears, all obey."""

    def __init__(self, run: Train, team: Team, device: Device, report: Report) -> None:
        self._run, self._team, self._device = run, team, device
        self._told = report
        self._stop_asked = False
        self.agreed = False  # every process knows of the stop
        self._waiting: Word | None = None  # heard at a bad moment: for the next good one
        self._first_step = 0
        self._last_beat = 0.0
        self._lines: StepLines | None = None
        self._started = self._since = time.perf_counter()
        self._loss: Tensor | None = None  # sum since the last point of the curves
        self._count = self._pictures = 0
        self.status = RunStatus("running", epochs=run.epochs, started=time.time())
        self.status = replace(self.status, device=device.name)

    def begin(self, *, steps: int, steps_total: int) -> None:
        """The run is about to go on after ``steps`` updates."""
        self.status = replace(self.status, step=steps, steps=steps_total)
        self._first_step = steps
        self._started = self._since = time.perf_counter()
        if self._team.first:
            self._lines = StepLines(self._run.run_dir, upto=steps)
        self.beat()

    def say(self, **changes: object) -> None:
        """Change the status, and write it at once."""
        self.status = replace(self.status, **changes)  # type: ignore[arg-type]  # as named
        self.beat()

    def beat(self) -> None:
        self._last_beat = time.perf_counter()
        if self._team.first:
            write_status(self._run.run_dir, self.status)

    @property
    def run_dir(self) -> Path:
        return self._run.run_dir

    @property
    def device(self) -> Device:
        return self._device

    @property
    def batch_size(self) -> int:
        return self._run.batch_size

    def fail(self, state: State, problem: UserError) -> None:
        """The run ends with this; in its log too, if it has begun."""
        self.say(state=state, problem=str(problem), hint=problem.hint, seconds_left=None)
        if self._team.first and (self.run_dir / LOG).is_file():
            log(self.run_dir, str(problem))

    def report(self, body: Running) -> None:
        """For what is slow: tells it further, keeps the heart beating, and stops if asked."""
        if time.perf_counter() - self._last_beat > BEAT_S:
            self.beat()
        self._told(body)
        if self._team.size > 1:
            return  # the others are busy, and must hear it too: between two updates
        self._waiting = self._heard()
        if self._waiting == "stop":
            raise JobCancelled

    def step(
        self, loss: Float[Tensor, ""], *, pictures: int, lr: float, epoch: float, step: int
    ) -> None:
        """After each update."""
        self._loss = loss if self._loss is None else self._loss + loss
        self._count += 1
        self._pictures += pictures
        self.status = replace(self.status, step=step, epoch=int(epoch))
        if step % self._run.log_every == 0:
            self._point(lr=lr, epoch=epoch, step=step)
        if time.perf_counter() - self._last_beat > BEAT_S:
            self.beat()

    def _point(self, *, lr: float, epoch: float, step: int) -> None:
        assert self._loss is not None
        now = time.perf_counter()
        loss = float(self._team.mean(self._loss)) / self._count
        rate = self._pictures * self._team.size / max(now - self._since, 1e-9)
        self._loss, self._count, self._pictures, self._since = None, 0, 0, now
        left = (now - self._started) / max(1, step - self._first_step)
        left *= max(0, self.status.steps - step)
        self.status = replace(self.status, loss=loss, seconds_left=left)
        if self._lines is not None:
            memory = used_now(self._device) / 1e6
            self._lines.add(StepsDone(step, epoch, loss, lr, rate, memory))

    def word(self) -> Word | None:
        """What is asked of the run between two updates; the same in every process."""
        heard: Word | None = None
        if self._team.first:
            heard = self._heard()
        code = self._team.told(0 if heard is None else 1 + _WORDS.index(heard))
        word = _WORDS[code - 1] if code else None
        self.agreed = self.agreed or word == "stop"
        return word

    def wait(self) -> float:
        """Paused, until somebody says otherwise; for how many seconds. Raises JobCancelled."""
        self.say(state="paused", note="paused")
        began = time.perf_counter()
        while True:
            match self.word():
                case "stop":
                    raise JobCancelled
                case "resume" | "pause":
                    break
                case _:
                    time.sleep(PAUSE_S)
            if self._team.first:
                self._told(Progress(self.status.step, self.status.steps, "paused"))
            if time.perf_counter() - self._last_beat > BEAT_S:
                self.beat()
        paused = time.perf_counter() - began
        self._started += paused
        self._since += paused
        self.say(state="running")
        return paused

    def _heard(self) -> Word | None:
        if self._stop_asked:
            return "stop"
        word, self._waiting = take_word(self._run.run_dir) or self._waiting, None
        return word

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Ctrl+C and SIGTERM ask for a stop with everything saved; a second one ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[signal.Signals, object] = {}

        def asked(number: int, frame: FrameType | None) -> None:
            if self._stop_asked:
                raise KeyboardInterrupt
            self._stop_asked = True

        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, asked)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, _handler(handler))


def _handler(handler: object) -> Callable[[int, FrameType | None], object] | int:
    """None stands for a handler that Python did not set; the system's own takes its place."""
    return signal.SIG_DFL if handler is None else handler  # type: ignore[return-value]
