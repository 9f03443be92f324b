"""The meter itself: it must see a freeze, say where it was, and see none in waiting."""

import time

from PySide6.QtCore import QTimer

from tests.stall import StallMeter


def freeze():
    time.sleep(0.3)


def test_a_freeze_is_measured_and_its_place_told(qtbot):
    meter = StallMeter()
    meter.start()
    QTimer.singleShot(20, freeze)
    qtbot.wait(400)
    stall = meter.stop()
    assert 0.2 < stall.seconds < 1
    assert "freeze" in stall.where


def test_computing_is_a_freeze_too(qtbot):
    def compute():
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass

    meter = StallMeter()
    meter.start()
    QTimer.singleShot(20, compute)
    qtbot.wait(300)
    assert meter.stop().seconds > 0.15


def test_waiting_is_none(qtbot):
    meter = StallMeter()
    meter.start()
    qtbot.wait(200)
    assert meter.stop().seconds < 0.15
