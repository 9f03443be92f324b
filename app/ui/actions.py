"""Every act of the window by name and key: the menus, the toolbar and the help sheet read this."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import (
    QDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QMessageBox,
    QVBoxLayout,
    QWidget,
)

from app.ui.theme import GAP, icon


@dataclass(frozen=True, slots=True)
class Act:
    """One line of a menu. ``keys`` as Qt writes them; ``checked`` None: not a switch."""

    name: str
    menu: str
    words: str
    keys: tuple[str, ...] = ()
    picture: str = ""
    checked: bool | None = None
    starts_group: bool = False


ACTS: tuple[Act, ...] = (
    Act("open_photos", "File", "Open photos…", ("Ctrl+O",), "photo"),
    Act("open_folder", "File", "Open folder…", ("Ctrl+U",), "folder"),
    Act("paste", "File", "Paste files or a picture", ("Ctrl+V",), "paste"),
    Act("export_all", "File", "Export what was located…", ("Ctrl+Shift+S",), "export"),
    Act("start_page", "File", "Start page", ("Ctrl+Home",), starts_group=True),
    Act("quit", "File", "Quit", ("Ctrl+Q",), starts_group=True),
    Act("copy_position", "Query", "Copy the selected tile's position", ("Ctrl+C",), "copy"),
    Act("previous_query", "Query", "Previous query", ("A",), starts_group=True),
    Act("next_query", "Query", "Next query", ("D",)),
    Act("next_candidate", "Query", "Next candidate", ("J",)),
    Act("previous_candidate", "Query", "Previous candidate", ("K",)),
    Act("retry", "Query", "Locate again", ("R",), "retry", starts_group=True),
    Act("cancel_all", "Query", "Cancel what is not answered", ("Ctrl+.",), "cancel"),
    Act("remove", "Query", "Remove from the list", ("Del",), "remove", starts_group=True),
    Act("clear", "Query", "Remove all"),
    Act("objects", "Objects", "Click objects", ("O",), "object", checked=False),
    Act("next_object", "Objects", "Next object", ("Ctrl+Down",)),
    Act("previous_object", "Objects", "Previous object", ("Ctrl+Up",)),
    Act("undo", "Objects", "Undo", ("Ctrl+Z",), "undo", starts_group=True),
    Act("redo", "Objects", "Redo", ("Ctrl+Shift+Z", "Ctrl+Y"), "redo"),
    Act("options", "Query", "Options…", ("Ctrl+,",), "settings", starts_group=True),
    Act("build_gallery", "Gallery", "Build a gallery…", ("Ctrl+B",), "build"),
    Act("browse_gallery", "Gallery", "Open a gallery…", ("Ctrl+G",), "gallery"),
    Act("browse_checkpoint", "Gallery", "Open or import a checkpoint…", ("Ctrl+K",), "checkpoint"),
    Act("fit", "View", "Fit pictures", ("Ctrl+F",), "fit"),
    Act("actual_size", "View", "Actual size", ("Ctrl+0",), "actual"),
    Act("heatmap", "View", "Heatmap", ("H",), "heatmap", checked=True),
    Act("fit_candidates", "View", "Map: show all candidates", ("M",), "map", starts_group=True),
    Act("fit_gallery", "View", "Map: show the whole gallery", ("Shift+M",)),
    Act("task_locate", "View", "Locate", ("Ctrl+L",), "located", starts_group=True),
    Act("task_train", "View", "Train", ("Ctrl+T",), "train"),
    Act("task_evaluate", "View", "Evaluate", ("Ctrl+E",), "evaluate"),
    Act("show_queries", "View", "Queries", ("Ctrl+1",), checked=True, starts_group=True),
    Act("show_candidates", "View", "Candidates", ("Ctrl+2",), checked=True),
    Act("show_map", "View", "Map", ("Ctrl+3",), checked=True),
    Act("reset_layout", "View", "Reset layout"),
    Act("theme", "View", "Switch light and dark", ("Ctrl+Shift+L",), "theme", starts_group=True),
    Act("theme_system", "View", "Follow the system's theme"),
    Act("new_run", "Train", "New run…", ("Ctrl+N",), "train"),
    Act("adapt", "Train", "Adapt the checkpoint to the gallery's imagery…", (), "gallery"),
    Act("new_evaluation", "Evaluate", "Evaluate a checkpoint…", ("Ctrl+Shift+E",), "evaluate"),
    Act("help", "Help", "Keyboard shortcuts", ("F1",), "help"),
    Act("doctor", "Help", "Check this installation…", starts_group=True),
    Act("open_log", "Help", "Open the log folder"),
    Act("about", "Help", "About Skyfix"),
)

FURTHER_KEYS = (  # not in a menu, but on the help sheet
    ("1 … 9", "Select the candidate of that rank"),
    ("Wheel, + and −", "Zoom a picture"),
    ("Drag, arrow keys", "Move a zoomed picture"),
    ("Click, Enter", "Place an object, where objects are clicked"),
    ("Arrow keys, Del, Esc", "Move, delete, leave the selected object"),
    ("Double click", "Between fitted and actual size"),
    ("Esc", "Dismiss the notices"),
)


def make_actions(
    window: QMainWindow, does: Mapping[str, Callable[[], object]]
) -> dict[str, QAction]:
    """An action for each act, in the window's menus; ``does`` has what each triggers."""
    actions: dict[str, QAction] = {}
    menus = {name: window.menuBar().addMenu(f"&{name}") for name in _menus()}
    for act in ACTS:
        action = QAction(act.words, window)
        action.setShortcuts([QKeySequence(keys) for keys in act.keys])
        if act.picture:
            action.setIcon(icon(act.picture))
        if act.checked is not None:
            action.setCheckable(True)
            action.setChecked(act.checked)
        hint = f" ({act.keys[0]})" if act.keys else ""
        action.setToolTip(f"{act.words.rstrip('…')}{hint}")
        action.triggered.connect(_without_state(does[act.name]))
        if act.starts_group:
            menus[act.menu].addSeparator()
        menus[act.menu].addAction(action)
        actions[act.name] = action
    return actions


