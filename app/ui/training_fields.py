"""One widget for each kind of setting of a run, made from what ``Train`` says of its fields."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.train_request import Option
from app.ui.theme import icon

MOST_INT = 2**31 - 1
FILES = {  # those that are no folders
    "init": "Checkpoints (*.safetensors)",
    "imagery": "Imagery (*.tif *.tiff *.jp2 *.mbtiles *.gpkg *.png *.jpg)",
    "surface": "Surface models (*.tif *.tiff)",
}


class Field(QWidget):
    """Shows and reads the value of one setting."""

    changed = Signal()

    def __init__(self, option: Option) -> None:
        super().__init__()
        self.option = option
        self.setToolTip(option.help.text)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(4)

    def take(self, widget: QWidget, *, stretch: int = 0) -> None:
        widget.setAccessibleName(words_of(self.option.name))
        widget.setAccessibleDescription(self.option.help.text)
        widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        widget.installEventFilter(self)
        self._row.addWidget(widget, stretch)
        if stretch:
            self.setFocusProxy(widget)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The wheel scrolls the form, and changes a value only where the user is in it."""
        if (
            event.type() == QEvent.Type.Wheel
            and isinstance(watched, QWidget)
            and not watched.hasFocus()
        ):
            event.ignore()
            return True
        return super().eventFilter(watched, event)

    def show_value(self, value: Any) -> None:
        raise NotImplementedError

    def value(self) -> Any:
        """Raises ValueError with words for the user where what stands there is none."""
        raise NotImplementedError


class SwitchField(Field):
    def __init__(self, option: Option) -> None:
        super().__init__(option)
        self.box = QCheckBox()
        self.box.toggled.connect(self.changed)
        self.take(self.box, stretch=1)

    def show_value(self, value: Any) -> None:
        self.box.setChecked(bool(value))

    def value(self) -> bool:
        return self.box.isChecked()


class ChoiceField(Field):
    """A list; ``may_type`` lets the user write something else."""

    def __init__(
        self, option: Option, choices: tuple[str, ...] = (), *, may_type: bool = False
    ) -> None:
        super().__init__(option)
        self.box = QComboBox()
        self.box.setEditable(may_type)
        self.box.currentTextChanged.connect(self.changed)
        self.take(self.box, stretch=1)
        self.offer(choices or option.choices)
        if option.name in FILES:
            self._browse = _BrowseButton(self)

    def offer(self, choices: Sequence[str], words: Mapping[str, str] | None = None) -> None:
        """``words`` are shown in place of the values that they stand for."""
        kept = self.value()
        self.box.blockSignals(True)
        self.box.clear()
        for choice in choices:
            self.box.addItem((words or {}).get(choice, choice), choice)
        if kept in choices or self.box.isEditable():
            self.show_value(kept)
        self.box.blockSignals(False)

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(self.box.itemData(row) for row in range(self.box.count()))

    def show_value(self, value: Any) -> None:
        row = self.box.findData(str(value))
        if row >= 0:
            self.box.setCurrentIndex(row)
            self.box.setCurrentText(self.box.itemText(row))  # something else may be typed there
        else:
            self.box.setCurrentText(str(value))

    def value(self) -> str:
        text = self.box.currentText().strip()
        row = self.box.findText(text, Qt.MatchFlag.MatchExactly | Qt.MatchFlag.MatchCaseSensitive)
        return str(self.box.itemData(row)) if row >= 0 else text


class CountField(Field):
    def __init__(self, option: Option) -> None:
        super().__init__(option)
        self.box = QSpinBox()
        self.box.setRange(_int(option.help.least, 0), _int(option.help.most, MOST_INT))
        self.box.setGroupSeparatorShown(True)
        self.box.valueChanged.connect(self.changed)
        self.take(self.box, stretch=1)

    def show_value(self, value: Any) -> None:
        self.box.setValue(int(value))

    def value(self) -> int:
        return self.box.value()


class NumberField(Field):
    """As text: a learning rate of 3e-4 fits no fixed number of decimals."""

    def __init__(self, option: Option) -> None:
        super().__init__(option)
        self.line = QLineEdit()
        if option.optional:
            self.line.setPlaceholderText("automatic")
        self.line.textChanged.connect(self.changed)
        self.take(self.line, stretch=1)

    def show_value(self, value: Any) -> None:
        self.line.setText("" if value is None else f"{value:g}")

    def value(self) -> float | None:
        text = self.line.text().strip()
        if not text and self.option.optional:
            return None
        try:
            number = float(text)
        except ValueError:
            raise ValueError(f"“{text}” is no number; write it like 0.001 or 1e-3") from None
        least, most = self.option.help.least, self.option.help.most
        if not (least is None or number >= least) or not (most is None or number <= most):
            raise ValueError(f"it must be {_limits(least, most)}")
        return number


