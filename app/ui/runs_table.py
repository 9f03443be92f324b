"""The table of runs: what each is, how far it has come, how good it got."""

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QItemSelection, Qt, Signal, Slot
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from app.engine.run_control import RunStatus, State
from app.engine.run_store import RunRow
from app.ui.theme import ColourRole, icon
from app.ui.training_session import TrainingSession

COLUMNS = ("Run", "State", "Epoch", "Best")
LOOKS: dict[State, tuple[str, ColourRole]] = {
    "queued": ("waiting", "subtle"),
    "running": ("busy", "accent"),
    "paused": ("waiting", "accent"),
    "stopped": ("cancel", "subtle"),
    "done": ("check", "good"),
    "failed": ("problem", "bad"),
    "diverged": ("warning", "bad"),
    "dead": ("problem", "bad"),
}


class RunsModel(QAbstractTableModel):
    def __init__(self, session: TrainingSession) -> None:
        super().__init__(session)
        self._session = session
        self.rows: tuple[RunRow, ...] = ()
        session.listed.connect(self._refresh)
        self._refresh()

    @Slot()
    def _refresh(self) -> None:
        before, self.rows = self.rows, self._session.rows
        if [row.path for row in before] == [row.path for row in self.rows]:
            if self.rows:  # the selection stays
                last = self.index(len(self.rows) - 1, len(COLUMNS) - 1)
                self.dataChanged.emit(self.index(0, 0), last)
            return
        self.beginResetModel()
        self.endResetModel()

    def rowCount(self, parent: Any = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: Any = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return COLUMNS[section]
        return None

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        row, column = self.rows[index.row()], index.column()
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return _cells(row)[column]
            case Qt.ItemDataRole.DecorationRole if column == 1:
                return icon(*LOOKS[row.status.state])
            case Qt.ItemDataRole.ToolTipRole:
                return _tip(row)
            case Qt.ItemDataRole.AccessibleTextRole:
                return f"{COLUMNS[column]}: {_cells(row)[column]}"
            case Qt.ItemDataRole.TextAlignmentRole if column >= 2:
                return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            case Qt.ItemDataRole.FontRole if column == 0 and row.status.state == "running":
                font = QFont()
                font.setBold(True)
                return font
            case _:
                return None


class RunsTable(QTableView):
    """Several can be selected: the one selected first is looked at, the others laid over it."""

    picked = Signal(object)  # tuple[RunRow, ...]

    def __init__(self, session: TrainingSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.runs = RunsModel(session)
        self.setModel(self.runs)
        self.setAccessibleName("Runs")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(28)
        head = self.horizontalHeader()
        head.setHighlightSections(False)
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.selectionModel().selectionChanged.connect(self._on_selected)
        self.runs.modelReset.connect(self._select_again)
        self._session = session

    @property
    def chosen(self) -> tuple[RunRow, ...]:
        indexes = self.selectionModel().selectedRows()
        return tuple(self.runs.rows[i.row()] for i in indexes if i.row() < len(self.runs.rows))

    def choose(self, row: int) -> None:
        self.selectRow(row)

    @Slot(QItemSelection, QItemSelection)
    def _on_selected(self, _now: QItemSelection, _before: QItemSelection) -> None:
        self.picked.emit(self.chosen)

    @Slot()
    def _select_again(self) -> None:
        """After runs came or went: what was selected, or the newest."""
        wanted = self._session.selected
        paths = [row.path for row in self.runs.rows]
        rows = [paths.index(path) for path in wanted if path in paths] or ([0] if paths else [])
        mode = self.selectionMode()
        self.setSelectionMode(QAbstractItemView.SelectionMode.MultiSelection)
        for row in rows:
            self.selectRow(row)
        self.setSelectionMode(mode)


def progress_of(status: RunStatus) -> str:
    if status.state == "done":
        return f"{status.epochs}"
    return f"{min(status.epoch + 1, status.epochs)} of {status.epochs}" if status.epochs else "–"


def _cells(row: RunRow) -> tuple[str, str, str, str]:
    status = row.status
    best = "–" if status.best is None else f"{_figure(status)}"
    return row.name, status.state, progress_of(status), best


def _figure(status: RunStatus) -> str:
    best = status.best or 0.0
    is_share = status.best_by in ("R@1", "AP", "accu@0.5", "mean IoU")
    return f"{status.best_by} {best:.1%}" if is_share else f"{status.best_by} {best:.3g}"


def _tip(row: RunRow) -> str:
    lines = [str(row.path)]
    if row.run is not None:
        lines.append(f"{row.run.network} {row.run.preset} on {row.run.data.name}")
    if row.tags:
        lines.append("Tags: " + ", ".join(row.tags))
    if row.status.problem:
        lines.append(row.status.problem.splitlines()[0])
    return "\n".join(lines)
