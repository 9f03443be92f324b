"""Looks at the installation it runs in: what is there, what works, what to do where it does not.

Every look stands alone, and imports what it looks at itself: a broken torch, or a missing package,
is a finding and not the end of the doctor. Qt is never imported here; its packages are asked for
their versions.
"""

import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from app import __version__, paths
from app.card import read_card
from app.diagnosis import Diagnosis, Doctor, Finding, Severity
from app.engine.support_bundle import write_bundle
from app.errors import JobCancelled, UserError
from app.geo import LatLon
from app.messages import Progress, Report, ignore
from app.settings import Settings, load_settings, settings_file

if TYPE_CHECKING:
    from app.engine.sharing import Sharing

AGAIN = "Install Skyfix again."
LITTLE_BYTES, TOO_LITTLE_BYTES = 2 << 30, 100 << 20  # a city's gallery; a preview and a log

# Distribution and, where the program cannot do without it, the module that proves it is there.
PACKAGES = (
    ("torch", "torch"),
    ("torchvision", "torchvision"),
    ("timm", "timm"),
    ("safetensors", "safetensors"),
    ("numpy", "numpy"),
    ("opencv-python-headless", "cv2"),
    ("pillow", "PIL"),
    ("pillow-heif", "pillow_heif"),
    ("rasterio", "rasterio"),
    ("pyproj", "pyproj"),
    ("folium", "folium"),
    ("PySide6", "PySide6"),
    ("PySide6_Addons", ""),
    ("PySide6_WebEngine", ""),
    ("openvino", ""),
)
OPTIONAL = ("openvino",)  # a faster CPU, if it is there
PARTS = ("PySide6_Addons", "PySide6_WebEngine")  # of PySide6: how it is cut varies


def examine(
    request: Doctor,
    device: str | None = None,
    execution: str | None = None,
    *,
    sharing: "Sharing | None" = None,
    report: Report = ignore,
) -> Diagnosis:
    """Looks, and packs the bundle if one is asked for. Raises UserError if it cannot be written."""
    diagnosis = diagnose(device, execution, sharing=sharing, report=report)
    if request.bundle is None:
        return diagnosis
    write_bundle(request.bundle, diagnosis)
    return replace(diagnosis, bundle=request.bundle)


def diagnose(
    device: str | None = None,
    execution: str | None = None,
    *,
    sharing: "Sharing | None" = None,
    report: Report = ignore,
) -> Diagnosis:
    """Everything; some seconds, for it reads what ships. None: what the settings say.

    ``sharing`` is that of the engine at work, if there is one.
    """
    settings, _ = load_settings()
    device, execution = device or settings.device, execution or settings.execution
    looks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("Versions", _versions),
        ("Device", lambda: _device(device, sharing)),
        ("Execution", lambda: _execution(_spared(device, sharing), execution)),
        ("Maps and projections", _projections),
        ("What ships with Skyfix", _resources),
        ("Map's web engine", _web_engine),
        ("Your folders", _folders),
        ("Settings", lambda: _settings(settings)),
    )
    findings: list[Finding] = []
    for done, (area, look) in enumerate(looks):
        report(Progress(done, len(looks), area.lower()))
        findings += _looked(area, look)
    return Diagnosis(tuple(findings))


