"""Rules of this repository that no linter knows. Each names the file and line that broke it."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
CODE_FOLDERS = ("app", "benchmarks", "packaging", "dev.py")
LONGEST_FILE = 450  # lines; about 400 is the aim
RESOURCES_MB = 45

# What runs code from data, or trusts what it should check.
DANGEROUS = {
    "allow_pickle=True": "a gallery or a picture list would run code",
    "weights_only=False": "a checkpoint would run code",
    "pickle.load": "any file read so runs code",
    "yaml.load(": "runs code; yaml.safe_load does not",
    "eval(": "runs code",
    "exec(": "runs code",
    "shell=True": "a file's name would be a command",
    "os.system": "a file's name would be a command",
    "verify=False": "trusts anybody's server",
    "mktemp(": "names a file that somebody else can make first",
}
# `.eval()` and `.exec()` are methods of networks and of Qt.
METHODS = re.compile(r"(\.eval\(|\.exec\(|\bdef (eval|exec)\(|literal_eval\()")


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    files = [REPOSITORY / name for name in listing.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]


def python_files() -> Iterator[Path]:
    for folder in CODE_FOLDERS:
        root = REPOSITORY / folder
        yield from [root] if root.is_file() else sorted(root.rglob("*.py"))


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(REPOSITORY)}:{line}"


def test_nothing_runs_code_from_data_or_trusts_without_a_check():
    found = [
        f"{where(path, number)}: {word} ({reason})"
        for path in python_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for word, reason in DANGEROUS.items()
        if word in METHODS.sub("", line)
    ]
    assert found == []


def swallows(handler: ast.ExceptHandler) -> bool:
    """Catches everything and says nothing of it."""
    names = (
        {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)} if handler.type else {}
    )
    everything = handler.type is None or bool(set(names) & {"Exception", "BaseException"})
    silent = all(isinstance(s, ast.Pass | ast.Continue) for s in handler.body)
    return handler.type is None or (everything and silent)


def test_no_failure_is_swallowed():
    found = [
        where(path, node.lineno)
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and swallows(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "swallowed"),
    [
        ("try:\n  f()\nexcept:\n  g()", True),
        ("try:\n  f()\nexcept Exception:\n  pass", True),
        ("try:\n  f()\nexcept (ValueError, Exception):\n  pass", True),
        ("try:\n  f()\nexcept OSError:\n  pass", False),
        ("try:\n  f()\nexcept Exception as error:\n  tell(error)", False),
    ],
)
def test_the_rule_against_swallowing_knows_what_it_looks_for(code: str, swallowed: bool):
    handlers = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.ExceptHandler)]
    assert swallows(handlers[0]) == swallowed


def test_no_file_of_the_program_is_too_long_to_read():
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in python_files()}
    assert {where(p, n) for p, n in lengths.items() if n > LONGEST_FILE} == set()


def test_every_module_says_what_it_owns():
    silent = [
        str(path.relative_to(REPOSITORY))
        for path in python_files()
        if path.name != "__init__.py"
        and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_what_ships_with_the_program_stays_small():
    files = [file for file in tracked() if file.is_relative_to(REPOSITORY / "resources")]
    assert sum(file.stat().st_size for file in files) < RESOURCES_MB * 1e6


def test_no_tracked_file_names_a_package_host_or_a_folder_of_one_machine():
    words = ("pypi" + ".org", "files.python" + "hosted", "deb.debian" + ".org")
    words += ("registry.npm" + "js", "/wo" + "rk/", "/ho" + "me/", "/Us" + "ers/", "C:" + "\\Users")
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" in content[:4096]:
            continue
        text = content.decode("utf-8", errors="replace")
        found += [f"{path.relative_to(REPOSITORY)}: {word}" for word in words if word in text]
    assert found == []


def test_nothing_unfinished_is_marked_in_the_program():
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [
        where(path, number)
        for path in python_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if mark.search(line)
    ]
    assert found == []


def test_files_that_check_shapes_at_run_time_keep_their_annotations():
    """With the future import they would be strings, and nothing would be checked."""
    found = []
    for path in python_files():
        text = path.read_text(encoding="utf-8")
        if "jaxtyping" in text and "from __future__ import annotations" in text:
            found.append(str(path.relative_to(REPOSITORY)))
    assert found == []


@pytest.mark.parametrize("module", ["app.ui.window", "app.ui.main", "app.ui.engine_link"])
def test_the_window_starts_without_what_is_slow_to_load(module: str):
    heavy = ("torch", "timm", "torchvision", "rasterio", "cv2", "folium", "scipy")
    code = (
        f"import sys, {module}\nprint(' '.join(name for name in {heavy!r} if name in sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == []


def requirements() -> Iterator[Requirement]:
    """What this project and its checks ask for, and what these ask for in turn, here."""
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    waiting += [Requirement(line) for line in project["optional-dependencies"]["dev"]]
    seen: set[str] = set()
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        if name in seen:
            continue
        seen.add(name)
        yield asked
        for line in metadata.requires(name) or ():
            further = Requirement(line)
            if further.marker is None or further.marker.evaluate({"extra": ""}):
                waiting.append(further)


def test_every_package_that_is_installed_for_us_is_pinned_to_the_version_tested():
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {canonicalize_name(pin.name): pin for pin in pins}
    assert len(pinned) == len(pins), "a package is pinned twice"
    left_to_torch = ("nvidia-", "cuda-", "triton")
    for asked in requirements():
        name = canonicalize_name(asked.name)
        if name.startswith(left_to_torch):
            continue
        assert name in pinned, f"{name} is needed and not pinned in constraints.txt"
        assert pinned[name].specifier.contains(metadata.version(name)), (
            f"{name} {metadata.version(name)} is installed, not {pinned[name]}: "
            "run python3 dev.py test"
        )
