"""Builds the program and what hands it out; ``python3 dev.py package`` calls it in ``.venv``.

    python packaging/build.py [--output dist] [--edition cpu|cuda] [--smoke]

In ``dist``: the program's folder ``skyfix/``; on Linux a ``.deb`` and a portable ``.tar.zst``; a
bill of materials, a table of sizes, and the SHA-256 sums of them all.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from uuid import uuid4

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
from deb import write_deb  # noqa: E402
from icons import icon_name, write_icon  # noqa: E402

LINUX = sys.platform.startswith("linux")
NAME = "skyfix"


class BuildFailed(Exception):
    """A sentence that says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--edition", choices=("cpu", "cuda"), default=installed_edition())
    parser.add_argument("--smoke", action="store_true", help="run the built program afterwards")
    parser.add_argument("--folder-only", action="store_true", help="no archive, no .deb")
    args = parser.parse_args(arguments)
    if args.edition != installed_edition():
        print(
            f"build: the installed torch is the {installed_edition()} one; install the "
            f"{args.edition} torch in .venv for this edition",
            file=sys.stderr,
        )
        return 2
    try:
        build(args.output.resolve(), edition=args.edition, folder_only=args.folder_only)
    except BuildFailed as failed:
        print(f"build: {failed}", file=sys.stderr)
        return 1
    return smoke(args.output.resolve()) if args.smoke else 0


def smoke(output: Path) -> int:
    """Tries the built program, then the tests that need one; the exit code."""
    program = output / ("Skyfix.app" if sys.platform == "darwin" else NAME)
    command = [sys.executable, HERE / "smoke.py", program, "--report", output / "smoke.json"]
    code = subprocess.run(command, check=False).returncode
    tests = [sys.executable, "-m", "pytest", "-m", "built", ROOT / "tests" / "test_built.py"]
    environ = {**os.environ, "SKYFIX_BUILT": str(program)}
    return subprocess.run(tests, check=False, cwd=ROOT, env=environ).returncode or code


def installed_edition() -> str:
    return "cpu" if "+cpu" in metadata.version("torch") or sys.platform == "darwin" else "cuda"


def build(output: Path, *, edition: str, folder_only: bool = False) -> None:
    version = metadata.version(NAME)
    output.mkdir(parents=True, exist_ok=True)
    program = freeze(output)
    share_proj(program)
    stripped = strip_symbols(program)
    if stripped:
        say(f"symbol tables removed: {stripped / 1e6:.0f} MB")
    table = size_table(program)
    (output / "sizes.txt").write_text(table, encoding="utf-8")
    print(table)
    (output / f"{NAME}-{version}-{edition}.cdx.json").write_text(
        json.dumps(bill_of_materials(program, version), indent=1) + "\n", encoding="utf-8"
    )
    if LINUX and not folder_only:
        stem = f"{NAME}-{version}-{edition}-linux-{platform.machine()}"
        archive(program, output / f"{stem}.tar.zst")
        write_deb(program, output / f"{NAME}_{version}_{edition}_{debian_machine()}.deb", version)
    sums(output)


def freeze(output: Path) -> Path:
    """The program's folder, made anew."""
    work = output / "work"
    command = [sys.executable, "-m", "PyInstaller", HERE / "skyfix.spec", "--noconfirm"]
    command += ["--distpath", output, "--workpath", work, "--log-level", "ERROR"]
    environ = dict(os.environ)
    if (name := icon_name(sys.platform)) is not None:
        write_icon(work / name)
        environ["SKYFIX_ICON"] = str(work / name)
    say("freezing the program (minutes)")
    if subprocess.run(command, check=False, cwd=ROOT, env=environ).returncode != 0:
        raise BuildFailed("PyInstaller has failed; its last lines above say where")
    shutil.rmtree(work, ignore_errors=True)
    return output / NAME


def share_proj(program: Path) -> None:
    """One PROJ database for rasterio and pyproj: the newer layout, which both read.

    Windows has no links that every user may make, and macOS signs a bundle that is made before:
    they keep both (see contents.py).
    """
    inside = program / "_internal"
    wanted = inside / "pyproj/proj_dir/share/proj"
    if wanted.exists() or not LINUX:
        return
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.symlink_to(Path("../../../rasterio/proj_data"), target_is_directory=True)


