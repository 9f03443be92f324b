"""The answer in words: where, how sure and why, and what the photo itself claims."""

from PySide6.QtCore import QPoint, Qt, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from app.messages import Candidate, Confidence, Location
from app.ui.coordinates import FORMATS, Format, position_text
from app.ui.elided import ElidedLabel, ElidedLines
from app.ui.map_marks import length_text
from app.ui.session import LocateSession, QueryState
from app.ui.theme import GAP, ColourRole, colour, icon


class Badge(QLabel):
    """A short word in a coloured frame."""

    def __init__(self) -> None:
        super().__init__()
        self._role: ColourRole = "subtle"
        policy = QSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        policy.setRetainSizeWhenHidden(True)  # so that nothing jumps when it comes
        self.setSizePolicy(policy)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)

    def show_words(self, words: str, role: ColourRole, tip: str) -> None:
        self._role = role
        self.setText(words)
        self.setToolTip(tip)
        self.setAccessibleDescription(tip)
        self.repaint_colours()

    def repaint_colours(self) -> None:
        ink = colour(self.palette(), self._role).name()
        self.setStyleSheet(
            f"QLabel {{ color: {ink}; border: 1px solid {ink}; border-radius: 4px;"
            " padding: 1px 6px; }"
        )


class AnswerBar(QFrame):
    def __init__(
        self, session: LocateSession, *, style: Format = "DD", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session = session
        self.setProperty("panel", True)
        self.setAccessibleName("Answer")
        self.where = QPushButton()
        self.where.setFlat(True)
        self.where.setIcon(icon("copy"))
        self.where.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # the icon after the words
        font = self.where.font()
        font.setPointSizeF(font.pointSizeF() * 1.35)
        font.setBold(True)
        self.where.setFont(font)
        self.where.setStyleSheet("QPushButton { padding: 1px 0; text-align: left; }")
        self.where.setToolTip("Copy the position of the selected tile (Ctrl+C)")
        self.which = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self.which.setProperty("small", True)
        self.formats = QComboBox()
        self.formats.setAccessibleName("How positions are written")
        for key, words in FORMATS:
            self.formats.addItem(key, key)
            self.formats.setItemData(
                self.formats.count() - 1, words, int(Qt.ItemDataRole.ToolTipRole)
            )
        self.formats.setCurrentIndex([key for key, _ in FORMATS].index(style))
        self.sure = QLabel()
        bold = self.sure.font()
        bold.setBold(True)
        self.sure.setFont(bold)
        self.sure.setTextFormat(Qt.TextFormat.PlainText)
        self.badge = Badge()
        self.reasons = ElidedLines(2)
        self.reasons.setProperty("small", True)
        self.claim_sign = QLabel()
        self.claim_sign.setPixmap(icon("claim", "claim").pixmap(20, 20))
        self.claim = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self.claim_note = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self.claim_note.setProperty("small", True)
        self._lay_out()
        self.where.clicked.connect(self.copy_position)
        self.formats.currentIndexChanged.connect(self._on_format)
        session.candidate_selected.connect(self._refresh)
        session.selected.connect(self._refresh)
        session.changed.connect(self._on_changed)
        session.refreshed.connect(self._refresh)
        self._refresh()

    @property
    def style_of_positions(self) -> Format:
        return FORMATS[self.formats.currentIndex()][0]

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.setSpacing(GAP // 2)
        top.addWidget(self.where)
        top.addWidget(self.formats)
        top.addStretch(1)
        left = QVBoxLayout()
        left.setSpacing(2)
        left.addLayout(top)
        left.addWidget(self.which)
        left.addStretch(1)
        head = QHBoxLayout()
        head.setSpacing(GAP)
        head.addWidget(self.sure)
        head.addWidget(self.badge)
        head.addStretch(1)
        middle = QVBoxLayout()
        middle.setSpacing(2)
        middle.addLayout(head)
        middle.addWidget(self.reasons)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self.claim)
        words.addWidget(self.claim_note)
        words.addStretch(1)
        row = QHBoxLayout(self)
        row.setContentsMargins(GAP, GAP // 2, GAP, GAP // 2)
        row.setSpacing(2 * GAP)
        row.addLayout(left, 5)
        row.addLayout(middle, 6)
        right = QHBoxLayout()
        right.setSpacing(GAP)
        right.addWidget(self.claim_sign, 0, Qt.AlignmentFlag.AlignTop)
        right.addLayout(words, 1)
        row.addLayout(right, 5)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    @Slot()
    def copy_position(self) -> None:
        candidate = self._session.candidate
        if candidate is not None:
            words = position_text(candidate.position, self.style_of_positions)
            QGuiApplication.clipboard().setText(words)
            at = self.where.mapToGlobal(QPoint(0, self.where.height()))
            QToolTip.showText(at, f"Copied {words}", self.where)

    @Slot(int)
    def _on_format(self, index: int) -> None:
        del index
        self._refresh()

    @Slot(object)
    def _on_changed(self, path: object) -> None:
        state = self._session.current
        if state is not None and state.path == path:
            self._refresh()

    @Slot()
    def _refresh(self) -> None:
        state, candidate = self._session.current, self._session.candidate
        answer = None if state is None else state.answer
        there = state is not None and answer is not None and candidate is not None
        self.where.setEnabled(there)
        for widget in (self.badge, self.formats, self.sure):
            widget.setVisible(there)
        self.badge.repaint_colours()
        if state is not None and answer is not None and candidate is not None:
            self._show_where(answer, candidate)
            self._show_confidence(answer.confidence)
            self._show_claim(state, answer)
        else:
            self._show_nothing(state)

    def _show_nothing(self, state: QueryState | None) -> None:
        """The bar keeps its place, so that nothing jumps when the answer comes."""
        failed = state is not None and state.problem is not None
        self.where.setText("No position" if failed else "No position yet")
        self.which.setText("" if state is None else state.path.name)
        self.reasons.setText("")
        for widget in (self.claim_sign, self.claim, self.claim_note):
            widget.hide()

    def _show_where(self, answer: Location, candidate: Candidate) -> None:
        words = position_text(candidate.position, self.style_of_positions)
        self.where.setText(words)
        self.where.setAccessibleName(f"Copy position {words}")
        away = candidate.position.metres_to(answer.best.position)
        self.which.setText(
            "Best position: centre of the rank 1 tile, WGS84"
            if candidate.rank == 1
            else f"Rank {candidate.rank}, {length_text(away)} from rank 1, WGS84"
        )

    def _show_confidence(self, confidence: Confidence) -> None:
        self.sure.setText(
            f"{confidence.best_probability:.0%} within {length_text(confidence.radius_m)}"
        )
        self.sure.setToolTip(
            f"90 % of the probability lies on {_area(confidence.area_90_m2)}; "
            f"the top candidates lie {length_text(confidence.spread_m)} from rank 1 on average; "
            f"the best rival elsewhere scores {confidence.gap:.3f} less."
        )
        if confidence.calibrated:
            self.badge.show_words(
                "calibrated elsewhere",
                "subtle",
                "The probabilities were fitted on held-out queries of other imagery (which, the "
                "last reason and the card say). On yours they may be too bold or too shy.",
            )
        else:
            self.badge.show_words(
                "not calibrated",
                "warning",
                "Nobody has fitted these probabilities on photos like this: "
                "take them as an order, not as odds.",
            )
        self.reasons.setText("; ".join(confidence.reasons))
        self.reasons.setToolTip("\n".join(confidence.reasons))

    def _show_claim(self, state: QueryState, answer: Location) -> None:
        claim = None if state.read is None else state.read.claim
        self.claim_sign.setVisible(claim is not None)
        self.claim.setVisible(claim is not None)
        self.claim_note.setVisible(claim is not None)
        distance = answer.claim_distance_m
        if claim is not None and distance is not None:
            place = position_text(claim.position, self.style_of_positions)
            self.claim.setText(f"The photo claims {place}")
            taken = f", taken {claim.taken}" if claim.taken else ""
            self.claim_note.setText(
                f"{length_text(distance)} from rank 1 ({claim.source}{taken}); not used"
            )
            self.claim_note.setToolTip(
                "Read from the photo's own metadata, which anybody can write. "
                "It plays no part in the answer."
            )


def _area(square_metres: float) -> str:
    if square_metres < 100_000:
        return f"{square_metres:,.0f} m²"
    return f"{square_metres / 1e6:,.2f} km²"
