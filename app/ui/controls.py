"""Small controls that more than one panel has."""

from PySide6.QtWidgets import QToolButton

from app.ui.theme import icon


def tool_button(picture: str, words: str) -> QToolButton:
    """An icon alone; ``words`` say what it does, to pointers and to screen readers."""
    button = QToolButton()
    button.setIcon(icon(picture))
    button.setAutoRaise(True)
    button.setToolTip(words)
    button.setAccessibleName(words)
    return button
