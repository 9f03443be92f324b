"""The set-up is tried on folders made here; nothing is downloaded and nothing installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dev

LDD = """\
\tlinux-vdso.so.1 (0x00007ffd)
\tlibxcb-icccm.so.4 => not found
\tlibnss3.so => /lib/x86_64-linux-gnu/libnss3.so (0x00007f)
\tlibasound.so.2 => not found
"""
PYPROJECT = """\
[project]
name = "skyfix"
dependencies = ["numpy"]
[build-system]
requires = ["setuptools>=77"]
[tool.ruff]
line-length = 100
"""


@pytest.fixture
def checkout(tmp_path: Path) -> dev.Checkout:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "constraints.txt").write_text("numpy==2.4.6\n")
    return dev.Checkout(tmp_path)


@pytest.fixture
def calls(monkeypatch) -> list[list[str]]:
    """The commands that would have run; each succeeds."""
    made: list[list[str]] = []

    def call(command, **_: object) -> None:
        made.append([str(word) for word in command])

    monkeypatch.setattr(dev, "call", call)
    return made


def bare_venv(checkout: dev.Checkout) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout.venv], check=True)
    pip = next(checkout.venv.glob("[lL]ib*/**/site-packages")) / "pip"
    pip.mkdir()
    (pip / "__init__.py").touch()


# --- the virtual environment


def test_a_sound_environment_is_left_alone(checkout: dev.Checkout, calls):
    bare_venv(checkout)
    dev.make_venv(checkout)
    assert calls == []
    assert checkout.python.exists()


def test_a_missing_environment_is_made(checkout: dev.Checkout, calls):
    dev.make_venv(checkout)
    assert calls[0][-3:] == ["-m", "venv", str(checkout.venv)]


def test_an_environment_whose_python_is_gone_is_made_again(checkout: dev.Checkout, calls, capsys):
    bare_venv(checkout)
    checkout.python.unlink()
    dev.make_venv(checkout)
    assert not checkout.venv.exists()
    assert len(calls) == 1
    assert "its Python is gone" in capsys.readouterr().out


def test_an_environment_that_was_moved_is_not_sound(checkout: dev.Checkout):
    bare_venv(checkout)
    moved = dev.Checkout(checkout.root / "elsewhere")
    moved.root.mkdir()
    checkout.venv.rename(moved.venv)
    assert "moved" in dev.fault(moved.venv, moved.python)


def test_an_environment_without_pip_is_not_sound(checkout: dev.Checkout):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout.venv], check=True)
    assert dev.fault(checkout.venv, checkout.python) == "it has no pip"


@pytest.mark.skipif(os.name == "nt", reason="a script cannot stand in for python.exe")
def test_an_environment_whose_python_does_not_start_is_not_sound(checkout: dev.Checkout):
    bare_venv(checkout)
    checkout.python.unlink()
    checkout.python.write_text("#!/bin/sh\nexit 3\n")
    checkout.python.chmod(0o755)
    assert dev.fault(checkout.venv, checkout.python) == "its Python does not start"


@pytest.mark.parametrize("end", [dev.Stop("no ensurepip"), KeyboardInterrupt()])
def test_half_an_environment_is_not_left_behind(
    checkout: dev.Checkout, monkeypatch, end: BaseException
):
    def interrupted(command, **_: object) -> None:
        checkout.venv.mkdir()
        raise end

    monkeypatch.setattr(dev, "call", interrupted)
    with pytest.raises(type(end)):
        dev.make_venv(checkout)
    assert not checkout.venv.exists()


# --- the packages


def test_packages_are_installed_once(checkout: dev.Checkout, calls):
    checkout.venv.mkdir()
    dev.install(checkout)
    assert len(calls) == 2
    assert all("--constraint" in call for call in calls)
    dev.install(checkout)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("file", "text", "again"),
    [
        ("constraints.txt", "numpy==2.4.7\n", True),
        ("pyproject.toml", PYPROJECT.replace("numpy", "scipy"), True),
        ("pyproject.toml", PYPROJECT.replace("77", "80"), True),
        ("pyproject.toml", PYPROJECT.replace("100", "80"), False),
    ],
    ids=["pin", "dependency", "build tool", "setting of a tool"],
)
def test_packages_are_installed_again_only_if_what_decides_them_changed(
    checkout: dev.Checkout, calls, file: str, text: str, again: bool
):
    checkout.venv.mkdir()
    dev.install(checkout)
    calls.clear()
    (checkout.root / file).write_text(text)
    dev.install(checkout)
    assert bool(calls) == again


def test_another_python_installs_again(checkout: dev.Checkout, calls):
    checkout.venv.mkdir()
    (checkout.venv / "pyvenv.cfg").write_text("version = 3.11.7")
    dev.install(checkout)
    calls.clear()
    (checkout.venv / "pyvenv.cfg").write_text("version = 3.12.1")
    dev.install(checkout)
    assert len(calls) == 2


def test_an_interrupted_installation_is_tried_again(checkout: dev.Checkout, calls, monkeypatch):
    checkout.venv.mkdir()
    dev.install(checkout)
    (checkout.root / "constraints.txt").write_text("numpy==2.4.7\n")

    def broken(command, **_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dev, "call", broken)
        with pytest.raises(KeyboardInterrupt):
            dev.install(checkout)
    (checkout.root / "constraints.txt").write_text("numpy==2.4.6\n")  # as at the first, whole one
    calls.clear()
    dev.install(checkout)
    assert len(calls) == 2


def test_a_command_that_fails_is_given_to_the_reader_to_type():
    command = [sys.executable, "-c", "import sys; sys.exit(7)"]
    with pytest.raises(dev.Stop, match=r"no luck \(exit code 7\)") as caught:
        dev.call(command, failed="no luck")
    assert caught.value.command == dev.typed(command)


def test_a_command_that_is_not_there_is_told_and_not_raised_as_a_bug():
    with pytest.raises(dev.Stop, match="no luck"):
        dev.call(["no-such-program-anywhere"], failed="no luck")


# --- the system's libraries


def test_libraries_that_ldd_cannot_find_are_read_from_its_listing():
    assert dev.not_found(LDD) == ["libxcb-icccm.so.4", "libasound.so.2"]


@pytest.mark.parametrize(
    ("released", "package"),
    [({"libasound2t64"}, "libasound2t64"), ({"libasound2"}, "libasound2"), (set(), "libasound2")],
    ids=["newer release", "older release", "lists not read"],
)
def test_renamed_packages_go_by_the_name_that_this_release_has(released: set[str], package: str):
    assert dev.debian_packages(["libasound.so.2"], released.__contains__) == [package]


def test_a_package_that_holds_several_libraries_is_named_once():
    assert dev.debian_packages(["libnss3.so", "libsmime3.so"], lambda _: True) == ["libnss3"]


def linux_without(monkeypatch, *, tools: set[str]) -> None:
    monkeypatch.setattr(dev.sys, "platform", "linux")
    monkeypatch.setattr(dev, "missing_libraries", lambda _: ["libxcb-icccm.so.4"])
    monkeypatch.setattr(dev.shutil, "which", lambda name: name if name in tools else None)
    monkeypatch.setattr(dev, "apt_knows", lambda _: True)


def test_without_rights_the_command_to_type_is_given(checkout: dev.Checkout, monkeypatch):
    linux_without(monkeypatch, tools={"apt-get"})
    monkeypatch.setattr(dev, "is_root", lambda: False)
    with pytest.raises(dev.Stop, match=r"libxcb-icccm\.so\.4") as caught:
        dev.system_libraries(checkout, "xcb")
    assert caught.value.command == ("sudo apt-get update && sudo apt-get install -y libxcb-icccm4")


def test_on_fedora_the_package_is_asked_for_by_the_library_in_it(
    checkout: dev.Checkout, monkeypatch
):
    linux_without(monkeypatch, tools={"dnf"})
    with pytest.raises(dev.Stop) as caught:
        dev.system_libraries(checkout, "xcb")
    assert caught.value.command == "sudo dnf install 'libxcb-icccm.so.4()(64bit)'"


def test_as_root_the_missing_libraries_are_installed(checkout: dev.Checkout, calls, monkeypatch):
    linux_without(monkeypatch, tools={"apt-get"})
    monkeypatch.setattr(dev, "is_root", lambda: True)
    answers = iter([["libxcb-icccm.so.4"], []])
    monkeypatch.setattr(dev, "missing_libraries", lambda _: next(answers))
    dev.system_libraries(checkout, "xcb")
    assert [call[-1] for call in calls] == ["update", "libxcb-icccm4"]


def test_an_environment_gets_what_debian_keeps_apart_from_python(
    checkout: dev.Checkout, calls, monkeypatch
):
    linux_without(monkeypatch, tools={"apt-get"})
    monkeypatch.setattr(dev, "is_root", lambda: True)
    monkeypatch.setattr(dev.importlib.util, "find_spec", lambda _: None)
    dev.make_venv(checkout)
    own = f"python3.{sys.version_info.minor}-venv"
    assert [call[-1] for call in calls] == ["update", own, str(checkout.venv)]


def test_without_rights_an_environment_is_not_begun(checkout: dev.Checkout, calls, monkeypatch):
    linux_without(monkeypatch, tools={"apt-get"})
    monkeypatch.setattr(dev, "is_root", lambda: False)
    monkeypatch.setattr(dev, "apt_knows", lambda package: package == "python3-venv")
    monkeypatch.setattr(dev.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(dev.Stop, match="ensurepip") as caught:
        dev.make_venv(checkout)
    assert caught.value.command == "sudo apt-get update && sudo apt-get install -y python3-venv"
    assert not calls


OWN_LIBRARY = f"libpython3.{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("tools", "library", "smoke", "installed"),
    [
        ({"objdump", "zstd"}, "", False, []),
        ({"objdump", "zstd"}, "", True, ["xvfb"]),
        ({"Xvfb"}, "libpython.so", True, ["binutils", "zstd", OWN_LIBRARY]),
    ],
)
def test_what_building_needs_is_installed(
    calls, monkeypatch, tools: set[str], library: str, smoke: bool, installed: list[str]
):
    linux_without(monkeypatch, tools={"apt-get", *tools})
    monkeypatch.setattr(dev, "absent_libpython", lambda: library)
    monkeypatch.setattr(dev, "is_root", lambda: True)
    dev.building_tools(smoke=smoke)
    assert calls[-1][-len(installed) :] == installed if installed else not calls


def test_pythons_shared_library_is_missed_where_python_says_that_it_lies(monkeypatch, tmp_path):
    told = {"INSTSONAME": "libpython9.99.so.1.0", "LIBDIR": str(tmp_path)}
    monkeypatch.setattr(dev.sysconfig, "get_config_var", told.get)
    assert dev.absent_libpython() == "libpython9.99.so.1.0"
    (tmp_path / "libpython9.99.so.1.0").touch()
    assert dev.absent_libpython() == ""
    told["INSTSONAME"] = "libpython9.99.a"
    assert dev.absent_libpython() == ""


def test_libraries_still_missing_after_the_installation_are_told(
    checkout: dev.Checkout, calls, monkeypatch
):
    linux_without(monkeypatch, tools={"apt-get"})
    monkeypatch.setattr(dev, "is_root", lambda: True)
    with pytest.raises(dev.Stop, match=r"still misses libxcb-icccm\.so\.4"):
        dev.system_libraries(checkout, "xcb")


@pytest.mark.skipif(sys.platform != "linux", reason="the wheels of other systems hold all of Qt")
def test_every_library_of_the_system_that_qt_needs_has_a_package():
    files = dev.qt_files(dev.Checkout(dev.ROOT), "offscreen")
    if not files:
        pytest.skip("this Python is not that of the checkout's .venv")
    for name in ("xcb", "wayland"):
        files += dev.qt_files(dev.Checkout(dev.ROOT), name)[1:]
    needed = set()
    for file in files:
        dynamic = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout
        needed |= {
            line.split()[0]
            for line in dynamic.splitlines()
            if "=>" in line and str(dev.ROOT) not in line
        }
    of_every_system = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "libresolv.so.2"}
    of_every_system |= {"libgcc_s.so.1", "libstdc++.so.6", "librt.so.1"}
    direct = {
        name for name in needed if name.startswith(("libxcb", "libX", "libnss", "libwayland"))
    }
    assert files
    assert direct - of_every_system - set(dev.LIBRARIES) <= {"libXau.so.6", "libXdmcp.so.6"}


# --- the commands


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
@pytest.mark.parametrize(
    ("environ", "plugin"),
    [
        ({"DISPLAY": ":0"}, "xcb"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "wayland"),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "xcb"),
        ({"QT_QPA_PLATFORM": "offscreen"}, "offscreen"),
        ({"QT_QPA_PLATFORM": "wayland;xcb", "DISPLAY": ":0"}, "wayland"),
    ],
)
def test_the_window_s_plugin_follows_the_display(environ: dict[str, str], plugin: str):
    assert dev.display(environ) == plugin


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
def test_without_a_display_run_says_so_before_it_installs_anything(checkout, calls, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(dev.Stop, match="no display") as caught:
        dev.run(checkout, [])
    assert "offscreen" in caught.value.command
    assert calls == []


class Ran:
    """Stands in for the processes that a command starts: remembers them, ends with a code."""

    def __init__(self, codes: dict[str, int] | None = None) -> None:
        self.codes = codes or {}
        self.commands: list[list[str]] = []
        self.environs: list[dict[str, str]] = []

    def __call__(self, command, *, env, check, cwd=None) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        self.environs.append(env)
        code = next((c for word, c in self.codes.items() if word in command), 0)
        return subprocess.CompletedProcess(command, code)


@pytest.fixture
def prepared(monkeypatch) -> None:
    monkeypatch.setattr(dev, "prepare", lambda checkout, platform: None)


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        ([], ["--demo"]),
        (["a.jpg", "--safe"], ["a.jpg", "--safe", "--demo"]),
        (["--demo", "street"], ["--demo", "street"]),
        (["--demo=street"], ["--demo=street"]),
    ],
)
def test_run_opens_the_demo_and_passes_arguments_on(
    checkout, prepared, monkeypatch, arguments: list[str], passed: list[str]
):
    ran = Ran({"app": 3})
    monkeypatch.setattr(dev.subprocess, "run", ran)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    assert dev.run(checkout, arguments) == 3
    assert ran.commands[-1][1:] == ["-m", "app", *passed]


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is of no concern elsewhere")
@pytest.mark.parametrize(("refused", "value"), [("this is root", "1"), ("", None)])
def test_the_sandbox_is_off_only_where_it_cannot_work(
    checkout, prepared, monkeypatch, capsys, refused: str, value: str | None
):
    ran = Ran()
    monkeypatch.setattr(dev.subprocess, "run", ran)
    monkeypatch.setattr(dev, "sandbox_refused", lambda: refused)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.delenv("QTWEBENGINE_DISABLE_SANDBOX", raising=False)
    dev.run(checkout, [])
    assert ran.environs[-1].get("QTWEBENGINE_DISABLE_SANDBOX") == value
    assert ("sandbox" in capsys.readouterr().out) == bool(refused)


def test_test_runs_every_check_in_order(checkout, prepared, monkeypatch, capsys):
    ran = Ran()
    monkeypatch.setattr(dev.subprocess, "run", ran)
    assert dev.test(checkout, []) == 0
    tools = [" ".join(command[1:4]) or Path(command[0]).name for command in ran.commands]
    assert tools == ["-m ruff check", "-m ruff format", "-m mypy", "lint-imports", "-m pytest"]
    assert capsys.readouterr().out.count(" ok") == 5


def test_test_stops_at_the_first_check_that_fails_with_its_code(
    checkout, prepared, monkeypatch, capsys
):
    ran = Ran({"mypy": 2})
    monkeypatch.setattr(dev.subprocess, "run", ran)
    with pytest.raises(dev.Failed, match="mypy failed") as caught:
        dev.test(checkout, [])
    assert caught.value.code == 2
    assert "mypy" in caught.value.command
    assert len(ran.commands) == 3
    assert "failed" in capsys.readouterr().out


def test_arguments_of_test_go_to_pytest_alone(checkout, prepared, monkeypatch):
    ran = Ran()
    monkeypatch.setattr(dev.subprocess, "run", ran)
    dev.test(checkout, ["-k", "geo"])
    assert [command[1:] for command in ran.commands] == [["-m", "pytest", "-k", "geo"]]


def test_a_failed_check_s_exit_code_is_the_command_s_own(monkeypatch, capsys):
    def failing(checkout: dev.Checkout, arguments: object) -> int:
        raise dev.Failed("pytest", "python -m pytest", 5)

    monkeypatch.setattr(dev, "COMMANDS", {"test": failing})
    assert dev.main(["test"]) == 5
    assert "python -m pytest" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["dance"], 2), (["--help"], 0)])
def test_what_is_no_command_prints_the_two_that_there_are(capsys, arguments: list[str], code: int):
    assert dev.main(arguments) == code
    assert "dev.py run" in capsys.readouterr().out
    assert "dev.py test" in dev.USAGE


def test_the_set_up_stands_on_the_standard_library_alone():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import dev, json;"
        "print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(dev.ROOT)],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(answer.stdout)) - {"dev", "__main__"}
    assert loaded <= set(sys.stdlib_module_names)
