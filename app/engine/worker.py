"""The engine process: takes requests, tells how each goes. It alone owns model and device.

One thread does all the work. A long job (building a gallery) lets waiting interactive requests
in at each of its reports, so that a photo dropped meanwhile is answered between two batches.
A second thread only listens, so that a cancel is heard while the first one computes.

Nothing heavy is imported until the first request needs it: the window can name ``serve``
without loading torch.
"""

import contextlib
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from app.messages import (
    NO_JOB,
    AddCorrection,
    BrowseErrors,
    BuildGallery,
    Cancel,
    Cancelled,
    ClaimDevices,
    Compare,
    DeviceChanged,
    DevicesClaimed,
    Doctor,
    EstimateTraining,
    Evaluate,
    Event,
    Explain,
    ExplainObject,
    Export,
    FindObjects,
    GalleryOpened,
    ImportCheckpoint,
    JobCancelled,
    Locate,
    OpenGallery,
    Outcome,
    PreviewTraining,
    Problem,
    Progress,
    Project,
    Report,
    Request,
    Running,
    Score,
    Shrink,
    Train,
    UserError,
    Warm,
    Warmed,
    ignore,
)

if TYPE_CHECKING:
    from app.engine.shelf import Shelf

Answer = Callable[[Request, Report], Outcome]

_LONG = (BuildGallery, Train, Evaluate, Score, Compare, Project, ImportCheckpoint)


class _Inbox:
    """Requests as they arrive: interactive ones are taken before long ones, each in order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._interactive: deque[tuple[int, Request]] = deque()
        self._long: deque[tuple[int, Request]] = deque()
        self._cancelled: set[int] = set()
        self._closed = False

    def put(self, job: int, request: Request) -> None:
        with self._changed:
            queue = self._long if isinstance(request, _LONG) else self._interactive
            queue.append((job, request))
            self._changed.notify()

    def cancel(self, job: int) -> None:
        with self._changed:
            self._cancelled.add(job)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def is_cancelled(self, job: int) -> bool:
        """Also when nobody listens any more."""
        with self._changed:
            return self._closed or job in self._cancelled

    def take(self) -> tuple[int, Request] | None:
        """The next request, waiting for one; None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._interactive or self._long)
            if self._closed:
                return None
            return (self._interactive or self._long).popleft()

    def take_interactive(self) -> tuple[int, Request] | None:
        """An interactive request if one waits, else None at once."""
        with self._changed:
            return self._interactive.popleft() if self._interactive else None


