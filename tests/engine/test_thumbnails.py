"""Small copies of pictures for lists: upright, cached, and none spoils the others."""

import pytest
from PIL import Image

from app.engine.shelf import Shelf
from app.engine.thumbnails import shrink
from app.messages import JobCancelled, Shrink


@pytest.fixture
def shelf(tmp_path):
    return Shelf(device="cpu", cache=tmp_path / "cache")


def picture(path, size=(600, 400), colour=(200, 30, 30), **how):
    Image.new("RGB", size, colour).save(path, quality=95, **how)
    return path


def test_the_longer_side_is_what_was_asked_and_the_original_size_is_told(tmp_path, shelf):
    wide = picture(tmp_path / "a.jpg")
    (found,) = shrink(Shrink((wide,), side_px=150), shelf).thumbnails
    assert (found.picture, found.width, found.height) == (wide, 600, 400)
    with Image.open(found.path) as small:
        assert small.size == (150, 100)


def test_a_small_picture_is_not_enlarged(tmp_path, shelf):
    (found,) = shrink(Shrink((picture(tmp_path / "a.png", (20, 10)),)), shelf).thumbnails
    with Image.open(found.path) as small:
        assert small.size == (20, 10)


def test_a_turned_photo_is_upright(tmp_path, shelf):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    (found,) = shrink(Shrink((picture(tmp_path / "a.jpg", exif=exif),)), shelf).thumbnails
    assert (found.width, found.height) == (400, 600)


def test_the_second_time_comes_from_the_cache_with_the_same_answer(tmp_path, shelf):
    request = Shrink((picture(tmp_path / "a.jpg"),))
    first = shrink(request, shelf)
    when = first.thumbnails[0].path.stat().st_ino
    assert shrink(request, shelf) == first
    assert first.thumbnails[0].path.stat().st_ino == when


def test_a_picture_that_changed_is_made_small_anew(tmp_path, shelf):
    path = picture(tmp_path / "a.jpg")
    before = shrink(Shrink((path,)), shelf).thumbnails[0]
    picture(path, (300, 300))
    after = shrink(Shrink((path,)), shelf).thumbnails[0]
    assert after.path != before.path
    assert (after.width, after.height) == (300, 300)


def test_a_damaged_cache_file_is_made_anew(tmp_path, shelf):
    request = Shrink((picture(tmp_path / "a.jpg"),))
    path = shrink(request, shelf).thumbnails[0].path
    path.write_bytes(b"no picture")
    found = shrink(request, shelf).thumbnails[0]
    assert (found.width, found.height) == (600, 400)
    with Image.open(found.path) as small:
        assert small.size == (256, 171)


def test_one_that_cannot_be_read_leaves_the_others(tmp_path, shelf):
    bad, good = tmp_path / "bad.jpg", picture(tmp_path / "good.jpg")
    bad.write_bytes(b"no picture")
    found = shrink(Shrink((bad, tmp_path / "gone.jpg", good)), shelf).thumbnails
    assert [f.path is None for f in found] == [True, True, False]
    assert "bad.jpg" in found[0].problem
    assert "gone.jpg" in found[1].problem


def test_it_stops_between_two_pictures(tmp_path, shelf):
    def stop(_):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        shrink(Shrink((picture(tmp_path / "a.jpg"),)), shelf, stop)
