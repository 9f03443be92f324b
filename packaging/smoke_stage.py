"""Where a built program is tried: a user, a home, a display and a network of its own, and a watch.

The watch ends a program that starts itself again and again, finds processes that outlive their
command, and files that were written where a program has no business.
"""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
LINUX = sys.platform.startswith("linux")
MOST_PROCESSES = 24  # the window with its engine, Chromium's and a training have eleven
HOME = "Jürgen Ångström Обзор 地図 בית"
NOBODY = 65534
SHARED_PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/var/lock", "/var/cache", "/opt")
LINGER_S = 15


class Failed(Exception):
    """What is wrong with the program, in a sentence."""


def executable_of(program: Path) -> Path:
    """The command-line program in a built folder, on any system."""
    for name in ("skyfix-cli.exe", "skyfix", "Contents/MacOS/skyfix"):
        if (program / name).is_file():
            return program / name
    raise SystemExit(f"smoke: {program} holds no program; type: python3 dev.py package")


class Stage:
    def __init__(self, program: Path, *, needs_display: bool) -> None:
        self.program, self._needs_display = program, needs_display
        inside = program.parent / "_internal"
        self.resources = (inside if inside.is_dir() else program.parents[1] / "Resources") / (
            "resources"
        )
        self._is_other = LINUX and os.geteuid() == 0 and shutil.which("setpriv") is not None
        self._display: subprocess.Popen[bytes] | None = None
        self.environ: dict[str, str] = {}

    @property
    def words(self) -> str:
        who = "a user of its own" if self._is_other else "this user"
        net = "no network" if self._without_net else "the network was left"
        shown = self.environ.get("DISPLAY") or self.environ.get("QT_QPA_PLATFORM", "the desktop")
        return f"{self.program}, {who}, {net}, display {shown}"

    def __enter__(self) -> "Stage":
        # Not in a folder of the caller's: another user could not reach it.
        self._whole = Path(tempfile.mkdtemp(prefix="skyfix-smoke-", dir="/tmp" if LINUX else None))
        self._whole.chmod(0o755)
        home = self._whole / HOME
        self.folder = home / "empty folder"
        for name in ("", "empty folder", "tmp", "run"):
            (home / name).mkdir()
            self.own(home / name)
        (home / "run").chmod(0o700)
        self._without_net = self._net_can_go()
        self.environ = self._environment(home)
        if LINUX and self._needs_display:
            self._open_display()
        self._before = self._listing()
        self._started = time.time()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_all()
        if self._display is not None:
            self._display.terminate()
            self._display.wait()
        shutil.rmtree(self._whole, ignore_errors=True)

    # --- what the program finds ---

    def _environment(self, home: Path) -> dict[str, str]:
        empty = self._whole / "no programs"
        empty.mkdir()
        if not LINUX:
            kept = ("SYSTEMROOT", "WINDIR", "TEMP", "TMP", "TMPDIR", "LANG", "NUMBER_OF_PROCESSORS")
            own = {name: os.environ[name] for name in kept if name in os.environ}
            return {**own, "PATH": str(empty), "SKYFIX_HOME": str(home / "skyfix")}
        return {
            "PATH": str(empty),
            "HOME": str(home),
            "USER": "stranger",
            "LANG": "C.UTF-8",
            "TMPDIR": str(home / "tmp"),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "QT_QPA_PLATFORM": "offscreen",
        }

    def _open_display(self) -> None:
        server = shutil.which("Xvfb")
        if server is None:
            return
        reading, writing = os.pipe()
        command = [server, "-displayfd", str(writing), "-screen", "0", "1600x1000x24", "-ac"]
        self._display = subprocess.Popen(
            [*command, "-nolisten", "tcp"], pass_fds=(writing,), stderr=subprocess.DEVNULL
        )
        os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            number = answer.readline().decode("ascii").strip()
        if number:
            del self.environ["QT_QPA_PLATFORM"]
            self.environ["DISPLAY"] = f":{number}"

    def _net_can_go(self) -> bool:
        command = shutil.which("unshare")
        if not LINUX or command is None or not self._is_other:
            return False
        return subprocess.run([command, "--net", "true"], check=False).returncode == 0

    def _before_it(self) -> list[str]:
        words: list[str] = []
        if self._without_net:
            words += [str(shutil.which("unshare")), "--net"]
        if self._is_other:
            words += [str(shutil.which("setpriv")), f"--reuid={NOBODY}", f"--regid={NOBODY}"]
            words += ["--clear-groups"]
        return words

    def own(self, path: Path) -> None:
        """Give a file to the user that the program runs as."""
        if self._is_other:
            os.chown(path, NOBODY, NOBODY)

    # --- running ---

    def run(self, *words: str, limit_s: float, code: int = 0, leaves: bool = False) -> str:
        """What the program printed. Raises Failed unless it ends in time with this code.

        ``leaves``: it may leave processes behind; else that is a fault.
        """
        process = subprocess.Popen(
            [*self._before_it(), str(self.program), *words],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=LINUX,
        )
        watch = _Watch(self)
        watch.start()
        try:
            said, complaints = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.end_all()
            process.kill()
            _, complaints = process.communicate()
            raise Failed(f"{words[0]} took over {limit_s:.0f} s: {_end_of(complaints)}") from None
        finally:
            watch.end()
        if watch.most > MOST_PROCESSES:
            raise Failed(f"{words[0]} started {watch.most} processes: it starts itself again")
        if process.returncode != code:
            raise Failed(f"{words[0]} ended with {process.returncode}: {_end_of(complaints)}")
        if not leaves:
            self.wait(lambda: not self.alive(), f"{words[0]}'s processes to end", LINGER_S)
        return said if code == 0 else said + complaints

    def from_source(self, *words: str, limit_s: float) -> str | None:
        """What this checkout prints; None where this Python has not the packages for it."""
        there = subprocess.run(
            [sys.executable, "-c", "import torch, rasterio, PySide6"],
            check=False,
            capture_output=True,
        )
        if there.returncode != 0:
            return None
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run(
                [sys.executable, "-m", "app", *words],
                cwd=home,
                env={**environ, "SKYFIX_HOME": home},
                capture_output=True,
                text=True,
                check=False,
                timeout=limit_s,
            )
        if done.returncode != 0:
            raise Failed(f"from source, {words[0]} fails: {_end_of(done.stderr)}")
        return done.stdout

    def wait(self, holds: Callable[[], bool], what: str, limit_s: float = 300) -> None:
        end = time.monotonic() + limit_s
        while not holds():
            if time.monotonic() > end:
                left = [_command(pid) for pid in self.alive()]
                raise Failed(f"waited {limit_s:.0f} s in vain for {what}; alive: {left}")
            time.sleep(0.2)

    def alive(self) -> list[int]:
        """Processes whose program lies in the folder under trial; Linux only."""
        if not LINUX:
            return []
        home = str(self.program.parent) + os.sep
        return [pid for pid in _pids() if _executable(pid).startswith(home)]

    def end_all(self) -> None:
        for pid in self.alive():
            with suppress(ProcessLookupError):  # it was quicker
                os.kill(pid, signal.SIGKILL)

    # --- traces ---

    def traces(self) -> dict[str, object]:
        """Raises Failed for files outside the user's folders, and for changes of the program."""
        after = self._listing()
        changed = [name for name in after if self._before.get(name) != after[name]]
        changed += [name for name in self._before if name not in after]
        if changed:
            raise Failed(f"the program's folder has changed: {sorted(changed)[:5]}")
        strays = [str(path) for path in self._strays()]
        if strays:
            raise Failed(f"files were left outside the user's folders: {strays[:5]}")
        kept = sum(1 for _ in (self._whole / HOME).rglob("*"))
        return {
            "program's files": f"{len(after)}, unchanged",
            "elsewhere": "nothing" if self._is_other else "not looked at: the user is this one",
            "in the home": f"{kept} entries",
        }

    def _listing(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in self.program.parent.rglob("*"):
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode):
                found[str(path)] = status.st_size, status.st_mtime_ns
        return found

    def _strays(self) -> Iterator[Path]:
        """New files of the trial's user where everybody, or nobody, should write."""
        if not self._is_other:
            return
        for place in SHARED_PLACES:
            for folder, folders, files in os.walk(place):
                if Path(folder) == self._whole:
                    folders.clear()
                    continue
                for name in (*folders, *files):
                    path = Path(folder, name)
                    try:
                        status = path.lstat()
                    except FileNotFoundError:
                        continue
                    if status.st_uid == NOBODY and status.st_mtime > self._started:
                        yield path


class _Watch(threading.Thread):
    """Counts the program's processes, and ends them all if they grow without end."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self._stage, self._is_over = stage, threading.Event()
        self.most = 0

    def run(self) -> None:
        while not self._is_over.wait(0.25):
            alive = self._stage.alive()
            self.most = max(self.most, len(alive))
            if len(alive) > MOST_PROCESSES:
                self._stage.end_all()

    def end(self) -> None:
        self._is_over.set()
        self.join()


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _executable(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:  # it has ended, or is the system's
        return ""


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return f"{pid} (ended)"
    return f"{pid} " + b" ".join(words[:4]).decode(errors="replace")[:120]


def _end_of(text: str) -> str:
    return " / ".join(text.strip().splitlines()[-4:])[-600:]
