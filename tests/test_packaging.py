"""What goes into the program and its Debian package; building itself is ``dev.py package``."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

PACKAGING = Path(__file__).resolve().parent.parent / "packaging"


def load(name):
    """Scripts of the folder; it is no package, since that would hide PyPI's ``packaging``."""
    spec = importlib.util.spec_from_file_location(f"skyfix_{name}", PACKAGING / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(PACKAGING))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PACKAGING))
    return module


build, contents, deb, icons = load("build"), load("contents"), load("deb"), load("icons")


@pytest.mark.parametrize(
    "name",
    [
        "torch/lib/libtorch_cpu.so",
        "torch/bin/torch_shm_manager",  # torch does not start without it
        "PySide6/Qt/resources/qtwebengine_resources.pak",
        "PySide6/Qt/translations/qtwebengine_locales/en-US.pak",
        "torch/_inductor/config.py",  # a configuration reads its own source
        "torch/distributed/optim/functional_adam.py",  # compiled from its source when imported
        "PySide6/Qt/plugins/platformthemes/libqxdgdesktopportal.so",
        "PySide6/Qt/plugins/platforms/libqoffscreen.so",
        "js_lib_leaflet/static/js_lib_leaflet/leaflet.js",
        "rasterio/proj_data/proj.db",
        "resources/demo/truth.csv",
    ],
)
def test_what_the_program_needs_is_packed(name):
    assert contents.kept(name)


@pytest.mark.parametrize(
    "name",
    [
        "torch/include/ATen/ATen.h",
        "torch/lib/libonnx.a",
        "torch/bin/protoc",
        "PySide6/Qt/resources/v8_context_snapshot.debug.bin",
        "PySide6/Qt/qml/QtQuick/qmldir",
        "PySide6/Qt/translations/qtwebengine_locales/de.pak",
        "cv2/qt/plugins/platforms/libqxcb.so",
        "torch/_inductor/codegen/cpp.py",
        "torchvision/_C.so",
        "torchvision.libs/libnvjpeg.36e11081.so.13",
        "timm/models/swin_transformer.py",
        "PySide6/Qt/plugins/platformthemes/libqgtk3.so",
        "js_lib_leaflet/static/js_lib_leaflet/leaflet-src.js",
        r"torch\include\ATen\ATen.h",  # as Windows writes it
    ],
)
def test_what_only_developers_need_is_left_out(name):
    assert not contents.kept(name)


def test_the_second_projection_database_is_packed_where_no_link_can_take_its_place():
    name = r"pyproj\proj_dir\share\proj\proj.db"
    packed = {system: contents.kept(name, system=system) for system in ("linux", "win32", "darwin")}
    assert packed == {"linux": False, "win32": True, "darwin": True}


def test_no_link_to_what_is_left_out_stays():
    left_out = ("libz.b9a.so.1", "torchvision.libs/libz.b9a.so.1", "SYMLINK")
    stays = ("libz.so.1", "pillow.libs/libz.so.1", "SYMLINK")
    assert contents.without_left_out([left_out, stays]) == [stays]


def test_a_library_goes_with_the_last_that_names_it(monkeypatch):
    names = {
        "plugins/printsupport/libcupsplugin.so": {"libcups.so.2", "libz.so.1"},
        "libcups.so.2": {"libavahi.so.3"},
        "libavahi.so.3": {"libcups.so.2"},
        "libz.so.1": set(),
        "program.so": {"libz.so.1"},
        "libopened-by-name.so": set(),
    }
    monkeypatch.setattr(
        contents, "libraries_of", lambda files: set().union(*(names[file] for file in files))
    )
    entries = [(name, name, "BINARY") for name in names]
    entries += [("Qt/libcups.so.2", "libcups.so.2", "SYMLINK")]
    assert [name for name, *_ in contents.without_orphans(entries)] == [
        "libz.so.1",
        "program.so",
        "libopened-by-name.so",
    ]


def test_nothing_that_the_program_imports_is_left_out():
    code = (
        "import sys, torch, app.cli, app.engine.worker, app.engine.locate, app.engine.training;"
        "import torch.utils.checkpoint, app.models.backbone;"
        f"print([m for m in {contents.EXCLUDED!r} if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    # timm asks for it and goes on without.
    assert loaded in ("[]", "['huggingface_hub']")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="both are packed there")
def test_one_projection_database_serves_both_libraries(tmp_path):
    (tmp_path / "_internal/rasterio/proj_data").mkdir(parents=True)
    (tmp_path / "_internal/rasterio/proj_data/proj.db").write_bytes(b"db")
    build.share_proj(tmp_path)
    assert (tmp_path / "_internal/pyproj/proj_dir/share/proj/proj.db").read_bytes() == b"db"


