"""A step that can be undone: all pins of a photo, and which is selected, before and after."""

from collections.abc import Callable

from PySide6.QtGui import QUndoCommand

from app.ui.clicked_objects import Pin

State = tuple[tuple[Pin, ...], int | None]


class Edit(QUndoCommand):
    def __init__(
        self,
        words: str,
        put: Callable[[tuple[Pin, ...], int | None], None],
        before: State,
        after: State,
        merge: int | None,
    ) -> None:
        """Steps with the same ``merge`` in a row are undone as one; None: never."""
        super().__init__(words)
        self._put, self._before, self._after = put, before, after
        self._merge = merge

    def redo(self) -> None:
        self._put(*self._after)

    def undo(self) -> None:
        self._put(*self._before)

    def id(self) -> int:
        return -1 if self._merge is None else self._merge

    def mergeWith(self, other: QUndoCommand) -> bool:
        if not isinstance(other, Edit) or other.id() != self.id():
            return False
        self._after = other._after
        return True
