"""Packs what a helper needs to know into one file: no pictures, no paths of home, no names."""

import contextlib
import getpass
import json
import platform
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app import paths
from app.diagnosis import Diagnosis
from app.errors import UserError
from app.settings import Settings, settings_file

MAX_LOG_BYTES = 4 << 20  # of each log, its end
SPARED = ("root", "user", "users", "home", "localhost")  # names that tell nothing of anybody

Scrub = Callable[[str], str]


def write_bundle(path: Path, diagnosis: Diagnosis, *, scrub: Scrub | None = None) -> None:
    """Whole or not at all. ``scrub`` None: what this computer's names and paths ask for."""
    scrub = scrub or scrubber(home=Path.home(), names=_names())
    parts = {
        "doctor.txt": scrub(diagnosis.text()),
        "doctor.json": diagnosis_json(diagnosis, scrub),
        "settings.json": _settings_text(scrub),
        **{f"log/{log.name}": scrub(_end_of(log)) for log in _logs()},
    }
    partial = path.with_name(path.name + ".partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, text in parts.items():
                bundle.writestr(name, text)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written: {error.strerror}", "Choose another place for the bundle."
        ) from error


def diagnosis_json(diagnosis: Diagnosis, scrub: Scrub = str) -> str:
    """Of the findings alone: where a bundle went is nobody's affair."""
    findings = [asdict(finding) for finding in diagnosis.findings]
    body = {"well": diagnosis.is_well, "summary": diagnosis.summary, "findings": findings}
    return json.dumps(_scrubbed(body, scrub), indent=1, ensure_ascii=False) + "\n"


def scrubber(*, home: Path, names: Iterable[str]) -> Scrub:
    """A function that takes the paths of this home, and these names, out of a text.

    Paths are known in every spelling that a log may hold: slashes either way, doubled as in a
    repr, and as part of a URL. Homes of others lose their owner's name.
    """
    spellings = {
        str(home),
        home.as_posix(),
        str(home).replace("\\", "\\\\"),
        quote(home.as_posix()),
    }
    replacements = [(re.escape(text), "~") for text in sorted(spellings, key=len, reverse=True)]
    replacements.append((r"(?<=[/\\]home[/\\])[^/\\\s\"']+", "USER"))
    replacements.append((r"(?<=[/\\]Users[/\\])[^/\\\s\"']+", "USER"))
    for name in sorted({n for n in names if len(n) > 1}, key=len, reverse=True):
        if name.lower() not in SPARED:
            replacements.append((rf"(?<!\w){re.escape(name)}(?!\w)", "USER"))
            replacements.append((rf"(?<!\w){re.escape(quote(name))}(?!\w)", "USER"))
    patterns = [(re.compile(old, re.IGNORECASE), new) for old, new in replacements]

    def scrub(text: str) -> str:
        for pattern, new in patterns:
            text = pattern.sub(new, text)
        return text

    return scrub


def _names() -> tuple[str, ...]:
    """Of the user and the computer."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's number without a name
        user = ""
    return user, Path.home().name, platform.node()


def _settings_text(scrub: Scrub) -> str:
    """Of the recent lists only the length: file names tell where somebody was."""
    try:
        raw = json.loads(settings_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "none: defaults hold\n"
    except (OSError, ValueError) as error:
        return f"cannot be read: {type(error).__name__}\n"
    known = {field.name for field in fields(Settings)}
    kept = {
        key: f"{len(value)} left out" if isinstance(value, list) else value
        for key, value in (raw.items() if isinstance(raw, dict) else ())
        if key in known
    }
    return json.dumps(_scrubbed(kept, scrub), indent=1, ensure_ascii=False) + "\n"


def _scrubbed(value: Any, scrub: Scrub) -> Any:
    """Every text within; before it is written as JSON, which would spell paths its own way."""
    match value:
        case str():
            return scrub(value)
        case dict():
            return {key: _scrubbed(one, scrub) for key, one in value.items()}
        case list() | tuple():
            return [_scrubbed(one, scrub) for one in value]
        case _:
            return value


def _logs() -> list[Path]:
    return sorted(path for path in paths.log_dir().glob("*.log*") if path.is_file())


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - MAX_LOG_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError as error:
        return f"cannot be read: {error.strerror}\n"
