"""How queries are located: few numbers, each with what it costs."""

from dataclasses import replace

from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
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

EXECUTION_WORDS = {
    "auto": "the fastest that is safe",
    "eager": "PyTorch",
    "openvino": "OpenVINO (on a CPU, where it is installed)",
    "compile": "torch.compile (up to a minute at each start)",
    "half": "half precision (on a GPU)",
}


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
        self.execution = QComboBox()
        for name, words in EXECUTION_WORDS.items():
            self.execution.addItem(words, name)
        self.execution.setCurrentIndex(self.execution.findData(settings.execution))
        self.execution.setAccessibleName("What computes the networks")
        form = QFormLayout()
        form.setHorizontalSpacing(2 * GAP)
        form.addRow("&Candidates", self.top_k)
        form.addRow("&Headings tried", self.turns)
        form.addRow("", self.heading)
        form.addRow("Computed &by", self.execution)
        note = QLabel(
            "More headings find a query that was turned otherwise, and take as much longer. "
            "Every query in the list is located again when one of these changes. What computes "
            "the networks changes at the next start of Skyfix; Help, Check this installation says "
            "what was taken and why."
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
            execution=self.execution.currentData(),
        )
