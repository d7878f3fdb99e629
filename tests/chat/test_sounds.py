import contextlib
import struct

import pytest
from pictures import bmp, jpeg_header, png
from sound_files import MP3_FRAME_S, flac, id3, mp3, mp3_frame, tone, wav, wav_of, xing

from edgellm.chat.pictures import Pictures
from edgellm.chat.sounds import MAX_BYTES, MAX_S, check_size, format_of, measured
from edgellm.errors import BadRequest

PCM = struct.pack("<800h", *tone(0.05))
LAST_BLOCK = b"\x84\0\0\0" + flac(0.5)[42:]


def refusal(data, *more):
    with pytest.raises(BadRequest) as caught:
        measured(data, *more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "kind", "length_s"),
    [
        (wav(0.5), "wav", 0.5),
        (wav(0.5, rate=48_000, channels=2), "wav", 0.5),
        (flac(0.5), "flac", 0.5),
        (mp3(40), "mp3", 40 * MP3_FRAME_S),
        (mp3(40, before=id3(300)), "mp3", 40 * MP3_FRAME_S),
        (mp3(40, before=xing(40)), "mp3", 40 * MP3_FRAME_S),
        (mp3(40, after=b"TAG" + bytes(125)), "mp3", 40 * MP3_FRAME_S),
        (mp3(40, after=mp3_frame()[:99]), "mp3", 40 * MP3_FRAME_S),
    ],
    ids=["WAV", "stereo", "FLAC", "MP3", "behind ID3", "with Xing", "before a tag", "a frame cut"],
)
def test_a_sound_of_each_kind_is_as_long_as_it_is(data, kind, length_s):
    check_size(data)
    assert format_of(data) == kind
    assert measured(data).length_s == pytest.approx(length_s, abs=1e-6)


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"OggS\0\2", b"\0\0\0\x20ftypM4A ", b"RIFF\0\0\0\0"]
)
def test_what_is_no_sound_is_refused_with_what_is(data):
    with pytest.raises(BadRequest) as caught:
        check_size(data)
    assert "WAV, MP3 or FLAC" in caught.value.hint


@pytest.mark.parametrize("data", [png(), bmp(), jpeg_header(8, 8), b"GIF89a\x08\0\x08\0"])
def test_a_picture_is_no_sound(data):
    assert format_of(data) is None


def test_what_it_is_the_bytes_say():
    assert Pictures("", (png(), wav()), ("", "")).modalities == {"vision", "audio"}
    assert Pictures("", (mp3(),), ("",)).modalities == {"audio"}


def test_a_file_is_not_larger_than_may_be():
    assert str(MAX_BYTES) in refusal(wav() + bytes(MAX_BYTES))


def test_a_sound_is_neither_longer_nor_shorter_than_may_be():
    assert "2.0 s of sound are more than the 1 s" in refusal(wav(2), 1.0)
    assert "more than the 1 s" in refusal(mp3(400), 1.0)
    assert "more than the 1 s" in refusal(flac(2), 1.0)
    assert "0.050 s" in refusal(wav(0.05))
    assert "0.000 s" in refusal(wav(0))


def test_a_rate_that_would_make_gigabytes_of_a_small_file_is_refused():
    assert "1 samples a second" in refusal(wav_of((1, 1, 1, 2, 2, 16), PCM))
    assert "0 samples a second" in refusal(wav_of((1, 1, 0, 2, 2, 16), PCM))
    assert "200 channels" in refusal(wav_of((1, 200, 16_000, 0, 2, 16), PCM))


def test_a_length_that_is_only_said_is_not_believed():
    """A decoder makes room for it before it looks at what comes."""
    assert "s of sound are more" in refusal(flac(0.2, n_samples=(1 << 36) - 1))
    assert b"Xing" not in measured(mp3(40, before=xing(0xFFFF_FFFE))).file
    twice = mp3(40, before=xing(0xFFFF_FFFE) * 2)
    assert b"Xing" not in measured(twice).file
    late = mp3(4, after=xing(9) + mp3(4))
    assert measured(late).length_s == pytest.approx(9 * MP3_FRAME_S)


