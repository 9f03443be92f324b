"""A Debian package of the built program: one folder in /opt, and what makes a desktop know it.

Its dependencies are computed: the libraries that the program's files name and do not bring along,
by the table of ``dev.py``. One that is in no table stops the build.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))
from dev import LIBRARIES  # noqa: E402

# In every Debian with libc6; Qt's wheels need glibc 2.34.
C_LIBRARY = re.compile(r"(lib(c|m|dl|rt|pthread|util|resolv)\.so|ld-linux)")
# The program packs fontconfig's library, but neither its configuration nor a font.
BASE = (
    "libc6 (>= 2.34)", "libstdc++6", "libgcc-s1", "ca-certificates", "shared-mime-info",
    "fontconfig-config",
)  # fmt: skip
# Of Qt's plugins some serve desktops or hardware that most machines have not.
OPTIONAL = re.compile(r"plugins/(platformthemes|egldeviceintegrations|generic|printsupport)/")
RECOMMENDED = ("desktop-file-utils", "xdg-desktop-portal")
PLACE = Path("opt/skyfix")


def write_deb(program: Path, target: Path, version: str) -> None:
    """``target`` whole or not at all; needs ``dpkg-deb`` (on any Debian or Ubuntu)."""
    with tempfile.TemporaryDirectory(prefix="skyfix-deb-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        _lay_out(program, root)
        _write_control(program, root, version)
        partial = target.with_name(target.name + ".partial")
        # xz packs a little tighter and takes many times as long; dpkg reads zstd since Debian 12.
        command = ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z9", "--build"]
        command += [folder, str(partial)]
        try:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        except subprocess.CalledProcessError as failed:
            raise SystemExit("deb: dpkg-deb has failed; is the disk full?") from failed
        else:
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _lay_out(program: Path, root: Path) -> None:
    place = root / PLACE
    place.parent.mkdir(parents=True)
    shutil.copytree(program, place, symlinks=True, copy_function=_linked)
    bin_folder = root / "usr/bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "skyfix").symlink_to(Path("/") / PLACE / "skyfix")
    for source, wanted in {
        "linux/skyfix.desktop": "usr/share/applications/skyfix.desktop",
        "linux/skyfix.xml": "usr/share/mime/packages/skyfix.xml",
        "linux/copyright": "usr/share/doc/skyfix/copyright",
        "linux/apparmor": f"{PLACE.as_posix()}/apparmor",
    }.items():
        _copy(HERE / source, root / wanted)
    _copy(
        ROOT / "resources/icons/skyfix.svg",
        root / "usr/share/icons/hicolor/scalable/apps/skyfix.svg",
    )
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            runs = path.is_dir() or os.access(path, os.X_OK)
            path.chmod(0o755 if runs else 0o644)


def _linked(source: str, target: str) -> str:
    """A hard link where that is possible: a gigabyte need not be copied to be packed."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write_control(program: Path, root: Path, version: str) -> None:
    size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    folder = root / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text(
        "Package: skyfix\n"
        f"Version: {version}\n"
        f"Architecture: {machine}\n"
        "Maintainer: The Skyfix authors <skyfix@localhost>\n"
        f"Installed-Size: {size // 1024}\n"
        f"Depends: {', '.join([*BASE, *debian_packages(needed_libraries(program))])}\n"
        f"Recommends: {', '.join(RECOMMENDED)}\n"
        "Section: science\n"
        "Priority: optional\n"
        "Description: finds where a photo was taken on satellite imagery\n"
        " A desktop workbench for image analysts: ranks the tiles of an area for a drone or\n"
        " street photo without coordinates, says how sure it is, and shows why. Works offline.\n",
        encoding="utf-8",
    )
    for name in ("postinst", "postrm"):
        _copy(HERE / "linux" / name, folder / name)
        (folder / name).chmod(0o755)


def needed_libraries(program: Path) -> set[str]:
    """Sonames that files of the program name, and that it does not hold itself."""
    files = [p for p in program.rglob("*") if p.is_file() and _is_elf(p)]
    held = {p.name for p in program.rglob("*.so*")}
    needed: set[str] = set()
    for file in files:
        if OPTIONAL.search(file.as_posix()):
            continue
        listing = subprocess.run(
            ["readelf", "-d", "--wide", file], capture_output=True, text=True, check=True
        )
        needed |= set(re.findall(r"\(NEEDED\).*\[(.+)\]", listing.stdout))
    return {name for name in needed - held if not C_LIBRARY.match(name)}


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def debian_packages(libraries: Iterable[str]) -> list[str]:
    """Debian's names, alternatives for releases that renamed them."""
    known = [name for name in libraries if name in LIBRARIES]
    unknown = sorted(set(libraries) - set(known) - CUDA_LIBRARIES)
    if unknown:
        raise SystemExit(f"deb: no Debian package is known for {', '.join(unknown)} (see dev.py)")
    return sorted({" | ".join(LIBRARIES[name]) for name in known})


# What torchvision's CUDA build names; its operators are never used (see app/models/backbone.py).
CUDA_LIBRARIES = {"libc10_cuda.so", "libtorch_cuda.so", "libcudart.so.13", "libnvjpeg.so.13"}