def _without_state(act: Callable[[], object]) -> Callable[[], None]:
    def call() -> None:  # a slot without parameters: Qt leaves the state of a switch out
        act()

    return call


def _menus() -> tuple[str, ...]:
    return tuple(dict.fromkeys(act.menu for act in ACTS))


def show_about(parent: QWidget) -> None:
    try:
        number = version("skyfix")
    except PackageNotFoundError:  # run from its sources
        number = "from source"
    QMessageBox.about(
        parent,
        "About Skyfix",
        f"Skyfix {number}\n\nFinds where a street or drone photo was taken, on your own "
        "satellite imagery. Nothing leaves this computer.",
    )


class HelpSheet(QDialog):
    """All keys on one sheet."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard shortcuts")
        column = QVBoxLayout(self)
        column.setContentsMargins(3 * GAP, 2 * GAP, 3 * GAP, 2 * GAP)
        columns = QFrame()
        row = QHBoxLayout(columns)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(5 * GAP)
        lines = [(act.menu, ", ".join(act.keys), act.words.rstrip("…")) for act in ACTS if act.keys]
        lines += [("Pictures and lists", keys, words) for keys, words in FURTHER_KEYS]
        groups = tuple(dict.fromkeys(menu for menu, _, _ in lines))
        half = (len(groups) + 1) // 2
        for part in (groups[:half], groups[half:]):
            row.addWidget(_keys_column([line for line in lines if line[0] in part]))
        column.addWidget(columns)


def _keys_column(lines: list[tuple[str, str, str]]) -> QWidget:
    body = QWidget()
    form = QFormLayout(body)
    form.setContentsMargins(0, 0, 0, 0)
    form.setHorizontalSpacing(2 * GAP)
    group = ""
    for menu, keys, words in lines:
        if menu != group:
            title = QLabel(menu)
            font = title.font()
            font.setBold(True)
            title.setFont(font)
            title.setContentsMargins(0, GAP, 0, 2)
            form.addRow(title)
            group = menu
        key = QLabel(keys)
        key.setProperty("small", True)
        form.addRow(key, QLabel(words))
    return body
