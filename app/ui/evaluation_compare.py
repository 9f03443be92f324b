"""Two evaluations of one test: how far apart their figures are, and whether that may be chance."""

from functools import partial
from typing import Literal

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app.messages import Compare, Compared
from app.results import Comparison, Difference
from app.ui.asked_view import AskedView
from app.ui.curves import line_colour
from app.ui.elided import ElidedLabel
from app.ui.evaluation_folders import Evaluation
from app.ui.evaluation_session import EvaluationSession
from app.ui.evaluation_tables import figure, labels, test_of
from app.ui.theme import GAP, ColourRole, icon
from app.ui.word_table import Looks, WordTable

SURE_BELOW = 0.05
Verdict = Literal["better", "worse", "may be chance"]
SIGNS: dict[Verdict, tuple[str, ColourRole]] = {
    "better": ("check", "good"),
    "worse": ("problem", "bad"),
    "may be chance": ("help", "subtle"),
}


def verdict(difference: Difference) -> Verdict:
    """Of the second. Less is better where it is a distance; an interval over 0 decides nothing."""
    if difference.low <= 0 <= difference.high:
        return "may be chance"
    more = difference.low > 0
    return "better" if more == (difference.unit == "share") else "worse"


def sign_words(comparison: Comparison) -> str:
    """What the test says, in words that anybody reads the right way."""
    p, name = comparison.p_value, comparison.p_name
    told = "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"
    if comparison.only_first == comparison.only_second == 0:
        return "Both got the same queries right."
    if p < SURE_BELOW:
        sense = "a difference like this would hardly come by chance"
    else:
        sense = "a difference like this may well come by chance"
    return f"{name[:1].upper()}{name[1:]}: {told}; {sense}."


def difference_text(difference: Difference) -> str:
    """With its sign; of shares in percentage points."""
    if difference.unit == "share":
        return f"{100 * difference.difference:+.2f} points".replace("-", "−")
    return f"{_signed(difference.difference)} {difference.unit}"


def range_text(difference: Difference) -> str:
    if difference.unit == "share":
        low, high = f"{100 * difference.low:+.1f}", f"{100 * difference.high:+.1f}"
        return f"{low} to {high} points".replace("-", "−")
    return f"{_signed(difference.low)} to {_signed(difference.high)} {difference.unit}"


def _signed(value: float) -> str:
    told = f"{value:+,.0f}" if abs(value) >= 100 else f"{value:+.1f}"
    return told.replace("-", "−")