def strip_symbols(program: Path) -> int:
    """Bytes won by removing symbol tables that only debuggers read.

    strip ruins some libraries whose paths patchelf has rewritten before (numpy's OpenBLAS): what
    would not load any more stays as it was.
    """
    strip = shutil.which("strip")
    if not LINUX or strip is None:
        return 0
    won = 0
    for file in sorted(files_of(program)):
        if ".so" not in file.name or not has_symbols(file):
            continue
        smaller = file.with_name(file.name + ".stripped")
        done = subprocess.run([strip, "--strip-unneeded", "-o", smaller, file], check=False)
        if done.returncode == 0 and is_loadable(smaller):
            won += file.stat().st_size - smaller.stat().st_size
            smaller.replace(file)
        smaller.unlink(missing_ok=True)
    return won


def is_loadable(file: Path) -> bool:
    """Whether every part that is mapped lies in the file as the loader wants it."""
    listing = subprocess.run(
        ["readelf", "-l", "--wide", file], capture_output=True, text=True, check=False
    )
    parts = [line.split() for line in listing.stdout.splitlines() if line.lstrip()[:5] == "LOAD "]
    return bool(parts) and all(
        (int(part[1], 16) - int(part[2], 16)) % int(part[-1], 16) == 0 for part in parts
    )


def has_symbols(file: Path) -> bool:
    listing = subprocess.run(
        ["readelf", "-S", "--wide", file], capture_output=True, text=True, check=False
    )
    return ".symtab" in listing.stdout


def size_table(program: Path) -> str:
    """Megabytes by package, largest first: libraries count to the package they came with."""
    sizes: Counter[str] = Counter()
    for file in files_of(program):
        parts = file.relative_to(program).parts
        top = parts[1] if parts[0] == "_internal" and len(parts) > 2 else "python and the rest"
        if parts[0] != "_internal":
            top = "skyfix (all Python code)"
        sizes[top.removesuffix(".libs")] += file.stat().st_size
    lines = [f"{name:<34}{size / 1e6:9.1f} MB" for name, size in sizes.most_common() if size > 1e6]
    lines.append(f"{'in all':<34}{sizes.total() / 1e6:9.1f} MB")
    return "\n".join(lines) + "\n"


def files_of(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path


def archive(program: Path, target: Path) -> None:
    """A portable copy: unpack it anywhere and start ``skyfix/skyfix``."""
    if shutil.which("zstd") is None:
        raise BuildFailed("zstd is missing; type: apt-get install zstd")
    say(f"packing {target.name}")
    partial = target.with_name(target.name + ".partial")
    command = ["tar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-C"]
    command += [str(program.parent), "-I", "zstd -9 -T0", "-cf", str(partial), program.name]
    if subprocess.run(command, check=False).returncode != 0:
        partial.unlink(missing_ok=True)
        raise BuildFailed("tar has failed; is the disk full?")
    partial.replace(target)


def debian_machine() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def bill_of_materials(program: Path, version: str) -> dict[str, object]:
    """CycloneDX 1.5: the Python distributions whose code is in the program."""
    modules = metadata.packages_distributions()
    lying = [path for path in (program / "_internal").iterdir() if path.suffix != ".dist-info"]
    inside = {path.name.partition(".")[0] for path in lying} & modules.keys()
    names = sorted({d for m in inside | _pure(program, set(modules)) for d in modules[m]})
    components = []
    for name in names:
        about = metadata.metadata(name)
        licence = about.get("License-Expression") or about.get("License") or ""
        components.append(
            {
                "type": "library",
                "name": name,
                "version": metadata.version(name),
                "purl": f"pkg:pypi/{name.lower()}@{metadata.version(name)}",
                "licenses": [{"license": {"name": licence.splitlines()[0][:80]}}]
                if licence
                else [],
            }
        )
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": {"type": "application", "name": NAME, "version": version},
        },
        "components": components,
    }


def _pure(program: Path, known: set[str]) -> set[str]:
    """Packages inside the executable's archive of Python code."""
    from PyInstaller.archive.readers import CArchiveReader

    reader = CArchiveReader(str(program / (NAME + (".exe" if os.name == "nt" else ""))))
    code = reader.open_embedded_archive("PYZ.pyz")
    return {name.partition(".")[0] for name in code.toc} & known


def sums(output: Path) -> None:
    """SHA-256 of every file beside the program's folder, as ``sha256sum --check`` reads it."""
    lines = []
    for file in sorted(output.iterdir()):
        if file.is_file() and file.name != "SHA256SUMS":
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            lines.append(f"{digest}  {file.name}\n")
    (output / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def say(text: str) -> None:
    print(f"build: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