def serve(
    conn: Connection,
    device: str = "auto",
    answer: Answer | None = None,
    execution: str = "auto",
) -> None:
    """Answer requests from ``conn`` until its other end closes. Each ends in one Outcome.

    ``device`` and ``execution`` as in the settings.
    ``answer`` takes the place of the real engine in tests.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C in a terminal is the window's affair
    inbox = _Inbox()
    threading.Thread(target=_listen, args=(conn, inbox), daemon=True).start()
    answer = answer or _Engine(device, execution).answer
    while (item := inbox.take()) is not None:
        _do(item, conn, inbox, answer)


def _listen(conn: Connection, inbox: _Inbox) -> None:
    try:
        while True:
            message = conn.recv()
            if isinstance(message, Cancel):
                inbox.cancel(message.job)
            else:
                inbox.put(*message)
    except (EOFError, OSError):
        inbox.close()


def _do(item: tuple[int, Request], conn: Connection, inbox: _Inbox, answer: Answer) -> None:
    job, request = item

    def report(body: Running) -> None:
        if inbox.is_cancelled(job):
            raise JobCancelled
        try:
            conn.send(Event(NO_JOB if isinstance(body, DeviceChanged) else job, body))
        except OSError as error:  # the window is gone: what is under way ends here
            raise JobCancelled from error
        if isinstance(request, _LONG):
            while (waiting := inbox.take_interactive()) is not None:
                _do(waiting, conn, inbox, answer)

    outcome = run(request, report, answer)
    with contextlib.suppress(OSError):  # nobody is left to hear it
        conn.send(Event(job, outcome))


def run(request: Request, report: Report, answer: Answer) -> Outcome:
    """Do one request. Never raises: a failure is an answer too."""
    try:
        report(Progress(0, 0, "starting"))
        return answer(request, report)
    except JobCancelled:
        return Cancelled()
    except UserError as error:
        return Problem(str(error), error.hint)
    except MemoryError:
        return Problem("There is not enough memory for this", "Close other programs and try again.")
    except Exception as error:  # noqa: BLE001 - the process must outlive any one job
        return Problem(f"Unexpected {type(error).__name__}: {error}", trace=traceback.format_exc())


class _Engine:
    """The real answers, with what they share: loaded checkpoints and open galleries."""

    def __init__(self, device: str, execution: str) -> None:
        self._device, self._execution = device, execution
        self._shelf: Shelf | None = None
        self._claimed: tuple[str, ...] = ()  # by trainings
        self._report: Report = ignore  # of the request under way

    def answer(self, request: Request, report: Report) -> Outcome:
        outer, self._report = self._report, report
        try:
            return self._answer(request, report)
        finally:
            self._report = outer  # of the long job that let this one in

    def _answer(self, request: Request, report: Report) -> Outcome:
        match request:
            case Warm():
                return _warm(request, self._open_shelf())
            case OpenGallery():
                return _open_gallery(request, self._open_shelf())
            case BuildGallery():
                from app.engine.gallery_build import build_gallery

                checkpoint = self._open_shelf().checkpoint(request.checkpoint)
                return build_gallery(request, checkpoint, report)
            case Locate():
                from app.engine.locate import locate

                return locate(request, self._open_shelf(), report)
            case Explain():
                from app.engine.explain import explain

                return explain(request, self._open_shelf(), report)
            case FindObjects():
                from app.engine.objects import find_objects

                return find_objects(request, self._open_shelf(), report)
            case ExplainObject():
                from app.engine.object_explain import explain_object

                return explain_object(request, self._open_shelf(), report)
            case AddCorrection():
                from app.engine.corrections import add_correction

                return add_correction(request, self._open_shelf())
            case Export():
                from app.engine.export_found import export

                return export(request)
            case Train():
                from app.engine.training import train

                return train(request, report)
            case EstimateTraining():
                from app.engine.trial import estimate

                return estimate(request.run, report)
            case PreviewTraining():
                from app.engine.trial import preview

                return preview(request, report)
            case Evaluate():
                from app.engine.evaluation_run import evaluate

                return evaluate(request, self._open_shelf(), report)
            case Score():
                from app.engine.evaluation_run import score_folder

                return score_folder(request, report)
            case Compare():
                from app.engine.evaluation_compare import compare

                return compare(request, report)
            case Project():
                from app.engine.evaluation_map import project_folder

                return project_folder(request, report)
            case BrowseErrors():
                from app.engine.evaluation_errors import browse

                return browse(request)
            case Shrink():
                from app.engine.thumbnails import shrink

                return shrink(request, self._open_shelf(), report)
            case Doctor():
                from app.engine.doctor import examine

                sharing = None if self._shelf is None else self._shelf.sharing
                how = self._device, self._execution
                return examine(request, *how, sharing=sharing, report=report)
            case ImportCheckpoint():
                from app.engine.importers import import_checkpoint

                return import_checkpoint(request, report)
            case ClaimDevices(names=names):
                self._claimed = names
                if self._shelf is not None:  # else there is nothing on any device
                    self._shelf.sharing.claim(names)
                return DevicesClaimed(names)

    def _open_shelf(self) -> "Shelf":
        if self._shelf is None:
            from app.engine.shelf import Shelf

            self._shelf = Shelf(device=self._device, execution=self._execution)
            self._shelf.sharing.claim(self._claimed)
            self._shelf.sharing.tell = lambda body: self._report(body)
        return self._shelf


def _warm(request: Warm, shelf: "Shelf") -> Warmed:
    """Load the checkpoint and describe one blank picture, so that lazy set-up is over."""
    import numpy as np

    from app.card import read_card

    if read_card(request.checkpoint).task == "object":
        from app.engine.objects import warm_up

        finder = shelf.object_checkpoint(request.checkpoint)
        warm_up(finder)
        return Warmed(request.checkpoint, finder.card, finder.device.name)
    checkpoint = shelf.checkpoint(request.checkpoint)
    view = checkpoint.card.query_view
    height, width = checkpoint.card.sizes[view]
    checkpoint.describe(np.zeros((1, height, width, 3), np.uint8), view)
    return Warmed(request.checkpoint, checkpoint.card, checkpoint.computed_by)


def _open_gallery(request: OpenGallery, shelf: "Shelf") -> GalleryOpened:
    gallery = shelf.gallery(request.gallery)
    if request.checkpoint is not None:
        checkpoint = shelf.checkpoint(request.checkpoint)
        gallery.require(checkpoint.sha256, checkpoint.card.title)
    return GalleryOpened(request.gallery, gallery.manifest, gallery.note)