@pytest.mark.skipif(shutil.which("readelf") is None, reason="binutils are not installed")
def test_a_library_that_would_not_load_any_more_is_noticed(tmp_path):
    library = next(Path(sys.prefix).glob("lib/python*/site-packages/numpy.libs/lib*.so*"), None)
    if library is None:
        pytest.skip("numpy brings no library along here")
    assert build.is_loadable(library)
    moved = bytearray(library.read_bytes())
    offset = int.from_bytes(moved[32:40], "little") + 8  # of the first program header's place
    for start in range(offset, offset + 56 * 12, 56):
        if moved[start - 8] == 1:  # a part that is mapped
            moved[start] ^= 0x10
    broken = tmp_path / "broken.so"
    broken.write_bytes(moved)
    assert not build.is_loadable(broken)


def test_sizes_are_told_by_package_largest_first(tmp_path):
    for name, size in {"torch/lib/a.so": 3, "cv2.libs/b.so": 2, "cv2/c.so": 2}.items():
        file = tmp_path / "_internal" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size * 1_000_001))
    lines = build.size_table(tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == ["cv2", "torch", "in"]
    assert lines[-1].split()[-2] == "7.0"


def test_the_sums_are_those_that_sha256sum_checks(tmp_path):
    (tmp_path / "skyfix.deb").write_bytes(b"package")
    build.sums(tmp_path)
    answer = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, check=False
    )
    assert answer.returncode == 0


@pytest.mark.parametrize("name", ["skyfix.ico", "skyfix.icns"])
def test_icons_are_drawn_in_the_sizes_that_systems_show(name, tmp_path):
    icons.write_icon(tmp_path / name)
    with Image.open(tmp_path / name) as icon:
        sizes = {size[0] for size in icon.info["sizes"]}
        icon.load()
        red, green, blue, solid = icon.convert("RGBA").getpixel((icon.width // 2, 4))
    assert {16, 32, 256} <= sizes
    assert solid == 255
    assert blue > green > red  # the sky
    assert icons.icon_name("linux") is None


def no_room(monkeypatch, folder, program):
    """Puts a ``program`` first on PATH that begins to write, then finds the disk full."""
    folder.mkdir()
    script = folder / program
    script.write_text(
        '#!/bin/sh\nfor last in "$@"; do case "$last" in *.partial) echo x > "$last";; esac; done\n'
        "exit 2\n",
        encoding="ascii",
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_a_full_disk_leaves_no_half_archive_and_keeps_the_last(monkeypatch, tmp_path):
    no_room(monkeypatch, tmp_path / "bin", "tar")
    target = tmp_path / "skyfix.tar.zst"
    target.write_bytes(b"the last one")
    with pytest.raises(build.BuildFailed, match="is the disk full"):
        build.archive(tmp_path / "skyfix", target)
    assert target.read_bytes() == b"the last one"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_a_full_disk_leaves_no_half_debian_package(monkeypatch, tmp_path):
    no_room(monkeypatch, tmp_path / "bin", "dpkg-deb")
    program = tmp_path / "skyfix"
    program.mkdir()
    (program / "skyfix").write_bytes(b"x")
    with pytest.raises(SystemExit, match="is the disk full"):
        deb.write_deb(program, tmp_path / "out.deb", "1.2.3")
    assert not list(tmp_path.glob("out.deb*"))


def test_dependencies_are_debian_s_names_with_their_alternatives():
    assert deb.debian_packages({"libasound.so.2", "libnss3.so", "libnssutil3.so"}) == [
        "libasound2t64 | libasound2",
        "libnss3",
    ]


def test_a_library_of_no_known_package_stops_the_build():
    with pytest.raises(SystemExit, match=r"libnever\.so\.1"):
        deb.debian_packages({"libnever.so.1"})


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_the_debian_package_holds_program_desktop_entry_icon_and_types(tmp_path):
    program = tmp_path / "skyfix"
    program.mkdir()
    shutil.copy2(shutil.which("true"), program / "skyfix")
    (program / "_internal").mkdir()
    (program / "_internal/data").write_bytes(b"x")
    target = tmp_path / "out.deb"
    deb.write_deb(program, target, "1.2.3")
    listing = subprocess.run(
        ["dpkg-deb", "--contents", target], capture_output=True, text=True, check=True
    ).stdout
    for wanted in (
        "./opt/skyfix/skyfix",
        "./opt/skyfix/apparmor",
        "./usr/bin/skyfix -> /opt/skyfix/skyfix",
        "./usr/share/applications/skyfix.desktop",
        "./usr/share/mime/packages/skyfix.xml",
        "./usr/share/icons/hicolor/scalable/apps/skyfix.svg",
    ):
        assert wanted in listing
    control = subprocess.run(
        ["dpkg-deb", "--field", target], capture_output=True, text=True, check=True
    ).stdout
    assert "Version: 1.2.3" in control
    assert "libc6 (>= 2.34)" in control
    assert "fontconfig-config" in control, "without a font there is no text"
    assert not list(tmp_path.glob("*.partial"))
    assert os.access(program / "skyfix", os.X_OK)  # what was built is untouched
