"""From a photo to ranked tiles, on a small town whose truth is known."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.engine import locate as locate_module
from app.engine.checkpoints import load_checkpoint
from app.engine.framing import frame_query
from app.engine.gallery_build import build_gallery
from app.engine.locate import HEADING_SPREAD_DEG, locate
from app.engine.photos import read_query
from app.engine.shelf import Shelf, sweep
from app.errors import JobCancelled, UserError
from app.messages import BuildGallery, Locate, Progress, QueryRead
from tests.engine.small_town import TILE_M, Town, make_checkpoint, make_town
from tests.engine.test_photos import wavy_panorama, with_gps

TILE = 38


@pytest.fixture(scope="module")
def town(tmp_path_factory) -> Town:
    return make_town(tmp_path_factory.getbasetemp() / "small-town")


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    return Shelf("cpu", tmp_path / "cache")


def ask(town: Town, photo: Path, **options) -> Locate:
    return Locate(photo, town.gallery, town.checkpoint, **options)


def off_by(heading: float, truth: float) -> float:
    return abs((heading - truth + 180) % 360 - 180)


@pytest.mark.parametrize("heading", [0.0, 90.0, 210.0])
def test_a_turned_photo_finds_its_tile_and_its_heading(town, shelf, heading):
    answer = locate(ask(town, town.photo(TILE, heading)), shelf)
    assert answer.best.tile == town.open().ids[TILE]
    assert off_by(answer.best.heading_deg, heading) < 1
    assert answer.turns == 12


def test_candidates_are_complete_and_in_order(town, shelf):
    answer = locate(ask(town, town.photo(TILE, 0.0), top_k=7), shelf)
    gallery = town.open()
    assert [c.rank for c in answer.candidates] == list(range(1, 8))
    scores = [c.score for c in answer.candidates]
    assert scores == sorted(scores, reverse=True)
    for candidate in answer.candidates:
        index = gallery.index_of(candidate.tile)
        assert candidate.position.lat == pytest.approx(gallery.latlon[index, 0])
        assert candidate.thumbnail.is_file()
        north_west, _, south_east, _ = candidate.footprint
        assert north_west.lat > candidate.position.lat > south_east.lat
        assert north_west.lon < candidate.position.lon < south_east.lon
        assert north_west.metres_to(south_east) == pytest.approx(TILE_M * 2**0.5, rel=0.01)
    assert 0 < sum(c.probability for c in answer.candidates) <= 1
    assert answer.confidence.radius_m == TILE_M
    assert answer.seconds > 0


def test_the_photo_can_be_shown_before_the_answer_is_there(town, shelf):
    told = []
    photo = town.photo(TILE, 0.0)
    locate(ask(town, photo), shelf, told.append)
    assert isinstance(told[0], QueryRead)
    assert told[0].photo == photo
    assert (told[0].width, told[0].height, told[0].kind) == (256, 256, "perspective")
    with Image.open(told[0].preview) as preview:
        assert (preview.format, preview.size) == ("JPEG", (256, 256))
    assert any(isinstance(body, Progress) for body in told[1:])


def test_a_large_photo_has_a_small_preview(town, shelf, tmp_path):
    path = tmp_path / "wide.jpg"
    Image.new("RGB", (6000, 1500)).save(path)
    told = []
    locate(ask(town, path), shelf, told.append)
    with Image.open(told[0].preview) as preview:
        assert preview.size == (2048, 512)


def test_gps_in_the_file_is_a_claim_and_changes_no_rank(town, shelf):
    plain = town.photo(TILE, 0.0, "plain.png")
    gps = {1: "S", 2: (33.0, 0.0, 0.0), 3: "W", 4: (70.0, 0.0, 0.0)}
    with Image.open(with_gps(town.folder / "g.jpg", gps)) as image:
        exif = image.getexif()
    located = town.photo(TILE, 0.0, "located.png", exif=exif)
    without, with_claim = (locate(ask(town, path), shelf) for path in (plain, located))
    assert without.query.claim is None
    assert without.claim_distance_m is None
    assert with_claim.query.claim is not None
    assert with_claim.claim_distance_m == pytest.approx(
        with_claim.query.claim.position.metres_to(with_claim.best.position)
    )
    assert with_claim.candidates == without.candidates
    assert with_claim.confidence == without.confidence


def test_a_heading_in_the_file_narrows_the_search(town, shelf):
    with Image.open(with_gps(town.folder / "g.jpg", {16: "T", 17: 90.0})) as image:
        exif = image.getexif()
    photo = town.photo(TILE, 90.0, "headed.png", exif=exif)
    narrow = locate(ask(town, photo), shelf)
    assert narrow.turns == 3
    assert narrow.query.heading_deg == 90
    assert {c.heading_deg for c in narrow.candidates} <= {80.0, 90.0, 100.0}
    assert narrow.best.heading_deg == 90
    assert narrow.best.tile == town.open().ids[TILE]
    assert HEADING_SPREAD_DEG == 10
    wide = locate(ask(town, photo, use_heading=False), shelf)
    assert wide.turns == 12


def test_the_number_of_turns_can_be_chosen(town, shelf):
    assert locate(ask(town, town.photo(TILE, 0.0), turns=4), shelf).turns == 4
    with pytest.raises(UserError, match="0 turns"):
        locate(ask(town, town.photo(TILE, 0.0), turns=0), shelf)


def test_asking_again_describes_nothing(town, shelf, monkeypatch):
    request = ask(town, town.photo(TILE, 30.0))
    first = locate(request, shelf)

    def refuse(*_args, **_options):
        raise AssertionError("described again")

    monkeypatch.setattr(locate_module, "describe_turns", refuse)
    again = locate(replace(request, top_k=3), shelf)
    assert again.candidates == first.candidates[:3]
    with pytest.raises(AssertionError, match="described again"):
        locate(replace(request, turns=5), shelf)


def test_a_changed_photo_is_described_anew(town, shelf, tmp_path):
    path = tmp_path / "p.png"
    shutil.copyfile(town.photo(TILE, 0.0), path)
    first = locate(ask(town, path), shelf)
    shutil.copyfile(town.photo(3, 0.0), path)
    second = locate(ask(town, path), shelf)
    assert second.best.tile == town.open().ids[3]
    assert first.query.preview != second.query.preview


def test_a_cancel_is_heard_while_the_photo_is_described(town, shelf):
    notes = []

    def report(body) -> None:
        notes.append(getattr(body, "note", ""))
        if notes.count("describing") == 2:
            raise JobCancelled

    shelf.seconds_per_picture[shelf.checkpoint(town.checkpoint).sha256] = 10.0  # a slow network
    with pytest.raises(JobCancelled):
        locate(ask(town, town.photo(TILE, 0.0)), shelf, report)
    assert notes.count("describing") == 2


# --- bad input --------------------------------------------------------------


def test_a_gallery_of_another_checkpoint_is_refused(town, shelf, tmp_path):
    other = make_checkpoint(tmp_path / "other.safetensors", "drone", (48, 48))
    with pytest.raises(UserError, match="was built with") as caught:
        locate(Locate(town.photo(TILE, 0.0), town.gallery, other), shelf)
    assert caught.value.hint


def test_a_panorama_is_refused_by_a_drone_checkpoint(town, shelf, tmp_path):
    path = tmp_path / "pano.png"
    Image.fromarray(wavy_panorama(256, 512)).save(path)
    with pytest.raises(UserError, match=r"pano\.png is a 360-degree panorama") as caught:
        locate(ask(town, path), shelf)
    assert "street" in caught.value.hint


def test_a_flat_photo_for_a_panorama_checkpoint_is_answered_with_a_warning(town, shelf, tmp_path):
    street = make_checkpoint(tmp_path / "street.safetensors", "street", (32, 128))
    gallery = rebuilt(town, street, tmp_path / "gallery")
    answer = locate(Locate(town.photo(TILE, 0.0), gallery, street), shelf)
    assert answer.turns == 1
    assert "no 360-degree panorama" in answer.confidence.reasons[0]


def test_a_panorama_is_rolled_through_all_headings(town, shelf, tmp_path):
    street = make_checkpoint(tmp_path / "street.safetensors", "street", (32, 128))
    gallery = rebuilt(town, street, tmp_path / "gallery")
    path = tmp_path / "pano.png"
    Image.fromarray(wavy_panorama(256, 512)).save(path)
    answer = locate(Locate(path, gallery, street), shelf)
    assert answer.turns == 12
    assert answer.query.kind == "panorama"
    assert not any("panorama" in reason for reason in answer.confidence.reasons)


def rebuilt(town: Town, checkpoint: Path, gallery: Path) -> Path:
    request = BuildGallery(
        town.folder / "town.tif", checkpoint, gallery, tile_size_m=TILE_M, overlap=0.0
    )
    build_gallery(request, load_checkpoint(checkpoint, device="cpu"))
    return gallery


@pytest.mark.parametrize("missing", ["photo", "gallery", "checkpoint"])
def test_what_is_missing_is_named(town, shelf, missing):
    request = ask(town, town.photo(TILE, 0.0))
    gone = Path("/nowhere") / f"{missing} ü"
    with pytest.raises(UserError, match=f"{missing} ü"):
        locate(replace(request, **{missing: gone}), shelf)


def test_a_cache_that_cannot_be_written_is_named(town, tmp_path):
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cache") as caught:
        locate(ask(town, town.photo(TILE, 0.0)), Shelf("cpu", blocked))
    assert caught.value.hint


# --- the shelf --------------------------------------------------------------


def test_things_are_loaded_once_and_again_when_their_file_changes(town, shelf, tmp_path):
    copy = tmp_path / "copy.safetensors"
    shutil.copyfile(town.checkpoint, copy)
    first = shelf.checkpoint(copy)
    assert shelf.checkpoint(copy) is first
    assert shelf.gallery(town.gallery) is shelf.gallery(town.gallery)
    make_checkpoint(copy, "drone", (48, 48))
    assert shelf.checkpoint(copy) is not first


def test_at_most_two_checkpoints_stay_loaded(town, shelf, tmp_path):
    paths = [tmp_path / f"{n}.safetensors" for n in range(3)]
    for path in paths:
        shutil.copyfile(town.checkpoint, path)
    loaded = [shelf.checkpoint(path) for path in paths]
    assert shelf.checkpoint(paths[2]) is loaded[2]
    assert shelf.checkpoint(paths[1]) is loaded[1]
    assert shelf.checkpoint(paths[0]) is not loaded[0]


def test_the_cache_folder_is_swept_oldest_first(tmp_path):
    shelf = Shelf("cpu", tmp_path / "c")
    paths = [shelf.keep(f"{n}.bin", bytes(100)) for n in range(5)]
    for age, path in enumerate(paths):
        os.utime(path, (1000 + age, 1000 + age))
    assert shelf.kept("0.bin") == paths[0]  # used just now
    sweep(shelf.cache, 250)
    assert {p.name for p in shelf.cache.iterdir()} == {"0.bin", "4.bin"}


def test_pictures_in_the_cache_are_whole(tmp_path):
    shelf = Shelf("cpu", tmp_path / "c")
    path = shelf.keep("a.bin", b"first")
    assert shelf.keep("a.bin", b"second") == path
    assert path.read_bytes() == b"first"
    assert [p.name for p in shelf.cache.iterdir()] == ["a.bin"]


def test_scores_are_those_of_the_best_turn(town, shelf):
    """The answer's scores again, the slow way: each turn against each tile."""
    photo = town.photo(TILE, 45.0)
    answer = locate(ask(town, photo, top_k=500), shelf)
    checkpoint, gallery = shelf.checkpoint(town.checkpoint), town.open()
    image = read_query(photo).image
    rows = [
        checkpoint.describe(
            frame_query(image, kind="perspective", size=(64, 64), heading_deg=30.0 * turn)[None],
            "drone",
        )[0]
        for turn in range(12)
    ]
    tiles = gallery.descriptors.astype(np.float64)
    tiles /= np.linalg.norm(tiles, axis=1, keepdims=True)
    cosines = tiles @ np.array(rows, np.float64).T
    for candidate in answer.candidates:
        index = gallery.index_of(candidate.tile)
        assert candidate.score == pytest.approx(cosines[index].max(), abs=1e-4)
