"""Training in the background: a process that outlives the window, and one that sees how it ends.

``start`` puts a keeper to work, which starts the training, waits for it and writes down its exit
code: nobody else could say that a run was killed, and by what.
"""

import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from app.engine.run_control import queue, write_exit
from app.engine.run_store import RunStore
from app.engine.runs import (
    CONFIG,
    LAST,
    OUTPUT,
    read_config,
    refuse_other_settings,
    write_config,
)
from app.errors import UserError
from app.train_request import Train


def start(run: Train, store: RunStore | None = None) -> int:
    """Train in the background; returns the keeper's process id. The run may be a new one, or one
    to go on with. Its state is ``queued`` until the training begins."""
    if (run.run_dir / LAST).is_file() and (run.run_dir / CONFIG).is_file():
        refuse_other_settings(run.run_dir, asdict(read_config(run.run_dir)), asdict(run))
    queue(run.run_dir)
    write_config(run)
    (store or RunStore()).add(run.run_dir)
    return _detached([*_program(), "runs", "keep", str(run.run_dir)], run.run_dir)


def keep(run_dir: Path) -> int:
    """The keeper: train the run in this folder in a process of its own; returns its exit code."""
    if not (run_dir / CONFIG).is_file():
        raise UserError(f"{run_dir} holds no run", "Name a folder with a config.json.")
    command = [*_program(), "train", "--config", str(run_dir / CONFIG)]
    with (run_dir / OUTPUT).open("ab") as output:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        ).returncode
    write_exit(run_dir, code)
    return code


def _program() -> list[str]:
    """This program's command, frozen or not."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    return [sys.executable, "-m", "app"]


def _detached(command: list[str], run_dir: Path) -> int:
    """A process with no ties to this one: closing the window or its terminal does not end it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parents[2]
    where = None if getattr(sys, "frozen", False) else root
    with (run_dir / OUTPUT).open("ab") as output:
        flags, session = 0, True
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
            session = False
        child = subprocess.Popen(
            command,
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            creationflags=flags,
            start_new_session=session,
        )
    # Somebody must ask for its end, or it stays in the table of processes until we end.
    threading.Thread(target=child.wait, daemon=True).start()
    return child.pid
