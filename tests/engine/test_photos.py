"""Every kind of picture that people drop, and what its metadata is worth."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin

from app.engine import photos
from app.engine.photos import frame_query, list_photos, read_query, read_rgb
from app.errors import UserError
from app.geo import LatLon

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(path: Path, pixels: np.ndarray | Image.Image, **options: object) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def near(actual, expected, within: int = 3) -> bool:
    return bool((np.abs(np.asarray(actual, int) - np.asarray(expected, int)) <= within).all())


@pytest.fixture
def ramp() -> np.ndarray:
    """24 x 40 RGB, another colour in every corner."""
    y, x = np.mgrid[0:24, 0:40]
    return np.dstack([x * 6, y * 10, 255 - x * 6]).astype(np.uint8)


# --- formats and colour -----------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "bmp", "jpg", "avif", "heic"])
def test_each_format_gives_the_same_picture(tmp_path, ramp, suffix):
    lossless = {"webp": {"lossless": True}, "jpg": {"quality": 95, "subsampling": 0}}
    options = lossless.get(suffix, {"quality": 95} if suffix in ("avif", "heic") else {})
    path = save(tmp_path / f"photo.{suffix}", ramp, **options)
    image = read_rgb(path)
    assert image.shape == (24, 40, 3)
    assert np.abs(image.astype(int) - ramp).mean() < 4


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    for name in ("grey.png", "grey.tif"):
        image = read_rgb(save(tmp_path / name, values))
        assert image[0, :, 0].tolist() == [0, 1, 128, 255]
        assert (image[..., 0] == image[..., 2]).all()


def test_big_endian_sixteen_bit_is_scaled_too(tmp_path):
    values = np.array([[0, 65535], [32768, 257]], ">u2")
    image = read_rgb(save(tmp_path / "big.tif", Image.frombytes("I;16B", (2, 2), values.tobytes())))
    assert image[..., 0].tolist() == [[0, 255], [128, 1]]


def test_sixteen_bit_colour_keeps_its_high_bytes(tmp_path):
    raw = struct.pack(">BHHHHHH", 0, 65535, 32768, 0, 0, 65535, 4096)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    )
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    path = tmp_path / "deep.png"
    path.write_bytes(content)
    assert near(read_rgb(path), [[[255, 128, 0], [0, 255, 16]]], within=1)


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-10.0, 0.0, 10.0], [0, 128, 255]),
        ([np.nan, 0.5, np.inf], [0, 128, 0]),
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
    ],
)
def test_floating_point_pictures_are_stretched_over_what_they_hold(tmp_path, values, grey):
    path = save(tmp_path / "float.tif", np.array([values], np.float32))
    assert near(read_rgb(path)[0, :, 0], grey, within=1)


def test_cmyk_grey_palette_and_one_bit_become_rgb(tmp_path):
    assert near(
        read_rgb(save(tmp_path / "c.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)))), RED
    )
    assert near(read_rgb(save(tmp_path / "g.png", Image.new("L", (8, 8), 77))), (77, 77, 77))
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 0, 255, 0])
    assert near(read_rgb(save(tmp_path / "p.png", palette)), GREEN)
    assert near(read_rgb(save(tmp_path / "b.png", Image.new("1", (8, 8), 1))), WHITE)


def test_transparent_pixels_become_white(tmp_path):
    rgba = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert near(read_rgb(save(tmp_path / "a.png", rgba)), WHITE)
    assert near(read_rgb(save(tmp_path / "la.png", Image.new("LA", (8, 8), (0, 127)))), (128,) * 3)
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 255])
    assert near(read_rgb(save(tmp_path / "pa.png", palette, transparency=0)), WHITE)


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    for name in ("a.gif", "a.png", "a.webp"):
        path = save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
        assert near(read_rgb(path), RED, within=6), name


def profile_with_red_and_green_swapped() -> bytes:
    """sRGB's own ICC profile under another name, the places of two primaries exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    return profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


def test_a_colour_profile_is_applied(tmp_path):
    icc = profile_with_red_and_green_swapped()
    for name, options in (("s.png", {}), ("s.jpg", {"quality": 100, "subsampling": 0})):
        path = save(tmp_path / name, Image.new("RGB", (8, 8), RED), icc_profile=icc, **options)
        assert near(read_rgb(path), GREEN, within=6), name


