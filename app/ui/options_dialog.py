"""How queries are located: few numbers, each with what it costs."""

from dataclasses import replace

from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app.settings import Settings
from app.ui.theme import GAP


class OptionsDialog(QDialog):
    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self.setWindowTitle("Query options")
        self.top_k = QSpinBox()
        self.top_k.setRange(1, 1000)
        self.top_k.setValue(settings.top_k)
        self.top_k.setAccessibleName("Candidates for each query")
        self.turns = QSpinBox()
        self.turns.setRange(0, 72)
        self.turns.setSpecialValueText("as the checkpoint says")
        self.turns.setValue(settings.turns or 0)
        self.turns.setAccessibleName("Headings tried")
        self.heading = QCheckBox("Use the heading that the photo's metadata states")
        self.heading.setChecked(settings.use_heading)
        form = QFormLayout()
        form.setHorizontalSpacing(2 * GAP)
        form.addRow("&Candidates", self.top_k)
        form.addRow("&Headings tried", self.turns)
        form.addRow("", self.heading)
        note = QLabel(
            "More headings find a query that was turned otherwise, and take as much longer. "
            "Every query in the list is located again when one of these changes."
        )
        note.setWordWrap(True)
        note.setProperty("small", True)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, 2 * GAP)
        column.setSpacing(GAP + 4)
        column.addLayout(form)
        column.addWidget(note)
        column.addWidget(buttons)

    @property
    def settings(self) -> Settings:
        return replace(
            self._settings,
            top_k=self.top_k.value(),
            turns=self.turns.value() or None,
            use_heading=self.heading.isChecked(),
        )
