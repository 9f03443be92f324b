"""Asks what a run is to be: data, network or parent, recipe, and every setting with its help."""

import re
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.card import Card
from app.engine.recipes import BY_NAME, RECIPES, recipe
from app.engine.run_store import runs_folder
from app.messages import Problem, TrainingEstimate
from app.models.catalog import BY_NAME as NETWORKS
from app.models.catalog import SPECS
from app.train_request import Option, Train, options
from app.ui.evaluation_form import DATA_SETS
from app.ui.library import Library
from app.ui.theme import GAP, icon
from app.ui.training_fields import (
    ChoiceField,
    Field,
    TextField,
    make_field,
    small_words,
    with_words,
    words_of,
)
from app.ui.training_session import TrainingSession
from app.ui.training_words import problem_words, told

TITLES = {
    "run": "Run",
    "adapt": "Views from your own imagery",
    "network": "Network",
    "learning": "Learning",
    "batches": "Batches",
    "augmentation": "Augmentation",
    "watching": "Measuring and saving",
}
NO_RECIPE = "Own settings"
NOT_TRIED = "Tries two batches and measures time and memory."
NOT_DRAWN = "Pairs as the network would see them appear here."
FIRST = ("data", "data_name")  # what a run begins with, before where it goes
SHEET_WIDTH, SHEET_HEIGHT = 380, 440
# More can be typed: cuda:1, vigor-cross-heldback.
OFFERED = {"data_name": ("", *DATA_SETS), "device": ("auto", "cpu", "cuda")}


