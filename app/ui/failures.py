"""The log file, and what happens to an exception that nobody expected."""

import logging
import platform
import sys
import traceback
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from types import TracebackType

from app.paths import log_dir
from app.ui.notices import Notice

log = logging.getLogger("app")

LOG_NAME = "skyfix.log"
LOG_BYTES = 1 << 20
LOGS_KEPT = 3


def start_log() -> tuple[logging.Handler | None, str]:
    """The handler, and a sentence for the user if there can be no log file."""
    try:
        handler = RotatingFileHandler(
            log_dir() / LOG_NAME, maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8"
        )
    except OSError as error:
        return None, f"There is no log of this session: {error.filename}: {error.strerror}."
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    return handler, ""


def stop_log(handler: logging.Handler | None) -> None:
    if handler is not None:
        log.removeHandler(handler)
        handler.close()


def catch_unexpected(say: Callable[[Notice], None]) -> Callable[[], None]:
    """Log what nobody caught and tell the user once a kind; the answer undoes this."""
    before = sys.excepthook
    told: set[str] = set()

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            before(kind, error, trace)
            return
        words = "".join(traceback.format_exception(kind, error, trace))
        log.error("unexpected:\n%s", words)
        last = words.strip().splitlines()[-1]
        if last not in told:  # a broken paint event would tell it sixty times a second
            told.add(last)
            say(
                Notice(
                    f"Something went wrong in the window ({last[:200]})",
                    "Your photos and galleries are as they were. Copy the report and send it "
                    "to whoever looks after Skyfix here.",
                    "problem",
                    report=report_text(words),
                )
            )

    sys.excepthook = hook

    def undo() -> None:
        sys.excepthook = before

    return undo


def report_text(trace: str) -> str:
    return f"Skyfix on {platform.platform()}, Python {platform.python_version()}\n\n{trace}"
