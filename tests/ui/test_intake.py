"""What is dropped is sorted; nothing is left out in silence."""

import threading

import pytest
from PySide6.QtGui import QImage

from app.card import CARD_KEY
from app.manifest import MANIFEST_NAME
from app.ui.intake import Intake, sort_paths


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_is_walked_and_what_is_no_photo_is_named(tmp_path):
    make(tmp_path, "b.JPG", "a.png", "deep/er/c.heic", "notes.txt", ".DS_Store", ".git/d.jpg")
    found = sort_paths([tmp_path])
    assert [path.name for path in found.photos] == ["a.png", "b.JPG", "c.heic"]
    assert found.skipped == ("notes.txt: .txt files are not photos",)


def test_a_gallery_inside_a_folder_is_one_and_its_thumbnails_are_no_photos(tmp_path):
    make(tmp_path, f"town/{MANIFEST_NAME}", "town/thumbnails/t1.jpg", "photo.jpg")
    found = sort_paths([tmp_path])
    assert found.galleries == (tmp_path / "town",)
    assert [path.name for path in found.photos] == ["photo.jpg"]


def test_checkpoints_and_imagery_are_told_from_photos(tmp_path):
    make(tmp_path, f"{CARD_KEY}.safetensors", "map.mbtiles", "no suffix")
    found = sort_paths(sorted(tmp_path.iterdir()))
    assert [path.name for path in found.checkpoints] == [f"{CARD_KEY}.safetensors"]
    assert any("map.mbtiles: imagery" in words for words in found.skipped)
    assert any("no suffix: not a photo" in words for words in found.skipped)


def test_what_is_not_there_and_what_is_empty_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    found = sort_paths([tmp_path / "gone.jpg", tmp_path / "empty"])
    assert "no such file" in found.skipped[0]
    assert "an empty folder" in found.skipped[1]


def test_a_photo_dropped_twice_is_one(tmp_path):
    make(tmp_path, "Фото 1.jpg")
    found = sort_paths([tmp_path / "Фото 1.jpg", tmp_path])
    assert found.photos == (tmp_path / "Фото 1.jpg",)


@pytest.fixture
def intake(qapp):
    intake = Intake()
    yield intake
    intake.close()


def test_answers_come_on_the_gui_thread(qtbot, intake, tmp_path):
    make(tmp_path, "a.jpg")
    threads = []
    intake.found.connect(lambda found: threads.append(threading.current_thread()))
    with qtbot.waitSignal(intake.found) as found:
        intake.take([tmp_path])
    assert found.args[0].photos == (tmp_path / "a.jpg",)
    assert threads == [threading.main_thread()]


def test_a_pasted_picture_becomes_a_file_of_the_users(qtbot, intake):
    image = QImage(8, 6, QImage.Format.Format_RGB32)
    image.fill(0xFF336699)
    with qtbot.waitSignal(intake.found) as found:
        intake.take_image(image)
    (path,) = found.args[0].photos
    kept = QImage(str(path))
    assert (kept.width(), kept.height(), kept.pixelColor(0, 0).name()) == (8, 6, "#336699")
