import zlib

import pytest
from pictures import bmp, jpeg_header, png, png_of, segment

from edgellm.chat.pictures import (
    MAX_BYTES,
    MAX_PIXELS,
    Pictures,
    check_depth,
    check_shown,
    check_size,
)
from edgellm.errors import BadRequest

GIF = b"GIF89a" + (7).to_bytes(2, "little") + (9).to_bytes(2, "little")


def refusal(check, data):
    with pytest.raises(BadRequest) as caught:
        check(data)
    return str(caught.value)


@pytest.mark.parametrize(
    "data",
    [png(), jpeg_header(640, 480), jpeg_header(640, 480, frame=0xC2), GIF, bmp(), bmp(8, 4)],
    ids=["PNG", "JPEG", "progressive JPEG", "GIF", "BMP", "wide BMP"],
)
def test_a_picture_of_each_kind_is_let_in(data):
    check_size(data)
    check_depth(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"RIFF\0\0\0\0WEBPVP8 ", b"<svg/>", b"ID3\x03", b"\x89PNG\r\n\x1a\n"],
    ids=["nothing", "text", "WebP", "SVG", "MP3", "no more than a signature"],
)
def test_what_is_no_picture_is_refused(data):
    assert refusal(check_size, data)


def test_a_huge_picture_in_a_small_file_is_refused_with_its_numbers():
    assert "20000 × 20000" in refusal(check_size, png_of(20_000, 20_000, b""))
    assert str(MAX_PIXELS) in refusal(check_size, jpeg_header(65_000, 65_000))
    assert refusal(check_size, b"GIF89a" + b"\xff\xff\xff\xff")


def test_a_file_is_not_longer_than_may_be():
    check_size(png() + bytes(MAX_BYTES - len(png())))
    assert str(MAX_BYTES) in refusal(check_size, png() + bytes(MAX_BYTES))


@pytest.mark.parametrize(("width", "height"), [(0, 9), (9, 0), (1, 201), (4020, 20)])
def test_no_side_may_vanish_when_it_is_scaled(width, height):
    assert refusal(check_size, png_of(width, height, b""))


def test_the_size_of_a_jpeg_is_that_of_its_first_frame():
    tables = segment(0xE0, b"JFIF\0") + segment(0xDB, bytes(65)) + b"\xff" + segment(0xFE, b"hi")
    check_size(jpeg_header(640, 480, before=tables))
    hidden = segment(0xE1, jpeg_header(8, 8)) + segment(0xE2, b"")
    assert "60000" in refusal(check_size, jpeg_header(60_000, 60_000, before=hidden))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\xff\xff",
        b"\xff\xd8" + segment(0xDA, b"") + jpeg_header(8, 8),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xe0\0\0" + bytes(40),
        jpeg_header(8, 8)[:6],
    ],
)
def test_a_jpeg_that_does_not_say_its_size_is_refused(data):
    assert refusal(check_size, data)


def test_a_png_that_inflates_to_more_than_it_shows_is_refused():
    bomb = png_of(10, 10, zlib.compress(bytes(50 << 20)))
    assert len(bomb) < 100_000
    check_size(bomb)
    assert "more than the 310 bytes" in refusal(check_depth, bomb)


def test_a_png_that_is_cut_off_or_damaged_is_refused():
    whole = png()
    assert "cut off" in refusal(check_depth, whole[:60])
    assert "damaged" in refusal(check_depth, png_of(40, 30, b"nonsense"))
    assert "0 of 3630" in refusal(check_depth, png_of(40, 30, b""))


def test_an_interlaced_png_has_rows_of_each_pass():
    header = png()
    interlaced = header[:28] + b"\1" + header[29:]
    assert "cut off" in refusal(check_depth, interlaced)  # seven passes have more rows than one


def test_a_jpeg_of_very_many_scans_is_refused():
    scans = segment(0xDA, b"\1\1\0\0\x3f\0")
    check_depth(jpeg_header(640, 480, frame=0xC2) + scans * 10)
    assert "scans" in refusal(check_depth, jpeg_header(640, 480, frame=0xC2) + scans * 1000)


def test_a_template_that_shows_a_picture_never_or_twice_is_refused():
    pictures = Pictures("<P>", (b"", b""), ("a", "b"))
    check_shown("user: <P> and <P>", pictures)
    assert "1 of 2" in refusal(lambda prompt: check_shown(prompt, pictures), "user: <P>")
    assert "3 of 2" in refusal(lambda prompt: check_shown(prompt, pictures), "<P><P><P>")
