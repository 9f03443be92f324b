"""What the README tells a new user to type is what the program takes."""

import re
import shlex
from pathlib import Path

import pytest

import dev
from app.cli import COMMANDS
from app.cli_parser import make_parser

README = (dev.ROOT / "README.md").read_text(encoding="utf-8")


def typed(program: str) -> list[str]:
    """Indented command lines of the README, continued lines joined, comments dropped."""
    lines = README.replace("\\\n", " ").splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.startswith(f"    {program} ")]


@pytest.mark.parametrize("line", [line for line in typed("skyfix") if "COMMAND" not in line])
def test_a_command_in_the_readme_is_understood(line: str):
    args = make_parser().parse_args(shlex.split(line)[1:])
    assert args.command in COMMANDS


def test_every_command_but_checkpoint_is_shown_once_at_least():
    shown = {shlex.split(line)[1] for line in typed("skyfix")}
    assert set(COMMANDS) - {"checkpoint"} <= shown


@pytest.mark.parametrize("line", typed("python3 dev.py"))
def test_a_set_up_command_in_the_readme_exists(line: str):
    assert line.split()[2] in dev.COMMANDS


def test_files_that_the_papers_point_to_are_there():
    missing = []
    for paper in (dev.ROOT / "README.md", dev.ROOT / "CONTEXT.md", dev.ROOT / "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", paper.read_text(encoding="utf-8")):
            if "://" not in target and not (paper.parent / target).exists():
                missing.append(f"{paper.name}: {target}")
    assert missing == []


def test_files_that_the_readme_names_are_there():
    named = re.findall(r"`((?:app|benchmarks|tests|docs|resources)/[\w/.]+)`", README)
    assert named
    assert [name for name in named if not (dev.ROOT / Path(name)).exists()] == []
