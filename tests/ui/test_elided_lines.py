"""A label that shows as many lines as there is room for, and says where it goes on."""

import pytest

from app.ui.elided import ElidedLines

TEXT = "4 of the top 10 lie within 80 m of the best; the best rival lies 433 m away; " * 3


@pytest.fixture
def label(qtbot):
    label = ElidedLines(2)
    qtbot.addWidget(label)
    label.setText(TEXT)
    return label


def test_what_does_not_fit_ends_in_an_ellipsis(label):
    label.resize(200, label.height())
    first, last = label.shown()
    assert TEXT.startswith(first)
    assert last.endswith("…")
    assert all(label.fontMetrics().horizontalAdvance(line) <= 200 for line in (first, last))


def test_what_fits_is_shown_whole(label):
    label.resize(200, label.height())
    label.setText("short")
    assert label.shown() == ("short",)
    label.setText(TEXT)
    label.resize(label.fontMetrics().horizontalAdvance(TEXT), label.height())
    assert " ".join(label.shown()) == TEXT.strip()


def test_it_draws_its_lines(label):
    label.resize(200, label.height())
    full = label.grab().toImage()
    label.setText("")
    assert label.shown() in ((), ("",))
    assert full != label.grab().toImage()