class ListField(Field):
    """Numbers with commas between them."""

    def __init__(self, option: Option) -> None:
        super().__init__(option)
        self.line = QLineEdit()
        self.line.setPlaceholderText("none; or such as 10, 20")
        self.line.textChanged.connect(self.changed)
        self.take(self.line, stretch=1)

    def show_value(self, value: Any) -> None:
        self.line.setText(", ".join(f"{number:g}" for number in value))

    def value(self) -> tuple[float, ...]:
        parts = [part.strip() for part in self.line.text().split(",")]
        try:
            return tuple(float(part) for part in parts if part)
        except ValueError:
            raise ValueError("write numbers with commas between them, such as 10, 20") from None


class MappingField(Field):
    """Fields of a network's configuration: ``name = value`` with commas between them."""

    def __init__(self, option: Option) -> None:
        super().__init__(option)
        self.line = QLineEdit()
        self.line.setPlaceholderText('none; or such as {"attention": "mha"}')
        self.line.textChanged.connect(self.changed)
        self.take(self.line, stretch=1)

    def show_value(self, value: Any) -> None:
        self.line.setText(json.dumps(dict(value)) if value else "")

    def value(self) -> Mapping[str, Any]:
        text = self.line.text().strip()
        try:
            found = json.loads(text) if text else {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ValueError('write it as JSON, such as {"attention": "mha"}')
        return found


class TextField(Field):
    def __init__(self, option: Option) -> None:
        super().__init__(option)
        self.line = QLineEdit()
        self.line.textChanged.connect(self.changed)
        self.take(self.line, stretch=1)

    def show_value(self, value: Any) -> None:
        self.line.setText(str(value))

    def value(self) -> str:
        return self.line.text().strip()


class PathField(Field):
    def __init__(self, option: Option) -> None:
        super().__init__(option)
        self.line = QLineEdit()
        if option.optional:
            self.line.setPlaceholderText("none")
        self.line.textChanged.connect(self.changed)
        self.take(self.line, stretch=1)
        self._browse = _BrowseButton(self)

    def show_value(self, value: Any) -> None:
        self.line.setText("" if value is None else str(value))

    def value(self) -> Path | None:
        text = self.line.text().strip()
        return Path(text) if text else None


class _BrowseButton(QToolButton):
    """Asks for a file or folder and shows it in its field."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self._field = field
        self.setIcon(icon("folder"))
        self.setToolTip(f"Choose: {field.option.help.text}")
        self.clicked.connect(self._ask)
        field.take(self)
        self.setAccessibleName(f"Choose {words_of(field.option.name)}")

    @Slot()
    def _ask(self) -> None:
        option = self._field.option
        words, kinds = option.help.text, FILES.get(option.name)
        start = str(self._field.value() or "")
        if kinds is None:
            chosen = QFileDialog.getExistingDirectory(self, words, start)
        else:
            chosen, _ = QFileDialog.getOpenFileName(self, words, start, f"{kinds};;All files (*)")
        if chosen:
            self._field.show_value(chosen)


def make_field(option: Option) -> Field:
    """The widget for an option, by its kind."""
    if option.choices:
        return ChoiceField(option)
    kinds: dict[type, type[Field]] = {
        bool: SwitchField,
        int: CountField,
        float: NumberField,
        str: TextField,
        Path: PathField,
        tuple: ListField,
    }
    return kinds.get(option.kind, MappingField)(option)


def words_of(name: str) -> str:
    """A field's name as a label: "trunk_lr_factor" becomes "Trunk learning rate factor"."""
    spoken = {
        "lr": "learning rate",
        "amp": "half precision",
        "ema": "weight averaging",
        "asam": "ASAM",
        "m": "(m)",
        "min": "(minutes)",
        "deg": "(°)",
        "init": "start from",
        "data": "data set",
        "dir": "folder",
        "looks": "change of looks",
    }
    words = " ".join(spoken.get(part, part) for part in name.split("_"))
    return words[:1].upper() + words[1:]


def with_words(field: QWidget, words: QLabel) -> QWidget:
    """A field with its words below."""
    cell = QWidget()
    column = QVBoxLayout(cell)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(1)
    column.addWidget(field)
    column.addWidget(words)
    return cell


def small_words(words: str) -> QLabel:
    label = QLabel(words)
    label.setProperty("small", True)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def _int(limit: float | None, otherwise: int) -> int:
    return otherwise if limit is None else int(limit)


def _limits(least: float | None, most: float | None) -> str:
    parts = [f"{least:g} or more"] if least is not None else []
    parts += [f"{most:g} or less"] if most is not None else []
    return " and ".join(parts)