class OnlyOne(QWidget):
    """A bar of two parts: what only the first got right, and what only the second did."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._counts = (0, 0)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        return QSize(300, self.fontMetrics().height() + GAP)

    def show_counts(self, first: int, second: int) -> None:
        self._counts = first, second
        self.setAccessibleName(f"Only the first: {first}; only the second: {second}")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = QPainter(self)
        room, total = QRectF(self.rect()), max(1, sum(self._counts))
        left = room.left()
        for row, count in enumerate(self._counts):
            width = room.width() * count / total
            part = QRectF(left, room.top(), width, room.height())
            painter.fillRect(part, line_colour(self.palette(), row))
            if width > painter.fontMetrics().horizontalAdvance(f"{count:,}") + GAP:
                painter.setPen(self.palette().base().color())
                painter.drawText(part, int(Qt.AlignmentFlag.AlignCenter), f"{count:,}")
            left += width


class CompareEvaluations(QWidget):
    look_asked = Signal(object, object)  # Path of who missed them, Path of who got them right

    def __init__(self, session: EvaluationSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._pair: tuple[Evaluation, ...] = ()
        self._swapped = False
        self.first, self.second = ElidedLabel(), ElidedLabel()
        self.dots = (QLabel("●"), QLabel("●"))
        self.swap = QPushButton(icon("retry"), "Swap")
        self.swap.setToolTip("Take the other one as the first")
        self.about = QLabel()
        self.about.setProperty("small", True)
        self.about.setWordWrap(True)
        self.table = WordTable("Differences", ("Measure",))
        self.only_title, self.test = QLabel(), QLabel()
        self.only_title.setWordWrap(True)
        self.test.setWordWrap(True)
        self.only = OnlyOne()
        self.looks = tuple(
            QPushButton(icon("photo"), f"Look at those of the {which}")
            for which in ("first", "second")
        )
        self.waiting = AskedView("Comparing…")
        self.stack = QStackedWidget()
        self._lay_out()
        self.swap.clicked.connect(self._on_swap)
        for right, button in enumerate(self.looks):
            button.clicked.connect(partial(self._on_look, right))
        self.waiting.again.connect(lambda: self._ask(again=True))
        session.answered.connect(self._on_answered)

    def _lay_out(self) -> None:
        names = QVBoxLayout()
        names.setSpacing(2)
        for words, dot, label in zip(
            ("First", "Second"), self.dots, (self.first, self.second), strict=True
        ):
            row = QHBoxLayout()
            row.addWidget(dot)
            place = QLabel(words)
            place.setProperty("small", True)
            place.setFixedWidth(self.fontMetrics().horizontalAdvance("Second  "))
            row.addWidget(place)
            row.addWidget(label, 1)
            names.addLayout(row)
        top = QHBoxLayout()
        top.addLayout(names, 1)
        top.addWidget(self.swap)
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP)
        column.addLayout(top)
        column.addWidget(self.table, 1)
        column.addWidget(self.about)
        counts = QHBoxLayout()
        counts.addWidget(self.only_title, 1)
        for button in self.looks:
            counts.addWidget(button)
        column.addLayout(counts)
        column.addWidget(self.only)
        column.addWidget(self.test)
        self.stack.addWidget(self.waiting)
        self.stack.addWidget(body)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, GAP, 0, 0)
        whole.addWidget(self.stack)

    # --- asking ---

    def show_evaluations(self, shown: tuple[Evaluation, ...]) -> None:
        """The first two are compared."""
        if {e.folder for e in shown[:2]} != {e.folder for e in self._pair}:
            self._swapped = False
        self._pair = shown[:2]
        self._ask()

    def _ordered(self) -> tuple[Evaluation, ...]:
        return self._pair[::-1] if self._swapped else self._pair

    def _question(self) -> Compare | None:
        pair = self._ordered()
        if len(pair) < 2 or test_of(pair[0].result) != test_of(pair[1].result):
            return None
        return Compare(pair[0].folder, pair[1].folder)

    def _ask(self, *, again: bool = False) -> None:
        if (question := self._question()) is not None:
            self._session.ask(question, again=again)
        self._show()

    def _on_answered(self, question: object) -> None:
        if question == self._question():
            self._show()

    def _on_look(self, right: int) -> None:
        """At what only the first (0) or the second (1) got right."""
        pair = self._ordered()
        self.look_asked.emit(pair[1 - right].folder, pair[right].folder)

    def _on_swap(self) -> None:
        self._swapped = not self._swapped
        self._ask()

    # --- showing ---

    def _show(self) -> None:
        question = self._question()
        asked = None if question is None else self._session.asked(question)
        compared = None if asked is None else asked.answer
        if isinstance(compared, Compared):
            self._show_comparison(compared.comparison)
        elif asked is not None:
            self.waiting.show_asked(asked)
        elif len(self._pair) < 2:
            self.waiting.say(
                "Select two evaluations of the same test",
                "Hold Ctrl and click the second in the list.",
            )
        else:
            first, second = (test_of(e.result) for e in self._pair)
            self.waiting.say(
                "These two measured different tests",
                f"{first}; {second}. Select two of the same test.",
            )
        self.stack.setCurrentIndex(1 if isinstance(compared, Compared) else 0)

    def _show_comparison(self, comparison: Comparison) -> None:
        names = labels(self._ordered())
        self.first.setText(names[0])
        self.second.setText(names[1])
        self._paint_dots()
        verdicts = [verdict(d) for d in comparison.differences]
        self.table.cells.show_rows(
            ("Measure", "First", "Second", "Second − first", "95 % interval", "The second is"),
            tuple(
                (
                    d.name,
                    figure(d.first, d.unit),
                    figure(d.second, d.unit),
                    difference_text(d),
                    range_text(d),
                    "better or worse by chance" if said == "may be chance" else said,
                )
                for d, said in zip(comparison.differences, verdicts, strict=True)
            ),
            Looks(
                numbers=frozenset(range(1, 5)),
                signs={(row, 5): icon(*SIGNS[said]) for row, said in enumerate(verdicts)},
            ),
        )
        self.about.setText(
            f"{comparison.data}, {comparison.test}: both were asked the same "
            f"{comparison.queries:,} queries. Intervals: 95 % of {comparison.resamples:,} paired "
            "bootstrap draws."
        )
        unit = "Places" if "by place" in comparison.p_name else "Queries"
        self.only_title.setText(
            f"{unit} that only one got right: {comparison.only_first:,} the first, "
            f"{comparison.only_second:,} the second"
        )
        self.only.show_counts(comparison.only_first, comparison.only_second)
        counts = comparison.only_first, comparison.only_second
        for button, count, other in zip(self.looks, counts, ("second", "first"), strict=True):
            button.setEnabled(count > 0)
            button.setToolTip(f"The queries that the {other} missed, in the error browser")
        self.only.setVisible(bool(comparison.only_first or comparison.only_second))
        self.test.setText(sign_words(comparison))

    def _paint_dots(self) -> None:
        for row, dot in enumerate(self.dots):
            ink = line_colour(self.palette(), row).name()
            dot.setStyleSheet(f"color: {ink}")

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint_dots()