class TrainingForm(QDialog):
    """Not modal: runs can be watched and photos located while it is open."""

    asked = Signal(object)  # Train

    def __init__(
        self, session: TrainingSession, library: Library, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._library = session, library
        self._own_folder = False  # typed by the user, so not to be overwritten
        self._awaited: Path | None = None  # a start checkpoint whose card is being read
        self._defaults: dict[str, Any] = {}  # of the chosen recipe
        self.setWindowTitle("New run")
        self.resize(1120, 720)
        self.recipes = QComboBox()
        self.recipes.setAccessibleName("Recipe")
        self.recipes.addItem(NO_RECIPE, "")
        for one in RECIPES:
            self.recipes.addItem(one.title, one.name)
        self.source = small_words("")
        self.fields: dict[str, Field] = {}
        self._labels: dict[str, QLabel] = {}
        self._forms: dict[str, QFormLayout] = {}
        self._boxes: dict[str, QGroupBox] = {}
        self._advanced: list[tuple[QFormLayout, QWidget]] = []
        self._data_rows: list[QWidget] = []
        for option in sorted(options(), key=lambda one: one.name not in FIRST):
            if option.name != "recipe":
                self._add_field(option)
        self.show_all = QCheckBox("Show every setting")
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.problem.setTextFormat(Qt.TextFormat.PlainText)
        self.estimate_text = small_words(NOT_TRIED)
        self.preview = QLabel(NOT_DRAWN)
        self._lay_out()
        self._join()
        self._on_recipe()

    # --- layout ---

    def _add_field(self, option: Option) -> None:
        if option.name == "network":
            networks = ChoiceField(option)
            networks.offer([s.name for s in SPECS], {s.name: s.title for s in SPECS})
            field: Field = networks
        elif option.name == "preset":
            field = ChoiceField(option, may_type=False)
        elif option.name == "init":
            field = ChoiceField(option, may_type=True)
        elif option.name in OFFERED:
            field = ChoiceField(option, OFFERED[option.name], may_type=True)
        else:
            field = make_field(option)
        self.fields[option.name] = field
        label = QLabel(words_of(option.name))
        label.setBuddy(field)
        label.setToolTip(option.help.text)
        self._labels[option.name] = label

    def _lay_out(self) -> None:
        settings = QWidget()
        column = QVBoxLayout(settings)
        column.setContentsMargins(0, 0, GAP, 0)
        column.setSpacing(2 * GAP)
        for group, title in TITLES.items():
            box = QGroupBox(title)
            form = QFormLayout(box)
            form.setHorizontalSpacing(2 * GAP)
            form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
            if group == "run":
                form.addRow("Recipe", with_words(self.recipes, self.source))
            self._forms[group], self._boxes[group] = form, box
            for name, field in self.fields.items():
                if field.option.help.group == group:
                    self._add_row(form, name, field)
            column.addWidget(box)
        column.addStretch()
        area = QScrollArea()
        area.setWidget(settings)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        row = QHBoxLayout()
        row.setSpacing(2 * GAP)
        row.addWidget(area, 1)
        row.addLayout(self._beside())
        whole = QVBoxLayout(self)
        whole.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, 2 * GAP)
        whole.setSpacing(GAP)
        whole.addLayout(row, 1)
        whole.addWidget(self.problem)
        foot = QHBoxLayout()
        foot.addWidget(self.show_all)
        foot.addStretch()
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.start = QPushButton(icon("train", "on_accent"), "Start training")
        self.start.setProperty("primary", True)
        self.buttons.addButton(self.start, QDialogButtonBox.ButtonRole.AcceptRole)
        foot.addWidget(self.buttons)
        whole.addLayout(foot)

    def _add_row(self, form: QFormLayout, name: str, field: Field) -> None:
        cell = with_words(field, small_words(field.option.help.text))
        form.addRow(self._labels[name], cell)
        if name in FIRST:
            self._data_rows.append(cell)
        if field.option.help.advanced:
            self._advanced.append((form, cell))

    def _beside(self) -> QVBoxLayout:
        """What is measured and drawn before anything is started."""
        column = QVBoxLayout()
        column.setSpacing(GAP)
        self.ask_estimate = QPushButton(icon("device"), "Estimate time and memory")
        self.ask_preview = QPushButton(icon("photo"), "Preview augmented pairs")
        self.preview.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.preview.setWordWrap(True)
        self.preview.setTextFormat(Qt.TextFormat.PlainText)
        self.preview.setFixedWidth(SHEET_WIDTH)
        self.preview.setMinimumHeight(220)
        self.preview.setFrameShape(QFrame.Shape.StyledPanel)
        self.preview.setAccessibleName("Preview of augmented pairs")
        self.estimate_text.setFixedWidth(SHEET_WIDTH)
        self.estimate_text.setMinimumHeight(4 * self.fontMetrics().lineSpacing())
        self.estimate_text.setAlignment(Qt.AlignmentFlag.AlignTop)
        column.addWidget(self.ask_estimate)
        column.addWidget(self.estimate_text)
        column.addSpacing(GAP)
        column.addWidget(self.ask_preview)
        column.addWidget(self.preview)
        column.addStretch()
        return column

    def _join(self) -> None:
        self.recipes.currentIndexChanged.connect(self._on_recipe)
        for field in self.fields.values():
            field.changed.connect(self._on_changed)
        self.fields["init"].changed.connect(self._follow_parent)
        self.show_all.toggled.connect(self._show_advanced)
        self.ask_estimate.clicked.connect(self._on_estimate)
        self.ask_preview.clicked.connect(self._on_preview)
        self.start.clicked.connect(self._on_start)
        self.buttons.rejected.connect(self.reject)
        self._session.estimated.connect(self._on_estimated)
        self._session.previewed.connect(self._on_previewed)
        self._library.changed.connect(self._offer_parents)
        self._offer_parents()
        self._show_advanced(False)

    # --- what is chosen ---

    @Slot()
    def _on_recipe(self) -> None:
        name = self._recipe
        chosen: Mapping[str, Any] = recipe(name) if name else {}
        self.source.setText(_about(name))
        self.source.setVisible(bool(name))
        kept = {key: self.fields[key] for key in ("data", "run_dir", "init", "imagery", "surface")}
        for key, field in self.fields.items():
            default = field.option.default
            value = chosen.get(key, None if default is MISSING else default)
            self._defaults[key] = value
            if key not in kept:
                field.blockSignals(True)
                if key == "preset":
                    self._offer_presets(str(chosen.get("network", self.fields["network"].value())))
                field.show_value("" if value is None and isinstance(field, TextField) else value)
                field.blockSignals(False)
        self._follow_parent()
        self._on_changed()

    def show_adapting(
        self, *, imagery: Path | None, checkpoint: Path | None, tile_size_m: float | None
    ) -> None:
        """Ask for recipe ``adapt`` with what is known already."""
        self.recipes.setCurrentIndex(self.recipes.findData("adapt"))
        self.fields["init"].show_value(checkpoint or "")
        self.fields["imagery"].show_value(imagery)
        self.fields["tile_size_m"].show_value(tile_size_m)

    @Slot()
    def _follow_parent(self) -> None:
        """A start checkpoint brings its network and its configuration, where the recipe agrees."""
        card, path = self._parent(), self._value("init")
        network = recipe(self._recipe).get("network") if self._recipe else None
        self._awaited = path if card is None else None
        if card is not None:
            if network in (None, card.network):
                self.fields["network"].show_value(card.network)
                self.fields["preset"].show_value("")
        elif path is not None:
            self._library.learn(path)
        elif not self.fields["preset"].value():
            self.fields["preset"].show_value(self._defaults["preset"])

    def _parent(self) -> Card | None:
        """The start checkpoint's card; None without one, or before it was read."""
        path = self._value("init")
        return next((e.card for e in self._library.checkpoints if e.path == path), None)

    @property
    def _recipe(self) -> str:
        return str(self.recipes.currentData() or "")

    @property
    def _renders(self) -> bool:
        """Pairs come from imagery, and go into the run's folder."""
        return self._recipe == "adapt"

    @Slot()
    def _on_changed(self) -> None:
        self._offer_presets(str(self.fields["network"].value()))
        self._propose_folder()
        wrong = self._wrong()
        for name, label in self._labels.items():
            font = label.font()
            font.setBold(self._is_changed(name))
            label.setFont(font)
        self.problem.setText(wrong)
        self.problem.setVisible(bool(wrong))
        self._show_parts()
        self._session.drop_trials()  # they are of other settings
        self.estimate_text.setText(NOT_TRIED)
        if self.preview.text():  # no picture
            self.preview.setText(NOT_DRAWN)
        for button in (self.start, self.ask_estimate, self.ask_preview):
            button.setEnabled(not wrong)

    def _offer_presets(self, network: str) -> None:
        field = self.fields["preset"]
        assert isinstance(field, ChoiceField)
        names = tuple(NETWORKS[network].presets) if network in NETWORKS else ()
        if field.choices != (*names, ""):
            field.offer((*names, ""), {"": "That of the start checkpoint"})

    @Slot()
    def _offer_parents(self) -> None:
        field = self.fields["init"]
        assert isinstance(field, ChoiceField)
        words = {"": "Fresh weights"}
        for entry in self._library.checkpoints:
            if entry.card is not None:
                taken = entry.card.title in words.values()
                told = f"{entry.card.title} ({entry.path})" if taken else entry.card.title
                words[str(entry.path)] = told
        field.offer(tuple(words), words)
        if self._awaited is not None and self._parent() is not None:
            self._follow_parent()

    def _propose_folder(self) -> None:
        data, imagery = (self.fields[name].value() for name in ("data", "imagery"))
        shown = (imagery.stem if imagery else "") if self._renders else data.name if data else ""
        folder = self.fields["run_dir"]
        if self._own_folder or folder.hasFocus():
            return
        stem = f"{self.fields['network'].value()}-{shown}"
        safe = re.sub(r"[^\w.-]+", "-", stem).strip("-.")
        number, path = 1, runs_folder() / safe
        while path.exists():
            number, path = number + 1, runs_folder() / f"{safe}-{number}"
        folder.blockSignals(True)
        folder.show_value(path)
        folder.blockSignals(False)

    def _is_changed(self, name: str) -> bool:
        if name in ("data", "run_dir"):
            return False
        try:
            return bool(self._value(name) != self._defaults.get(name))
        except ValueError:
            return True

    def _value(self, name: str) -> Any:
        value = self.fields[name].value()
        if name == "init":
            return Path(value) if value else None
        return value

    def _wrong(self) -> str:
        """What is missing or unreadable, in a sentence; empty: nothing."""
        for name, field in self.fields.items():
            try:
                self._value(name)
            except ValueError as error:
                return f"{words_of(name)}: {error}."
            needed = field.option.default is MISSING and name != "data"
            if needed and not self._value(name):
                return f"Still needed: {field.option.help.text.lower()}."
        card, network, preset = self._parent(), self._value("network"), self._value("preset")
        if card is not None and card.network != network:
            return (
                f"{card.title} holds {NETWORKS[card.network].title}, not {NETWORKS[network].title}."
                " Choose that network, or another checkpoint to start from."
            )
        if not preset and self._value("init") is None:
            return "Still needed: a checkpoint to start from" + (
                "." if self._renders else ", or a preset."
            )
        if self._renders and card is not None and card.task == "object":
            return f"{card.title} finds clicked objects. Start from one that locates photos."
        if self._renders and self._value("imagery") is None:
            return "Still needed: your own imagery."
        flat = self._value("surface") is None
        if self._renders and card is not None and card.query_view == "street" and flat:
            return "Still needed: a surface model. On flat ground panoramas show nothing."
        if self._value("data") is None and self._value("imagery") is None:
            return "Still needed: a data set's folder."
        return ""

    @property
    def run(self) -> Train:
        """What would be started; only where nothing is wrong."""
        values = {name: self._value(name) for name in self.fields}
        if values["data"] is None or (self._renders and not self.show_all.isChecked()):
            values["data"] = values["run_dir"] / "pairs"
        return Train(**values, recipe=self._recipe)

    # --- trying, starting ---

    @Slot()
    def _on_estimate(self) -> None:
        self._session.estimate(self.run)

    @Slot()
    def _on_preview(self) -> None:
        self._session.preview(self.run)

    @Slot(object)
    def _on_estimated(self, found: TrainingEstimate | Problem | None) -> None:
        words = problem_words(found) if isinstance(found, Problem) else found and told(found)
        self.estimate_text.setText(words or "Trying two batches…")

    @Slot(object)
    def _on_previewed(self, picture: Path | Problem | None) -> None:
        if not isinstance(picture, Path):
            self.preview.setText("Drawing…" if picture is None else problem_words(picture))
            return
        pixels = QPixmap(str(picture))
        if pixels.isNull():
            self.preview.setText("The preview could not be read.")
            return
        shown = pixels.scaled(
            SHEET_WIDTH,
            SHEET_HEIGHT,
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        self.preview.setMinimumHeight(shown.height() + 2)  # its frame; a label would cut it off
        self.preview.setPixmap(shown)

    @Slot()
    def _on_start(self) -> None:
        self.asked.emit(self.run)
        self.accept()

    @Slot(bool)
    def _show_advanced(self, wanted: bool) -> None:
        for form, cell in self._advanced:
            form.setRowVisible(cell, wanted)
        self._show_parts()

    def _show_parts(self) -> None:
        """What the recipe has no use for is out of the way, unless every setting is wanted."""
        whole = self.show_all.isChecked()
        for cell in self._data_rows:
            self._forms["run"].setRowVisible(cell, whole or not self._renders)
        used = self._renders or self._value("imagery") is not None
        self._boxes["adapt"].setVisible(whole or used)


def _about(name: str) -> str:
    if not name:
        return ""
    one = BY_NAME[name]
    made_for = f" Made for {', '.join(one.data)}." if one.data else ""
    return f"{one.source[:1].upper()}{one.source[1:]}.{made_for}"
