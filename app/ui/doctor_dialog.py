"""What the doctor finds, as it is printed on a terminal: to read, to copy, to pack for a helper."""

from pathlib import Path

from PySide6.QtCore import QStandardPaths, Qt, Slot
from PySide6.QtGui import QFontDatabase, QGuiApplication, QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.ui.checkup import Checkup
from app.ui.theme import GAP, ColourRole, icon

BUNDLE_NAME = "skyfix-support.zip"
COPIED_TO = "Copied to the clipboard."


class DoctorDialog(QDialog):
    """Looks each time it is opened. Not modal: photos can be located meanwhile."""

    def __init__(self, checkup: Checkup, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._checkup = checkup
        self.setWindowTitle("This installation")
        self.resize(920, 640)
        self.mark, self.summary = QLabel(), QLabel()
        self.summary.setTextFormat(Qt.TextFormat.PlainText)
        self.summary.setWordWrap(True)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setAccessibleName("What was found")
        self.text.setTabChangesFocus(True)
        self.note = QLabel()
        self.note.setTextFormat(Qt.TextFormat.PlainText)
        self.note.setWordWrap(True)
        self.note.setProperty("small", True)
        self.again = QPushButton("Check again")
        self.again.setIcon(icon("retry"))
        self.copy = QPushButton("Copy")
        self.copy.setIcon(icon("copy"))
        self.save = QPushButton("Save support bundle…")
        self.save.setIcon(icon("folder"))
        self._lay_out()
        self.again.clicked.connect(self._on_again)
        self.copy.clicked.connect(self._on_copy)
        self.save.clicked.connect(self._on_save)
        checkup.changed.connect(self._show)

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(GAP)
        head.addWidget(self.mark)
        head.addWidget(self.summary, 1)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        foot = QHBoxLayout()
        foot.setSpacing(GAP)
        for button in (self.again, self.copy, self.save):
            foot.addWidget(button)
        foot.addStretch(1)
        foot.addWidget(buttons)
        column = QVBoxLayout(self)
        column.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, 2 * GAP)
        column.setSpacing(GAP + 4)
        column.addLayout(head)
        column.addWidget(self.text, 1)
        column.addWidget(self.note)
        column.addLayout(foot)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._checkup.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._checkup.stop()

    @Slot()
    def _show(self) -> None:
        it = self._checkup
        picture, role, words = self._head()
        self.mark.setPixmap(icon(picture, role).pixmap(20, 20))
        self.summary.setText(words)
        text = "" if it.diagnosis is None else it.diagnosis.text()
        if self.text.toPlainText() != text:  # else a selection would be lost
            self.text.setPlainText(text)
        packed = None if it.diagnosis is None else it.diagnosis.bundle
        self.note.setText(
            f"Packed: {packed}"
            if packed and not it.is_busy
            else "A support bundle holds this "
            "text, the settings and the log; no pictures, no names and no paths of your home."
        )
        for button in (self.again, self.save):
            button.setEnabled(not it.is_busy)
        self.copy.setEnabled(bool(text))

    def _head(self) -> tuple[str, ColourRole, str]:
        it = self._checkup
        if it.is_busy:
            return "busy", "accent", f"Looking{f' at {it.step}' if it.step else ''}…"
        if it.problem is not None:
            return "problem", "bad", f"{it.problem.title}. {it.problem.hint}".strip()
        if it.diagnosis is None:
            return "info", "accent", "Not looked yet."
        if it.diagnosis.is_well:
            return "check", "good", it.diagnosis.summary
        return "warning", "warning", it.diagnosis.summary

    @Slot()
    def _on_again(self) -> None:
        self._checkup.start()

    @Slot()
    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text.toPlainText())
        self.note.setText(COPIED_TO)

    @Slot()
    def _on_save(self) -> None:
        places = QStandardPaths.StandardLocation.DocumentsLocation
        start = Path(QStandardPaths.writableLocation(places)) / BUNDLE_NAME
        name, _ = QFileDialog.getSaveFileName(
            self, "Save support bundle", str(start), "Zip archives (*.zip)"
        )
        if name:
            self._checkup.start(bundle=Path(name))
