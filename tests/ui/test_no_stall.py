"""The watch itself: it must see a freeze, and must not see one where there is none."""

import time

import pytest
from PySide6.QtCore import QTimer


def test_a_freeze_is_seen(qtbot, no_stall):
    QTimer.singleShot(20, lambda: time.sleep(0.15))
    with pytest.raises(AssertionError, match="froze"), no_stall(limit_s=0.1):
        qtbot.wait(250)


def test_waiting_is_no_freeze(qtbot, no_stall):
    with no_stall() as stall:
        qtbot.wait(150)
    assert 0 < stall.longest_s < 0.5


def test_a_freeze_at_the_very_end_is_seen_too(qtbot, no_stall):
    with pytest.raises(AssertionError, match="froze"), no_stall(limit_s=0.1):
        time.sleep(0.15)