def _looked(area: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a look finds, up to where it fails itself: that is a finding too."""
    try:
        yield from look()
    except (JobCancelled, MemoryError):
        raise
    except UserError as error:
        yield Finding(area, area, str(error), "problem", error.hint or AGAIN)
    except Exception as error:  # noqa: BLE001 - whatever is broken is what the doctor is for
        words = f"{type(error).__name__}: {error}"
        yield Finding(area, area, words.splitlines()[0], "problem", AGAIN)


def _versions() -> Iterator[Finding]:
    area = "Versions"
    frozen = " (installed program)" if getattr(sys, "frozen", False) else ""
    yield Finding(area, "Skyfix", f"{__version__}{frozen}")
    yield Finding(area, "System", f"{platform.platform()}, {os.cpu_count()} processors")
    yield Finding(area, "Python", platform.python_version())
    for name, module in PACKAGES:
        there = bool(module) and find_spec(module) is not None
        try:
            yield Finding(area, name, version(name))
        except PackageNotFoundError:
            if there:  # packed without its papers
                yield Finding(area, name, "there, version unknown")
            elif name in OPTIONAL:
                yield Finding(area, name, "not installed (optional)")
            elif name not in PARTS:
                yield Finding(area, name, "missing", "problem", AGAIN)


def _spared(wanted: str, sharing: "Sharing | None") -> str:
    """What is tried out is tried on the CPU while a training has the accelerator."""
    return "cpu" if sharing is not None and sharing.claimed else wanted


def _device(wanted: str, sharing: "Sharing | None" = None) -> Iterator[Finding]:
    import torch

    from app.engine.checkpoints import choose_device

    area = "Device"
    cpu = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    yield Finding(area, "CPU", f"{platform.machine()} {cpu}, {threads} threads in use")
    for title, place in () if sharing is None else sharing.places:
        yield Finding(area, "Loaded", f"{title} on {place.name}: {place.reason}")
    if sharing is not None and (name := sharing.claimed):
        yield Finding(area, "Chosen", f"cpu: a training uses {name}")
        return
    try:
        chosen = choose_device(wanted)
    except UserError as error:
        fix = f'{error.hint} It is "device" in {settings_file()}.'
        yield Finding(area, "Chosen", str(error), "problem", fix)
        return
    words = f"{chosen.name}: {chosen.reason}"
    driver = Path("/proc/driver/nvidia/version")
    if chosen.name != "cpu":
        memory = torch.cuda.get_device_properties(chosen.name).total_memory >> 20
        yield Finding(area, "Chosen", f"{words}, {memory} MiB, CUDA {torch.version.cuda}")
    elif wanted == "cpu" or not driver.is_file():
        yield Finding(area, "Chosen", words)
    else:
        fix = (
            "Install the edition of Skyfix for CUDA."
            if torch.version.cuda is None
            else f"Bring the driver up to date: CUDA {torch.version.cuda} is asked for."
        )
        yield Finding(area, "Chosen", f"{words}, though there is a GPU", "note", fix)
    if driver.is_file():
        first = driver.read_text(encoding="utf-8", errors="replace").splitlines()[0]
        yield Finding(area, "Driver", first)


def _execution(device: str, execution: str) -> Iterator[Finding]:
    """Who computes the checkpoints that ship, tried out as at their first use."""
    from app.engine.backends import unavailable
    from app.engine.checkpoints import choose_device, load_checkpoint

    area = "Execution"
    try:
        name = choose_device(device).name
    except UserError:  # told under Device
        return
    for path in paths.shipped_checkpoints():
        if read_card(path).task == "object":  # always plain PyTorch
            continue
        checkpoint = load_checkpoint(path, device=name, execution=execution)
        backend = checkpoint.backend(checkpoint.card.query_view)
        taken = execution in ("auto", backend.name)
        fix = f'Set "execution" to "auto" in {settings_file()}.'
        more = () if taken else ("note", fix)
        yield Finding(area, checkpoint.card.title, backend.reason, *more)
    for other in ("openvino", "compile", "half"):
        if why := unavailable(other, name):
            yield Finding(area, other, f"not on offer: {why}")


def _projections() -> Iterator[Finding]:
    import pyproj
    import rasterio
    from rasterio.crs import CRS
    from rasterio.warp import transform

    from app.engine.utm import latlon_to_utm

    area = "Maps and projections"
    yield Finding(area, "GDAL", rasterio.__gdal_version__)
    folder = pyproj.datadir.get_data_dir()
    yield Finding(area, "PROJ", f"{pyproj.proj_version_str}, data in {folder}")
    # Vienna in UTM zone 33 by both libraries, since each carries a PROJ and its data, against
    # arithmetic of our own.
    east, north = latlon_to_utm(32633, LatLon(48.2, 16.37))
    x, y = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(16.37, 48.2)
    (x2,), (y2,) = transform(CRS.from_epsg(4326), CRS.from_epsg(32633), [16.37], [48.2])
    fix = "Remove PROJ_LIB, PROJ_DATA and GDAL_DATA from the environment, or install Skyfix again."
    for name, off_m in (
        ("pyproj", math.hypot(x - east, y - north)),
        ("rasterio", math.hypot(x2 - east, y2 - north)),
    ):
        if off_m < 0.01:
            yield Finding(area, f"PROJ of {name}", "projects rightly")
        else:
            yield Finding(area, f"PROJ of {name}", f"is {off_m:.2f} m off", "problem", fix)


def _resources() -> Iterator[Finding]:
    area = "What ships with Skyfix"
    checkpoints = paths.shipped_checkpoints()
    galleries = sorted((paths.demo() / "galleries").glob("*/manifest.json"))
    identities: list[str] = []
    for path in checkpoints:
        yield _checkpoint(area, path, identities)
    for manifest in galleries:
        yield _gallery(area, manifest.parent, identities)
    missing = [
        str(part.relative_to(paths.resources()))
        for part in (
            *(paths.resources() / name for name in ("checkpoints", "demo/galleries", "icons")),
            *(paths.resources() / "map" / name for name in ("map.html", "map.js", "map.css")),
        )
        if not part.exists() or (part.is_dir() and not any(part.iterdir()))
    ]
    for package in ("js_lib_leaflet", "xstatic.pkg.jquery"):
        missing += [package] if find_spec(package) is None else []
    if missing:
        yield Finding(area, "Files", f"missing: {', '.join(missing)}", "problem", AGAIN)


def _checkpoint(area: str, path: Path, identities: list[str]) -> Finding:
    """Loads it; its identity is added."""
    from app.engine.checkpoints import load_checkpoint, load_object_checkpoint

    try:
        load = load_object_checkpoint if read_card(path).task == "object" else load_checkpoint
        checkpoint = load(path, device="cpu")
    except UserError as error:
        return Finding(area, path.name, str(error), "problem", AGAIN)
    identities.append(checkpoint.sha256)
    return Finding(area, path.name, f"{checkpoint.card.title}, {checkpoint.sha256[:12]}")


def _gallery(area: str, folder: Path, identities: list[str]) -> Finding:
    """Its files' hashes, its pictures' number, and that a checkpoint that ships described it."""
    from app.engine.gallery import open_gallery

    name = f"demo/{folder.name}"
    try:
        gallery = open_gallery(folder, verify=True)
    except UserError as error:
        return Finding(area, name, str(error), "problem", AGAIN)
    manifest = gallery.manifest
    gallery.close()
    pictures = sum(1 for _ in (folder / "thumbnails").glob("*.jpg"))
    if manifest.checkpoint not in identities:
        words = f"no checkpoint here is the one that described it ({manifest.checkpoint[:12]})"
        return Finding(area, name, words, "problem", AGAIN)
    if pictures != manifest.tiles:
        words = f"{pictures} pictures for {manifest.tiles} tiles"
        return Finding(area, name, words, "problem", AGAIN)
    return Finding(area, name, f"{manifest.tiles} tiles; every file is what it was")


def _web_engine() -> Iterator[Finding]:
    area = "Map's web engine"
    severity, words, fix = sandbox_state(os.environ)
    yield Finding(area, "Sandbox", words, severity, fix)
    shown = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in shown):
        fix = "Log in to a desktop to open the window; the commands work without one."
        yield Finding(area, "Display", "none", "note", fix)


def sandbox_state(
    environ: "os._Environ[str] | dict[str, str]", switches: Path = Path("/proc/sys")
) -> tuple[Severity, str, str]:
    """Severity, words and what to do about Chromium's sandbox, which the map's page runs in."""
    plain = "the map shows plain tiles in its place"
    if "QTWEBENGINE_DISABLE_SANDBOX" in environ:
        return "good", "switched off by QTWEBENGINE_DISABLE_SANDBOX; pages are our own", ""
    if not sys.platform.startswith("linux"):
        return "good", "in use", ""
    if os.geteuid() == 0:
        return "note", f"does not run as root: {plain}", "Start Skyfix as an ordinary user."
    for name, bad in (
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("user/max_user_namespaces", "0"),
    ):
        switch = switches / name
        if switch.is_file() and switch.read_text(encoding="ascii").strip() == bad:
            words = f"this system keeps user namespaces from programs ({name} = {bad}): {plain}"
            fix = (
                "Install the .deb, which allows them to Skyfix, or set "
                "QTWEBENGINE_DISABLE_SANDBOX=1: the map loads nothing from outside."
            )
            return "note", words, fix
    return "good", "in use", ""


def _folders() -> Iterator[Finding]:
    area = "Your folders"
    for name, folder in (
        ("Settings", paths.config_dir),
        ("Data", paths.data_dir),
        ("Cache", paths.cache_dir),
        ("Log", paths.log_dir),
        ("Temporary", lambda: Path(tempfile.gettempdir())),
    ):
        try:
            yield _folder(area, name, folder())
        except OSError as error:
            fix = "Give yourself the right to write there, or set SKYFIX_HOME to another folder."
            words = f"{error.filename} cannot be written: {error.strerror}"
            yield Finding(area, name, words, "problem", fix)


def _folder(area: str, name: str, folder: Path) -> Finding:
    with tempfile.NamedTemporaryFile(dir=folder, prefix="skyfix-doctor-") as trial:
        trial.write(b"written")
    free = shutil.disk_usage(folder).free
    words = f"{folder}, {free / (1 << 30):.1f} GiB free"
    if free < TOO_LITTLE_BYTES:
        return Finding(area, name, words, "problem", "Make room on this disk.")
    if free < LITTLE_BYTES:
        return Finding(area, name, words, "note", "Make room before you build a gallery or train.")
    return Finding(area, name, words)


def _settings(settings: Settings) -> Iterator[Finding]:
    area = "Settings"
    _, bad = load_settings()
    for words in bad:
        yield Finding(area, "File", words, "note", "Open the options and close them with OK.")
    if not bad:
        there = settings_file()
        yield Finding(area, "File", f"{there}" if there.is_file() else "none yet: defaults hold")
    for name, kept in (("Checkpoint", settings.checkpoint), ("Gallery", settings.gallery)):
        if kept and not Path(kept).exists():
            fix = "Choose another at the top of the window."
            yield Finding(area, name, f"{kept} is not there any more", "note", fix)
