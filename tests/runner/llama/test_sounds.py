"""Sound through the real llama.cpp: the answer is what mtmd's own helper gives, and what a file was
measured to be is what its decoder makes of it."""

import asyncio
import ctypes
import struct

import pytest
from llama_cpp import mtmd_cpp as mtmd
from mtmd_runs import MARK, Reference, all_say, said, served, told_of
from pictures import png
from projector_files import (
    audio_projector_bytes,
    both_projector_bytes,
    projector_bytes,
    with_mrope,
)
from real_model import demo_path
from sound_files import flac, id3, mp3, mp3_frame, wav, wav_of, xing

from edgellm.chat.events import Failed, Finished
from edgellm.chat.sounds import measured

pytestmark = pytest.mark.model

LOW, HIGH = wav(1, 220), wav(1, 3000)
PROMPTS = [
    (f"Once {MARK} upon a time", [LOW]),
    (f"Once {MARK} upon a time", [HIGH]),
    (f"{MARK}{MARK} Tim had a", [HIGH, flac(2, 500)]),
    (f"One day {MARK} and {MARK}. Lily", [LOW, mp3(40)]),
]
ROWS = 30  # of half a minute, through this projector


@pytest.fixture(scope="module")
def projector(tmp_path_factory):
    path = tmp_path_factory.mktemp("projector") / "mmproj"
    path.write_bytes(audio_projector_bytes())
    return str(path)


@pytest.mark.parametrize("unified", [True, False], ids=["unified", "split"])
def test_alone_and_in_a_crowd_the_answer_is_that_of_mtmds_own_helper(projector, unified):
    reference = Reference(demo_path(), projector)
    wanted = [reference.answer(*asked) for asked in PROMPTS]
    tokens = [tokens for tokens, _ in wanted]
    assert tokens[0] != tokens[1]  # the sounds make a difference

    async def work(engine):
        alone = [await told_of(engine, *asked, cache_prompt=False) for asked in PROMPTS]
        text = said(engine, "Once upon a time", n=200, cache_prompt=False)
        crowd = await asyncio.gather(text, *(told_of(engine, *asked) for asked in PROMPTS * 3))
        return alone, crowd[1:]

    alone, crowd = served(work, projector, kv_unified=unified)
    assert [end.n_prompt for _, end in alone] == [n for _, n in wanted]
    assert all_say(alone, tokens)
    assert all_say(crowd, tokens * 3)


def test_a_model_with_positions_in_two_dimensions_hears_in_one(tmp_path):
    model, projector = tmp_path / "model.gguf", tmp_path / "mmproj"
    model.write_bytes(with_mrope(demo_path().read_bytes()))
    projector.write_bytes(audio_projector_bytes())
    reference = Reference(model, str(projector))
    wanted = [reference.answer(*asked)[0] for asked in PROMPTS]

    async def work(engine):
        return [await told_of(engine, *asked) for asked in PROMPTS]

    assert all_say(served(work, str(projector), model), wanted)


def test_one_projector_for_both_sees_and_hears_in_one_prompt(tmp_path):
    path = tmp_path / "mmproj"
    path.write_bytes(both_projector_bytes())
    reference = Reference(demo_path(), str(path))
    asked = [
        (f"Once {MARK} and {MARK} upon a time", [png(), LOW]),
        (f"Once {MARK} and {MARK} upon a time", [HIGH, png(colour=(0, 0, 255))]),
    ]
    wanted = [reference.answer(*each) for each in asked]

    async def work(engine):
        return await asyncio.gather(*(told_of(engine, *each) for each in asked * 2))

    answers = served(work, str(path))
    assert [end.n_prompt for _, end in answers] == [n for _, n in wanted] * 2
    assert all_say(answers, [tokens for tokens, _ in wanted] * 2)


def test_half_a_minute_is_a_piece_and_a_longer_sound_has_several(projector):
    async def work(engine):
        ends = []
        for seconds in (1, 29, 31, 61):
            end = (await said(engine, MARK, [wav(seconds, rate=8_000)], n=1))[1]
            ends.append(end.n_prompt)
        return ends

    one, same, two, three = served(work, projector)
    assert one == same
    assert [two - one, three - two] == [ROWS, ROWS]


