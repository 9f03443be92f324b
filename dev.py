"""The commands of this repository: ``python3 dev.py run``, ``test`` and ``package``.

Each first brings this folder into order: a virtual environment with the pinned packages and the
system libraries that Qt needs. What is in order already is left alone, so a second call starts
at once. Standard library only; the rest of the program is not imported.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python is told so here, in a sentence
    sys.exit("Skyfix needs Python 3.11 or newer; type: python3.11 dev.py run")

import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WINDOWS = sys.platform == "win32"
ROOT = Path(__file__).resolve().parent

# A library that Qt or QtWebEngine is linked to, and the Debian or Ubuntu package that holds it,
# newest name first (Ubuntu 24.04 renamed some to end in t64).
_TABLE = ROOT / "packaging" / "qt_libraries.json"
LIBRARIES: Mapping[str, Sequence[str]] = json.loads(_TABLE.read_text(encoding="utf-8"))


class Stop(Exception):
    """Something the reader must mend: a sentence, and the command to type."""

    def __init__(self, title: str, command: str = "") -> None:
        super().__init__(title)
        self.command = command


@dataclass(frozen=True, slots=True)
class Checkout:
    """This folder, and where its virtual environment keeps things."""

    root: Path

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / ("Scripts/python.exe" if WINDOWS else "bin/python")

    @property
    def stamp(self) -> Path:
        """Exists while what is installed is what ``wanted`` says."""
        return self.venv / "skyfix-installed.txt"


def say(text: str) -> None:
    print(f"dev: {text}", flush=True)


def typed(command: Sequence[str | Path]) -> str:
    """The command as a user would type it."""
    words = [str(word) for word in command]
    return subprocess.list2cmdline(words) if WINDOWS else shlex.join(words)


def call(
    command: Sequence[str | Path],
    *,
    failed: str,
    hint: str = "",
    more: Mapping[str, str] | None = None,
) -> None:
    """Raises Stop with ``failed`` and what to type. ``more`` is added to the environment."""
    try:
        words = [str(word) for word in command]
        code = subprocess.run(words, check=False, env={**os.environ, **(more or {})}).returncode
    except OSError as error:
        raise Stop(f"{failed} ({error.strerror})", hint or typed(command)) from error
    if code != 0:
        raise Stop(f"{failed} (exit code {code})", hint or typed(command))


# --- the virtual environment -------------------------------------------------


def fault(venv: Path, python: Path) -> str:
    """Why this virtual environment cannot be used; empty if it can."""
    if not python.exists():  # also a link to a Python that is gone
        return "its Python is gone"
    made_as = _made_as(venv)
    if made_as is not None and os.path.realpath(made_as) != os.path.realpath(venv):
        return f"it was made as {made_as} and moved"
    probe = (
        "import sys, importlib.util as u;"
        "print(sys.version_info >= (3, 11), u.find_spec('pip') is not None)"
    )
    try:
        answer = subprocess.run(
            [python, "-I", "-c", probe], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"its Python does not start ({error.strerror})"
    if answer.returncode != 0:
        return "its Python does not start"
    return {"True True": "", "True False": "it has no pip"}.get(
        answer.stdout.strip(), "its Python is older than 3.11"
    )


def _made_as(venv: Path) -> Path | None:
    """The folder that ``python -m venv`` was given; None where it does not say."""
    try:
        lines = (venv / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        made = re.fullmatch(r"command = .* -m venv (?:--\S+ )*(.+)", line)
        if made:
            return Path(made[1])
    return None


def make_venv(checkout: Checkout) -> None:
    """Makes ``.venv``, and again if the one that is there cannot be used."""
    if checkout.venv.exists():
        reason = fault(checkout.venv, checkout.python)
        if not reason:
            return
        say(f"removing .venv: {reason}")
        shutil.rmtree(checkout.venv)
    base = getattr(sys, "_base_executable", None) or sys.executable
    if importlib.util.find_spec("ensurepip") is None and shutil.which("apt-get"):
        # Debian and Ubuntu keep it apart from Python.
        apt_install(_venv_packages, needed="a virtual environment needs Python's ensurepip")
    say(f"making .venv with Python {sys.version.split()[0]}")
    try:
        call(
            [base, "-m", "venv", checkout.venv],
            failed="the virtual environment could not be made",
            hint="" if shutil.which("apt-get") is None else apt_line(_venv_packages()),
        )
    except (Stop, KeyboardInterrupt):
        shutil.rmtree(checkout.venv, ignore_errors=True)  # half of one would be taken for whole
        raise


def _venv_packages() -> Sequence[str]:
    own = f"python3.{sys.version_info.minor}-venv"
    return [own if apt_knows(own) else "python3-venv"]


# --- the packages ------------------------------------------------------------


def wanted(checkout: Checkout) -> str:
    """A hash of all that decides what is installed: not the tools' settings in pyproject."""
    project = tomllib.loads((checkout.root / "pyproject.toml").read_text(encoding="utf-8"))
    decides = {
        "project": project["project"],
        "build": project["build-system"],
        "constraints": (checkout.root / "constraints.txt").read_text(encoding="utf-8"),
        "folder": str(checkout.root),
        "python": _read(checkout.venv / "pyvenv.cfg"),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def install(checkout: Checkout) -> None:
    """Installs the pinned packages and this project, if anything has changed since."""
    mark = wanted(checkout)
    if _read(checkout.stamp) == mark:
        return
    checkout.stamp.unlink(missing_ok=True)  # an interrupted install is not taken for whole
    say("installing the pinned packages (the first time takes minutes)")
    project = tomllib.loads((checkout.root / "pyproject.toml").read_text(encoding="utf-8"))
    pip: list[str | Path] = [checkout.python, "-m", "pip", "install", "-qq"]
    pip += ["--disable-pip-version-check", "--constraint", checkout.root / "constraints.txt"]
    failed = "the packages could not be installed; is the network there? Try again with"
    call([*pip, *project["build-system"]["requires"]], failed=failed)
    call(
        [*pip, "--no-build-isolation", "--editable", f"{checkout.root}[dev]"],
        failed=failed,
        more={"PYTHONWARNINGS": "ignore"},  # setuptools explains to authors what "editable" means
    )
    partial = checkout.stamp.with_suffix(".partial")
    partial.write_text(mark, encoding="utf-8")
    partial.replace(checkout.stamp)


# --- the system's libraries --------------------------------------------------


def qt_files(checkout: Checkout, platform: str) -> list[Path]:
    """The parts of Qt that must load: the map's engine and the plugin of this display."""
    folders = sorted(checkout.venv.glob("lib*/python*/site-packages/PySide6/Qt"))
    names = ("libexec/QtWebEngineProcess", f"plugins/platforms/libq{platform}.so")
    files = [folder / name for folder in folders for name in names]
    return [file for file in files if file.is_file()]


def missing_libraries(files: Iterable[Path]) -> list[str]:
    """Sonames that these files need and the system does not have. Asks the system's ``ldd``."""
    if shutil.which("ldd") is None:
        return []
    gone: set[str] = set()
    for file in files:
        listing = subprocess.run(["ldd", file], capture_output=True, text=True, check=False)
        gone.update(not_found(listing.stdout))
    return sorted(gone)


def not_found(listing: str) -> list[str]:
    """The libraries that an ``ldd`` listing could not find."""
    return [line.split()[0] for line in listing.splitlines() if line.endswith("=> not found")]


def debian_packages(libraries: Iterable[str], known: Callable[[str], bool]) -> list[str]:
    """The packages to install; ``known`` says whether this release has a package of that name."""
    chosen: set[str] = set()
    for library in libraries:
        names = LIBRARIES.get(library, [])
        chosen.update(next(([name] for name in names if known(name)), names[-1:]))
    return sorted(chosen)


def apt_knows(package: str) -> bool:
    answer = subprocess.run(
        ["apt-cache", "policy", package], capture_output=True, text=True, check=False
    )
    return "Candidate:" in answer.stdout and "Candidate: (none)" not in answer.stdout


def apt_line(packages: Sequence[str]) -> str:
    sudo = "" if is_root() else "sudo "
    return f"{sudo}apt-get update && {sudo}apt-get install -y {' '.join(packages)}"


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def become_root() -> list[str] | None:
    """What to put before a command so that it runs as root without asking; None: nothing."""
    if is_root():
        return []
    if shutil.which("sudo") is None:
        return None
    free = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return ["sudo", "-n"] if free.returncode == 0 else None


def apt_install(packages: Callable[[], Sequence[str]], *, needed: str) -> None:
    """Installs what ``packages`` names where that needs no question; else says what to type."""
    before = become_root()
    if before is None:
        raise Stop(needed, apt_line(packages()))
    apt = [*before, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    apt += ["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"]
    say(f"{needed}: installing")
    hint = apt_line(packages())
    call([*apt, "update"], failed="the list of packages could not be read", hint=hint)
    wanted_now = packages()
    call(
        [*apt, "install", "-y", "--no-install-recommends", *wanted_now],
        failed=f"{needed}, and apt-get failed",
        hint=apt_line(wanted_now),
    )


def system_libraries(checkout: Checkout, platform: str) -> None:
    """Installs what Qt misses where that needs no question; else says what to type."""
    if not sys.platform.startswith("linux"):
        return  # the wheels for Windows and macOS hold all they need
    files = qt_files(checkout, platform)
    missing = missing_libraries(files)
    if not missing:
        return
    needed = f"Qt needs libraries that are missing: {', '.join(missing)}"
    if shutil.which("apt-get") is None:
        raise Stop(needed, _other(missing))
    apt_install(lambda: debian_packages(missing, apt_knows), needed=needed)
    still = missing_libraries(files)
    if still:
        packages = apt_line(debian_packages(missing, apt_knows))
        raise Stop(f"after installing, Qt still misses {', '.join(still)}", packages)


def _other(libraries: Sequence[str]) -> str:
    """Fedora's and SUSE's package tools find a package by the library in it."""
    wanted_by_name = [f"{name}()(64bit)" for name in libraries]
    for tool in ("dnf", "zypper"):
        if shutil.which(tool):
            return typed(["sudo", tool, "install", *wanted_by_name])
    return "install the packages of your distribution that hold these libraries"


# --- the commands ------------------------------------------------------------


def prepare(checkout: Checkout, platform: str) -> None:
    make_venv(checkout)
    install(checkout)
    system_libraries(checkout, platform)


def display(environ: Mapping[str, str]) -> str:
    """The Qt platform plugin that this session's display needs. Raises Stop without a display."""
    asked = environ.get("QT_QPA_PLATFORM", "")
    if asked:
        return asked.partition(":")[0].partition(";")[0].partition("-")[0]
    if not sys.platform.startswith("linux") or environ.get("DISPLAY"):
        return "xcb"
    if environ.get("WAYLAND_DISPLAY"):
        return "wayland"
    raise Stop(
        "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set); "
        "start this from a desktop, or without a window",
        "QT_QPA_PLATFORM=offscreen python3 dev.py run",
    )


def sandbox_refused() -> str:
    """Why the map's sandbox cannot work on this system; empty if it can."""
    if is_root():
        return "this is root"
    switch = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if switch.is_file() and switch.read_text(encoding="ascii").strip() == "1":
        return "this system keeps user namespaces from programs it does not know"
    return ""


def run(checkout: Checkout, arguments: Sequence[str]) -> int:
    """Opens the window on the demo case."""
    platform = display(os.environ)
    prepare(checkout, platform)
    environ = dict(os.environ)
    refused = sandbox_refused() if sys.platform.startswith("linux") else ""
    if refused and "QTWEBENGINE_DISABLE_SANDBOX" not in environ:
        say(f"the map runs without Chromium's sandbox: {refused} (its pages are our own, offline)")
        environ["QTWEBENGINE_DISABLE_SANDBOX"] = "1"
    say("opening the window on the demo case")
    demo = () if any(word.startswith("--demo") for word in arguments) else ("--demo",)
    command = [str(checkout.python), "-m", "app", *arguments, *demo]
    return subprocess.run(command, check=False, env=environ).returncode


def test(checkout: Checkout, arguments: Sequence[str]) -> int:
    """All checks; with arguments, pytest alone with these."""
    prepare(checkout, "offscreen")
    python = str(checkout.python)
    tools = str(checkout.python.parent)
    environ = {**os.environ, "PATH": tools + os.pathsep + os.environ.get("PATH", "")}
    steps: list[tuple[str, list[str]]] = [
        ("ruff check", [python, "-m", "ruff", "check", "."]),
        ("ruff format", [python, "-m", "ruff", "format", "--check", "."]),
        ("mypy", [python, "-m", "mypy"]),
        ("import contracts", [str(checkout.python.parent / "lint-imports")]),
        ("pytest", [python, "-m", "pytest", *arguments]),
    ]
    lines = []
    for name, command in steps[-1:] if arguments else steps:
        say(f"{name}: {typed(command)}")
        started = time.monotonic()
        code = subprocess.run(command, check=False, env=environ, cwd=checkout.root).returncode
        lines.append(f"{name:<18}{time.monotonic() - started:7.1f} s  {'failed' if code else 'ok'}")
        if code != 0:
            print("\n".join(lines))
            raise Failed(name, typed(command), code)
    print("\n".join(lines), flush=True)
    return 0


class Failed(Stop):
    """A check said no."""

    def __init__(self, name: str, command: str, code: int) -> None:
        super().__init__(f"{name} failed; mend it and try it alone with", command)
        self.code = code


def package(checkout: Checkout, arguments: Sequence[str]) -> int:
    """Builds the program and its installers into ``dist``; see packaging/README.md."""
    smoke = "--smoke" in arguments  # opens a window under Xvfb
    prepare(checkout, "xcb" if smoke else "offscreen")
    building_tools(smoke=smoke)
    command = [str(checkout.python), str(checkout.root / "packaging" / "build.py"), *arguments]
    return subprocess.run(command, check=False, cwd=checkout.root).returncode


def building_tools(*, smoke: bool) -> None:
    """Installs what building needs and Debian may lack; elsewhere build.py says what it misses."""
    if shutil.which("apt-get") is None:
        return
    tools = {"objdump": "binutils", "zstd": "zstd", **({"Xvfb": "xvfb"} if smoke else {})}
    missing = {tool: package for tool, package in tools.items() if shutil.which(tool) is None}
    if library := absent_libpython():
        missing[library] = f"libpython3.{sys.version_info.minor}"
    if missing:
        apt_install(lambda: list(missing.values()), needed=f"building needs {', '.join(missing)}")


def absent_libpython() -> str:
    """Python's shared library, which PyInstaller packs and Debian keeps apart; or nothing."""
    name = str(sysconfig.get_config_var("INSTSONAME") or "")
    own = Path(str(sysconfig.get_config_var("LIBDIR") or ""), name)
    return name if ".so" in name and not own.is_file() else ""


COMMANDS: Mapping[str, Callable[[Checkout, Sequence[str]], int]] = {
    "run": run,
    "test": test,
    "package": package,
}
USAGE = """usage: python3 dev.py run  [arguments of skyfix]   open the window on the demo case
       python3 dev.py test [arguments of pytest]   run every check, or pytest alone
       python3 dev.py package [--smoke]            build the program and its installers, try it"""


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        print(USAGE)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    try:
        return COMMANDS[arguments[0]](Checkout(ROOT), arguments[1:])
    except Failed as failed:
        code = failed.code
        problem: Stop = failed
    except Stop as stop:
        code, problem = 1, stop
    except KeyboardInterrupt:
        return 130
    print(f"dev: {problem}\n     {problem.command}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
