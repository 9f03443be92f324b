"""The window's tasks, one page each, and the switch between them in the toolbar."""

from dataclasses import dataclass
from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QStackedWidget, QToolButton, QWidget

from app.ui.theme import icon


@dataclass(frozen=True, slots=True)
class Task:
    """One way to use the window."""

    name: str  # "locate"
    words: str
    picture: str
    key: str  # as Qt writes it
    hint: str


LOCATE = Task("locate", "Locate", "located", "Ctrl+L", "Find where photos were taken")
TRAIN = Task("train", "Train", "train", "Ctrl+T", "Train checkpoints, and watch the runs")
EVALUATE = Task("evaluate", "Evaluate", "evaluate", "Ctrl+E", "Measure checkpoints on data sets")


class Tasks(QStackedWidget):
    """The pages; one is shown."""

    switched = Signal(str)  # the task's name

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.choices: list[Task] = []
        self._pages: dict[str, QWidget] = {}

    def add(self, task: Task, page: QWidget) -> None:
        self.choices.append(task)
        self._pages[task.name] = page
        self.addWidget(page)

    def show_task(self, name: str) -> None:
        if name != self.current:
            self.setCurrentWidget(self._pages[name])
            self.switched.emit(name)

    @property
    def current(self) -> str:
        return next(n for n, page in self._pages.items() if page is self.currentWidget())


class TaskSwitch(QWidget):
    """A button for each task, the shown one pressed."""

    def __init__(self, tasks: Tasks, parent: QWidget | None = None) -> None:
        """Made when all pages are there."""
        super().__init__(parent)
        self.setAccessibleName("Task")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        self._group = QButtonGroup(self)
        self.buttons: dict[str, QToolButton] = {}
        for choice in tasks.choices:
            button = QToolButton()
            button.setText(choice.words)
            button.setIcon(icon(choice.picture, when_on="on_accent"))
            button.setToolTip(f"{choice.hint} ({choice.key})")
            button.setCheckable(True)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            button.setProperty("segment", True)
            button.clicked.connect(partial(tasks.show_task, choice.name))
            self._group.addButton(button)
            self.buttons[choice.name] = button
            row.addWidget(button)
        tasks.switched.connect(self._show)
        self._show(tasks.current)
        self.setHidden(len(tasks.choices) < 2)

    def _show(self, name: str) -> None:
        self.buttons[name].setChecked(True)