def test_a_sound_that_was_heard_is_not_heard_again(projector):
    async def work(engine):
        first, end = await said(engine, f"A long story begins here {MARK} and so it goes:", [LOW])
        again = f"A long story begins here {MARK} and so it goes:{first} And then"
        return end, (await said(engine, again, [LOW]))[1], (await said(engine, again, [HIGH]))[1]

    first, second, other = served(work, projector)
    assert second.n_cached >= first.n_prompt
    assert other.n_cached < first.n_prompt - ROWS


NOT_A_NUMBER = wav_of((3, 1, 8_000, 0, 4, 32), struct.pack("<4000f", *[float("nan")] * 4000))
BAD = {
    "cut off": (wav()[:-99], "cut off"),
    "no sound": (b"RIFF\4\0\0\0WAVE", "without a format"),
    "too short": (wav(0.01), "0.010 s"),
    "one sample": (wav_of((1, 1, 16_000, 0, 2, 16), b"\1\1"), "0.000 s"),
    "a rate of one": (wav_of((1, 1, 1, 2, 2, 16), bytes(4000)), "1 samples a second"),
    "gigabytes": (flac(0.2, n_samples=(1 << 36) - 1), "s of sound are more"),
    "no numbers": (NOT_A_NUMBER, "gives no numbers"),
    "a picture": (png(), "sees no pictures"),
    "too long for the context": (wav(550, rate=8_000), "at least 540 tokens > 511 maximum"),
}  # fmt: skip


def test_bad_sounds_cost_their_own_request_only(projector):
    async def work(engine):
        neighbour = asyncio.create_task(said(engine, "Once upon a time", n=200))
        ends = [(await said(engine, f"{MARK}{MARK}", [LOW, bad]))[1] for bad, _ in BAD.values()]
        return ends, await neighbour, await said(engine, MARK, [LOW])

    ends, neighbour, good = served(work, projector)
    for end, (_, words) in zip(ends, BAD.values(), strict=True):
        assert isinstance(end, Failed)
        assert (end.http_status, end.param) == (400, "picture 1")
        assert words in end.message
    assert isinstance(neighbour[1], Finished)
    assert isinstance(good[1], Finished)


def test_a_tag_that_lies_about_the_length_makes_no_room(projector):
    """Millions of frames, dr_mp3 would believe, and its caller make room for all of them."""

    async def work(engine):
        lying = mp3(40, before=xing(0x00FF_FFFF))
        return (await said(engine, MARK, [lying]))[1], (await said(engine, MARK, [mp3(40)]))[1]

    lying, plain = served(work, projector)
    assert isinstance(lying, Finished)
    assert lying.n_prompt == plain.n_prompt


def test_a_model_that_sees_hears_nothing(tmp_path):
    path = tmp_path / "mmproj"
    path.write_bytes(projector_bytes())

    async def work(engine):
        return (await said(engine, MARK, [LOW]))[1], (await said(engine, MARK, [png()]))[1]

    heard, seen = served(work, str(path))
    assert isinstance(heard, Failed)
    assert "hears no sound" in heard.message
    assert isinstance(seen, Finished)


SOUNDS = {
    "WAV": wav(1.3), "stereo": wav(0.7, rate=44_100, channels=2), "8 kHz": wav(2, rate=8_000),
    "FLAC": flac(1.1), "FLAC with a block": flac(0.6, block=bytes(400)), "MP3": mp3(40),
    "MP3 with tags": mp3(40, before=id3(99) + xing(40), after=mp3_frame()[:50]),
    "floats": wav_of((3, 1, 8_000, 0, 4, 32), struct.pack("<4000f", *[0.25] * 4000)),
    "A-law": wav_of((6, 1, 8_000, 0, 1, 8), bytes(4000)),
    "24 bits": wav_of((1, 1, 16_000, 0, 3, 24), bytes(9000)),
}  # fmt: skip


def test_the_decoder_makes_of_each_what_was_measured(projector):
    reference = Reference(demo_path(), projector)
    for sound in map(measured, SOUNDS.values()):
        buffer = (ctypes.c_uint8 * len(sound.file)).from_buffer_copy(sound.file)
        bitmap = mtmd.mtmd_helper_bitmap_init_from_buf(
            reference.sight, buffer, len(sound.file), False
        )
        n_samples = mtmd.mtmd_bitmap_get_nx(bitmap)
        mtmd.mtmd_bitmap_free(bitmap)
        assert n_samples == pytest.approx(16_000 * sound.length_s, abs=2)