def test_lab_becomes_rgb(tmp_path):
    red = Image.new("LAB", (8, 8), (136, 208, 195))  # L 53 %, a 80, b 67
    assert near(read_rgb(save(tmp_path / "lab.tif", red)), RED, within=12)


def test_a_broken_colour_profile_is_passed_over(tmp_path):
    path = save(tmp_path / "s.png", Image.new("RGB", (8, 8), RED), icc_profile=b"not a profile")
    assert near(read_rgb(path), RED)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_the_exif_turn_is_applied(tmp_path, tag, suffix):
    """The stored picture is turned so that only the right undoing puts red on top left."""
    upright = Image.new("RGB", (48, 32), BLUE)
    upright.paste(RED, (0, 0, 16, 16))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[tag]) if tag in undo else upright
    exif = Image.Exif()
    exif[274] = tag
    query = read_query(save(tmp_path / f"t.{suffix}", stored, exif=exif))
    assert (query.width, query.height) == (48, 32)
    assert query.image.shape == (32, 48, 3)
    assert near(query.image[4, 4], RED, within=8)
    assert near(query.image[28, 44], BLUE, within=8)


def test_a_large_jpeg_is_decoded_small_but_reports_its_own_size(tmp_path):
    path = save(tmp_path / "big.jpg", Image.new("RGB", (5000, 4200), GREEN))
    query = read_query(path)
    assert (query.width, query.height) == (5000, 4200)
    assert photos.QUERY_SIDE <= min(query.image.shape[:2]) < 2 * photos.QUERY_SIDE
    assert read_rgb(path).shape == (4200, 5000, 3)


# --- bad input --------------------------------------------------------------


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        read_query(path)
    assert path.name in str(caught.value)
    assert caught.value.hint
    return caught.value


def test_a_missing_file_is_named(tmp_path):
    assert "no file" in str(refusal(tmp_path / "gone 空.jpg"))


