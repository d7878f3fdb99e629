import pytest

from edgellm.chat.events import Timings, TokenLogprob
from edgellm.chat.messages import GenerateParams, JSONSchema, Regex, SamplingParams
from edgellm.errors import EdgellmError
from edgellm.runner.frames import FrameReader, encode_frame, encode_frames
from edgellm.runner.messages import (
    Cancel,
    Delta,
    Done,
    FromWorker,
    Generate,
    Rejected,
    ToWorker,
)

DOWN: list[ToWorker] = [
    Generate(1, "hé", GenerateParams(SamplingParams(seed=7), 5, ("x",), JSONSchema("{}"))),
    Generate(2, (1, 2), GenerateParams(structure=Regex("a+"))),
    Cancel(1),
]
UP: list[FromWorker] = [
    Delta(1, "é", 2, (TokenLogprob(5, b"\xc3", -0.5, ((6, b"\xa9", -1.0),)),)),
    Done(1, "stop", 3, 2, 4, Timings(0.1, 0.2, 0.3)),
    Rejected(2, "no", 400, "prompt"),
    Rejected(2, "no", 400, "prompt", "ContextTooLong", (900, 512)),
]


def test_what_goes_down_comes_out_the_same():
    assert FrameReader(ToWorker).feed(encode_frame(DOWN)) == DOWN


def test_frames_may_be_cut_anywhere():
    data = encode_frame(UP) + encode_frame(UP[:1])
    for cut in range(len(data)):
        reader = FrameReader(FromWorker)
        assert reader.feed(data[:cut]) + reader.feed(data[cut:]) == [*UP, UP[0]]


@pytest.mark.parametrize("most_bytes", [120, 150, 1000])
def test_what_one_frame_would_be_too_long_for_goes_in_several(most_bytes):
    data = encode_frames(UP, most_bytes)
    assert FrameReader(FromWorker).feed(data) == UP
    at, lengths = 0, []
    while at < len(data):
        lengths.append(int.from_bytes(data[at : at + 4], "little"))
        at += 4 + lengths[-1]
    assert max(lengths) <= most_bytes
    assert (len(lengths) == 1) == (most_bytes == 1000)


def test_a_message_too_long_for_any_frame_is_not_sent():
    with pytest.raises(EdgellmError, match=r"a message of \d+ bytes; the pipe takes 10"):
        encode_frames(UP, 10)


def test_a_pipe_out_of_step_is_an_error_not_a_hang():
    with pytest.raises(EdgellmError, match="out of step"):
        FrameReader(FromWorker).feed(b"\xff\xff\xff\xff....")


def test_a_frame_of_garbage_is_an_error():
    with pytest.raises(EdgellmError, match="can't be read"):
        FrameReader(FromWorker).feed(b"\x02\x00\x00\x00\xc1\xc1")