def test_what_was_counted_is_all_that_a_decoder_gets():
    other = wav_of((1, 1, 8_000, 16_000, 2, 16), PCM * 2)
    tail = b"LIST" + struct.pack("<I", 4) + b"INFO"
    assert measured(other + other).file == other
    assert measured(wav(1) + tail).file == wav(1)
    before = wav_of((1, 1, 8_000, 1, 9, 16), PCM * 2, before=b"fact\4\0\0\0\xff\xff\xff\xff")
    assert measured(before).file == other  # align and rate of bytes are what the others say
    assert measured(mp3(40, before=id3(99), after=b"rest")).file == mp3(40)
    assert measured(flac(0.5, block=bytes(999))).file == flac(0.5)


def test_a_wav_that_was_written_as_it_came_ends_where_it_ends():
    for size in (0, 0xFFFF_FFFF):
        assert measured(wav_of((1, 1, 8_000, 16_000, 2, 16), PCM, data_bytes=size)).length_s == 0.1


def test_a_wav_of_samples_that_are_no_integers_is_read():
    floats = struct.pack("<2000f", *[0.5] * 2000)
    assert measured(wav_of((3, 1, 8_000, 0, 4, 32), floats)).length_s == 0.25
    assert measured(wav_of((7, 1, 8_000, 0, 1, 8), bytes(2000))).length_s == 0.25


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (wav()[:-9], "cut off: 31991 of 32000 bytes"),
        (wav()[:30], "without a format"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0" + bytes(4), "without a format"),
        (wav_of((2, 1, 8_000, 0, 256, 4), PCM), "format 2 with 4 bits"),
        (wav_of((1, 1, 8_000, 0, 2, 12), PCM), "format 1 with 12 bits"),
        (b"ID3\x04\0\0\0\0\0\0" + bytes(99), "without a whole frame"),
        (b"\xff\xfb\x90\xc0" + bytes(99), "without a whole frame"),
        (b"\xff\xfb\x00\xc0" + bytes(999), "without a whole frame"),
        (b"fLaC" + bytes(99), "without its header"),
        (flac(0.2, n_samples=0), "doesn't say how long"),
    ],
)
def test_a_broken_one_says_what_is_wrong(data, words):
    assert words in refusal(data)


@pytest.mark.parametrize(
    ("made_with", "words"),
    [
        (lambda n: wav_of((1, 1, 8_000, 0, 2, 16), PCM * 2, before=b"fact\0\0\0\0" * n), "without"),
        (lambda n: mp3(40, before=id3(0) * n), "without a whole frame"),
        (lambda n: mp3(40, before=xing(9) * n), "without a whole frame"),
        (
            lambda n: flac(0.5)[:4] + b"\0" + flac(0.5)[5:42] + b"\4\0\0\0" * n + LAST_BLOCK,
            "blocks",
        ),
    ],
    ids=["chunks", "ID3", "Xing", "blocks"],
)
def test_what_is_before_the_sound_is_bounded_or_a_small_file_costs_a_second(made_with, words):
    """A million of them fit into a file, and each is looked at."""
    assert measured(made_with(99)).length_s > 0
    assert words in refusal(made_with(9_999))


@pytest.mark.parametrize("make", [wav, flac, lambda: mp3(9, before=id3(9) + xing(9))])
def test_cut_anywhere_and_turned_anywhere_it_is_a_sound_or_an_error(make):
    data = make()[:1500]
    for i in range(len(data)):
        for tried in (data[:i], data[:i] + bytes([data[i] ^ 0xFF]) + data[i + 1 :]):
            if format_of(tried):
                with contextlib.suppress(BadRequest):
                    assert measured(tried).length_s <= MAX_S