def test_an_empty_file_is_named(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    assert "0 bytes" in str(refusal(path))


def test_a_folder_is_no_photo(tmp_path):
    assert "folder" in str(refusal(tmp_path))


def test_text_is_no_photo(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("not a picture")
    assert "not a picture" in str(refusal(path))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp", "heic", "avif", "gif"])
def test_a_truncated_picture_is_refused(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut.{suffix}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "heic", "avif", "gif"])
def test_damaged_bytes_end_in_a_sentence_or_a_picture(tmp_path, suffix, ramp):
    """Never in an error of the decoder's own."""
    content = save(tmp_path / f"whole.{suffix}", ramp).read_bytes()
    dice = np.random.default_rng(1)
    refused = 0
    for trial in range(60):
        broken = bytearray(content)
        for at in dice.integers(0, len(broken), 4):
            broken[at] = dice.integers(0, 256)
        path = tmp_path / f"b{trial}.{suffix}"
        path.write_bytes(broken)
        try:
            assert read_query(path).image.ndim == 3
        except UserError:
            refused += 1
    assert refused > 0


def png_of_size(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    data = b"IDAT" + zlib.compress(b"\x00" * 1000)
    return (
        body
        + struct.pack(">I", zlib.crc32(header))
        + struct.pack(">I", len(data) - 4)
        + data
        + struct.pack(">I", zlib.crc32(data))
    )


@pytest.mark.parametrize("side", [18_000, 30_000, 200_000])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_size(side, side))
    assert "megapixels" in str(refusal(path))


def test_a_file_beyond_the_size_limit_is_refused_unread(tmp_path, photo, monkeypatch):
    monkeypatch.setattr(photos, "MAX_FILE_BYTES", 100)
    assert "too large" in str(refusal(photo))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(photo):
    photo.chmod(0)
    assert "may not be read" in str(refusal(photo))


def test_a_refused_permission_says_so(photo, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "may not be read" in str(refusal(photo))


def test_a_vanished_drive_is_an_expected_failure(photo, monkeypatch):
    def fail(self):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert "Input/output error" in str(refusal(photo))


# --- position ---------------------------------------------------------------


def with_gps(path: Path, gps: dict[int, object], *, size: tuple[int, int] = (16, 16)) -> Path:
    exif = Image.Exif()
    exif[306] = "2024:10:30 10:05:16"
    exif.get_ifd(0x8825).update(gps)
    return save(path, Image.new("RGB", size), exif=exif)


def rational(numerator: int, denominator: int) -> TiffImagePlugin.IFDRational:
    return TiffImagePlugin.IFDRational(numerator, denominator)


GOOD_GPS = {1: "S", 2: (33.0, 51.0, 24.5), 3: "W", 4: (70.0, 40.0, 12.0)}


def test_gps_signs_follow_the_hemisphere(tmp_path):
    claim = read_query(with_gps(tmp_path / "p.jpg", GOOD_GPS)).claim
    assert claim is not None
    assert claim.position == LatLon(-(33 + 51 / 60 + 24.5 / 3600), -(70 + 40 / 60 + 12 / 3600))
    assert (claim.source, claim.taken) == ("EXIF GPS", "2024:10:30 10:05:16")


def test_altitude_below_the_sea_is_negative(tmp_path):
    below = with_gps(tmp_path / "p.jpg", {**GOOD_GPS, 5: b"\x01", 6: 12.5})
    assert read_query(below).metadata.altitude_m == -12.5
    above = with_gps(tmp_path / "q.jpg", {**GOOD_GPS, 5: b"\x00", 6: 12.5})
    assert read_query(above).metadata.altitude_m == 12.5


def test_another_datum_is_told(tmp_path):
    claim = read_query(with_gps(tmp_path / "p.jpg", {**GOOD_GPS, 18: "TOKYO"})).claim
    assert claim is not None
    assert claim.source == "EXIF GPS (datum TOKYO)"


@pytest.mark.parametrize(
    "change",
    [
        {1: ""},
        {1: "X"},
        {2: (91.0, 0.0, 0.0)},
        {2: (33.0, 75.0, 0.0)},
        {2: (33.0, 51.0)},
        {2: (rational(33, 1), rational(51, 1), rational(0, 0))},
        {4: (181.0, 0.0, 0.0)},
        {4: (rational(1, 0), 0.0, 0.0)},
        {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)},
        {9: "V"},
    ],
)
def test_doubtful_gps_is_no_claim(tmp_path, change):
    assert read_query(with_gps(tmp_path / "p.jpg", {**GOOD_GPS, **change})).claim is None


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_incomplete_gps_is_no_claim(tmp_path, missing):
    partial = {key: value for key, value in GOOD_GPS.items() if key != missing}
    assert read_query(with_gps(tmp_path / "p.jpg", partial)).claim is None


@settings(max_examples=60, deadline=None)
@given(lat=st.floats(-90, 90), lon=st.floats(-180, 180))
def test_any_position_survives_exif(tmp_path_factory, lat, lon):
    def sexagesimal(value: float) -> tuple[object, ...]:
        thousandths = round(abs(value) * 3_600_000)
        degrees, rest = divmod(thousandths, 3_600_000)
        minutes, seconds = divmod(rest, 60_000)
        return rational(degrees, 1), rational(minutes, 1), rational(seconds, 1000)

    gps = {
        1: "N" if lat >= 0 else "S",
        2: sexagesimal(lat),
        3: "E" if lon >= 0 else "W",
        4: sexagesimal(lon),
    }
    path = with_gps(tmp_path_factory.mktemp("exif") / "p.jpg", gps, size=(1, 1))
    claim = read_query(path).claim
    if abs(lat) < 1e-6 and abs(lon) < 1e-6:
        return  # what cameras without a fix write
    assert claim is not None
    assert claim.position.lat == pytest.approx(lat, abs=3e-7)
    assert claim.position.lon == pytest.approx(lon, abs=3e-7)


# --- heading and projection -------------------------------------------------

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
 xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/"
 xmlns:Camera="http://pix4d.com/camera/1.0/"
 xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" {attributes}>{elements}</rdf:Description>
 </rdf:RDF></x:xmpmeta>"""


def with_xmp(
    path: Path,
    attributes: str = "",
    elements: str = "",
    *,
    gps: dict[int, object] | None = None,
    turn: int = 1,
) -> Path:
    exif = Image.Exif()
    exif[274] = turn
    exif.get_ifd(0x8825).update(gps or {})
    packet = XMP.format(attributes=attributes, elements=elements).encode()
    return save(path, Image.new("RGB", (16, 16)), xmp=packet, exif=exif)


def dji(**fields: object) -> str:
    return " ".join(f'drone-dji:{name}="{value}"' for name, value in fields.items())


@pytest.mark.parametrize("longitude", ["GpsLongitude", "GpsLongtitude"])
def test_dji_position_is_read_under_both_spellings(tmp_path, longitude):
    path = with_xmp(tmp_path / "p.jpg", dji(GpsLatitude="+24.2500000", **{longitude: "-120.5"}))
    claim = read_query(path).claim
    assert claim is not None
    assert claim.position == LatLon(24.25, -120.5)
    assert claim.source == "XMP drone-dji"


def test_exif_gps_comes_before_xmp(tmp_path):
    path = with_xmp(tmp_path / "p.jpg", dji(GpsLatitude="1", GpsLongitude="2"), gps=GOOD_GPS)
    claim = read_query(path).claim
    assert claim is not None
    assert claim.source == "EXIF GPS"


@pytest.mark.parametrize(
    ("fields", "heading"),
    [
        ({"GimbalYawDegree": "-30.0", "GimbalPitchDegree": "-90.0", "FlightYawDegree": "5"}, 330.0),
        # all three gimbal angles zero: not recorded, the aircraft's yaw counts
        (
            {
                "GimbalYawDegree": "+0.00",
                "GimbalPitchDegree": "+0.00",
                "GimbalRollDegree": "+0.00",
                "FlightYawDegree": "+152.10",
                "FlightPitchDegree": "+3.10",
            },
            152.1,
        ),
        # a gimbal that truly faces north while the aircraft does not
        (
            {"GimbalYawDegree": "0", "GimbalPitchDegree": "-90", "FlightYawDegree": "152.1"},
            0.0,
        ),
        ({"GimbalYawDegree": "10", "GimbalPitchDegree": "-90", "GimbalRollDegree": "180"}, 190.0),
        ({"FlightYawDegree": "0", "FlightPitchDegree": "0", "FlightRollDegree": "0"}, None),
        ({"FlightYawDegree": "north"}, None),
        ({"FlightYawDegree": "nan"}, None),
        ({"RelativeAltitude": "+119.70"}, None),
    ],
)
def test_the_heading_of_a_drone_photo(tmp_path, fields, heading):
    query = read_query(with_xmp(tmp_path / "p.jpg", dji(**fields)))
    assert query.heading_deg == (None if heading is None else pytest.approx(heading))


def test_height_and_pitch_are_read(tmp_path):
    fields = dji(RelativeAltitude="+119.70", GimbalPitchDegree="-89.9", GimbalYawDegree="1")
    told = read_query(with_xmp(tmp_path / "p.jpg", fields)).metadata
    assert (told.height_m, told.pitch_deg) == (119.7, -89.9)


def test_camera_yaw_of_other_makers_is_read_from_elements(tmp_path):
    elements = "<Camera:Yaw>200.5</Camera:Yaw><Camera:Pitch>0.1</Camera:Pitch>"
    assert read_query(with_xmp(tmp_path / "p.jpg", elements=elements)).heading_deg == 200.5


def test_the_heading_is_dropped_when_the_file_was_turned(tmp_path):
    path = with_xmp(tmp_path / "p.jpg", dji(GimbalYawDegree="30", GimbalPitchDegree="-90"), turn=6)
    assert read_query(path).heading_deg is None


@pytest.mark.parametrize(
    ("ref", "direction", "heading"),
    [("T", 271.5, 271.5), ("M", 271.5, None), ("", 271.5, None), ("T", 400.0, None)],
)
def test_only_a_true_compass_direction_in_exif_is_a_heading(tmp_path, ref, direction, heading):
    path = with_gps(tmp_path / "p.jpg", {**GOOD_GPS, 16: ref, 17: direction})
    assert read_query(path).heading_deg == heading


def test_a_google_panorama_is_one_and_says_where_it_faces(tmp_path):
    fields = 'GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="123.4"'
    query = read_query(with_xmp(tmp_path / "p.jpg", fields))
    assert (query.kind, query.heading_deg) == ("panorama", 123.4)


def test_part_of_a_panorama_is_a_perspective(tmp_path):
    fields = (
        'GPano:ProjectionType="equirectangular" GPano:FullPanoWidthPixels="8000" '
        'GPano:CroppedAreaImageWidthPixels="4000"'
    )
    assert read_query(with_xmp(tmp_path / "p.jpg", fields)).kind == "perspective"


@pytest.mark.parametrize(
    "packet",
    [
        b"<x:xmpmeta",
        b"\xff\xfe\x00",
        b'<!DOCTYPE a [<!ENTITY b "cc">]><a xmlns:d="http://www.dji.com/drone-dji/1.0/"'
        b' d:FlightYawDegree="&b;"/>',
        b'<?xml version="1.0" encoding="klingon"?><a/>',
        XMP.format(attributes=dji(FlightYawDegree="12"), elements="x" * (1 << 20)).encode(),
    ],
)
def test_bad_or_huge_xmp_is_passed_over(tmp_path, packet):
    path = tmp_path / "p.webp"
    save(path, Image.new("RGB", (16, 16)), xmp=packet)
    assert read_query(path).heading_deg is None


def test_broken_exif_does_not_cost_the_photo(tmp_path):
    path = save(tmp_path / "p.jpg", Image.new("RGB", (16, 16)), exif=b"Exif\x00\x00MM\x00*\xff\xff")
    assert read_query(path).claim is None


def wavy_panorama(height: int, width: int) -> np.ndarray:
    azimuth = np.linspace(0, 2 * np.pi, width, endpoint=False)
    rows = np.linspace(0, 6, height)[:, None]
    waves = [120 + 100 * np.sin(k * azimuth + rows) for k in (1, 2, 3)]
    return np.dstack(waves).astype(np.uint8)


def test_a_wide_picture_that_closes_is_a_panorama(tmp_path):
    wide = wavy_panorama(256, 512)
    assert read_query(save(tmp_path / "a.png", wide)).kind == "panorama"
    half = np.ascontiguousarray(wide[:128, 10:290])
    assert read_query(save(tmp_path / "c.png", half)).kind == "perspective"
    plain = np.full((64, 128, 3), 90, np.uint8)
    assert read_query(save(tmp_path / "d.png", plain)).kind == "perspective"


# --- framing ----------------------------------------------------------------


def stamped(height: int, width: int, side: str) -> np.ndarray:
    """Black with a white mark near one side of the centred square."""
    image = np.zeros((height, width, 3), np.uint8)
    centre, reach = (height // 2, width // 2), min(height, width) // 2 - 12
    at = {"top": (-reach, 0), "right": (0, reach), "bottom": (reach, 0), "left": (0, -reach)}[side]
    row, column = centre[0] + at[0], centre[1] + at[1]
    image[row - 8 : row + 8, column - 8 : column + 8] = 255
    return image


def mark_of(image: np.ndarray) -> tuple[float, float]:
    """Centre of the light, as shares of height and width."""
    weight = image[..., 0].astype(float)
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    total = weight.sum()
    return (
        float((weight * (rows + 0.5)).sum() / total / image.shape[0]),
        float((weight * (columns + 0.5)).sum() / total / image.shape[1]),
    )


@pytest.mark.parametrize("size", [(200, 200), (200, 300), (300, 200)])
@pytest.mark.parametrize(
    ("heading", "in_the_north"), [(0.0, "top"), (90.0, "left"), (180.0, "bottom"), (270.0, "right")]
)
def test_what_lies_north_comes_out_on_top(size, heading, in_the_north):
    """Heading 90: the top faces east, so the left side faces north."""
    image = stamped(*size, in_the_north)
    framed = frame_query(image, kind="perspective", size=(64, 64), heading_deg=heading)
    row, column = mark_of(framed)
    assert row == pytest.approx(0.06, abs=0.02)
    assert column == pytest.approx(0.5, abs=0.02)


def test_what_lies_east_comes_out_on_the_right():
    framed = frame_query(
        stamped(200, 300, "top"), kind="perspective", size=(64, 64), heading_deg=90.0
    )
    assert mark_of(framed) == pytest.approx((0.5, 0.94), abs=0.02)


def test_an_unturned_square_is_only_shrunk():
    image = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    framed = frame_query(image, kind="perspective", size=(64, 64), heading_deg=0.0)
    means = image.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(framed - means).max() <= 1


def test_shrinking_does_not_alias():
    stripes = np.zeros((960, 960, 3), np.uint8)
    stripes[:, ::2] = 255
    for heading in (0.0, 30.0):
        framed = frame_query(stripes, kind="perspective", size=(96, 96), heading_deg=heading)
        assert framed.std() < 3
        assert abs(framed.mean() - 127.5) < 2


def test_corners_that_leave_the_picture_are_mirrored_not_black():
    white = np.full((100, 100, 3), 255, np.uint8)
    framed = frame_query(white, kind="perspective", size=(64, 64), heading_deg=45.0)
    assert framed.min() == 255


@pytest.mark.parametrize("heading", [0.0, 90.0, 225.0, 359.0])
def test_a_panorama_is_rolled_until_its_centre_faces_north(heading):
    width = 720
    image = np.zeros((360, width, 3), np.uint8)
    # North lies where the azimuth, counted from the centre column's heading, is -heading.
    column = int((0.5 - heading / 360.0) * width) % width
    image[:, np.arange(column - 4, column + 4) % width] = 255
    framed = frame_query(image, kind="panorama", size=(64, 256), heading_deg=heading)
    assert mark_of(framed)[1] == pytest.approx(0.5, abs=0.004)


def test_a_panorama_facing_east_is_rolled_by_a_quarter():
    image = wavy_panorama(128, 512)
    straight = frame_query(image, kind="panorama", size=(64, 256), heading_deg=0.0)
    east = frame_query(image, kind="panorama", size=(64, 256), heading_deg=90.0)
    assert (east == np.roll(straight, 64, axis=1)).all()


def test_a_full_sphere_loses_sky_and_ground_and_a_strip_keeps_all():
    image = np.zeros((100, 200, 3), np.uint8)
    image[25:75] = 255
    sphere = frame_query(image, kind="panorama", size=(40, 80), heading_deg=0.0)
    assert sphere.min() == 255
    strip = frame_query(np.tile(image, (1, 2, 1)), kind="panorama", size=(40, 160), heading_deg=0.0)
    assert (strip[0].max(), strip[20].min(), strip[-1].max()) == (0, 255, 0)


# --- lists ------------------------------------------------------------------


def test_folders_are_searched_in_natural_order_and_others_listed(tmp_path):
    for name in ("DJI_10.JPG", "DJI_9.jpg", "sub/ü 2.png", "notes.txt", ".hidden.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    listed = list_photos([tmp_path])
    assert [p.name for p in listed.photos] == ["DJI_9.jpg", "DJI_10.JPG", "ü 2.png"]
    assert {(s.path.name, s.reason) for s in listed.skipped} == {
        ("notes.txt", "is not a picture"),
        (".hidden.jpg", "is a hidden file"),
    }


def test_named_files_are_judged_by_type_and_then_by_content(tmp_path, photo):
    nameless = tmp_path / "noname"
    nameless.write_bytes(photo.read_bytes())
    text, broken, gone = tmp_path / "a.txt", tmp_path / "broken.jpg", tmp_path / "gone.jpg"
    text.write_text("hello")
    broken.write_text("hello")
    listed = list_photos([photo, nameless, text, broken, gone, photo])
    assert listed.photos == (photo, nameless, broken)
    assert [s.path for s in listed.skipped] == [text, gone]


# --- real files -------------------------------------------------------------


def test_real_photos_of_odd_kinds_are_read(shared_data):
    folder = shared_data / "formats" / "photos"
    claims = {p.name: read_query(p).claim for p in list_photos([folder]).photos}
    assert len(claims) == 7
    assert claims["DSCN0010.jpg"] is not None
    assert claims["DSCN0010.jpg"].position.metres_to(LatLon(43.46745, 11.88513)) < 5
    assert claims["IMG_5195.HEIC"] is not None
    assert claims["IMG_5195.HEIC"].position.lon < 0
    assert claims["Arbitro.tiff"] is None


def test_real_drone_photos_give_heading_and_claim(shared_data):
    query = read_query(shared_data / "fengyuan" / "photos" / "DJI_050.jpg")
    assert query.heading_deg == pytest.approx(331.6)
    assert (query.kind, query.width, query.height) == ("perspective", 1600, 900)
    assert query.metadata.height_m is not None


def test_real_panoramas_are_told_from_other_pictures(shared_data):
    wide = [
        *sorted((shared_data / "london_panoramas").glob("*_pano.png")),
        *sorted((shared_data / "street_misc").glob("cv*_pano.*")),
        *sorted((shared_data / "vigor_sanfrancisco").glob("*query*-*.jpg")),
    ]
    assert len(wide) >= 29
    kinds = {path.name: read_query(path).kind for path in wide}
    odd = [name for name, kind in kinds.items() if kind != "panorama"]
    assert [name for name in odd if not name.startswith("x_Hz1J")] == []  # that one is a crop


def test_the_bytes_are_those_of_one_reading(tmp_path):
    """A picture is decoded from memory: its file may be replaced meanwhile."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), RED).save(file, "PNG")
    path = tmp_path / "p.png"
    path.write_bytes(file.getvalue())
    image = read_rgb(path)
    path.unlink()
    assert near(image, RED)
    assert image.flags.c_contiguous
