import struct

from gguf_files import llama_bytes

from edgellm.models.gguf import parse_header
from edgellm.models.walked import LEAST_COUNT, WALKED, Walked


def strings(*texts):
    return b"".join(struct.pack("<Q", len(text)) + text for text in texts)


MANY = [b"x" * (i % 19) for i in range(LEAST_COUNT)]


def test_an_array_that_was_stepped_over_is_known_by_its_bytes_wherever_it_lies():
    walked, data = Walked(), strings(*MANY)
    walked.learn(b"head" + data, 4, 4 + len(data), len(MANY))
    again = Walked()
    again.give(walked.latest())
    assert again.end(b"another head" + data + b"tail", 12, len(MANY)) == 12 + len(data)


def test_one_byte_more_or_other_and_nothing_is_known():
    walked, data = Walked(), strings(*MANY)
    walked.learn(data, 0, len(data), len(MANY))
    other = data[:-1] + b"y"
    assert walked.end(other, 0, len(MANY)) is None
    assert walked.end(data[:-1], 0, len(MANY)) is None
    assert walked.end(data, 0, len(MANY) - 1) is None


def test_short_arrays_are_not_remembered():
    walked, data = Walked(), strings(b"a", b"b")
    walked.learn(data, 0, len(data), 2)
    assert not walked.latest()


def test_what_was_asked_for_last_stays_longest():
    walked = Walked()
    for i in range(80):
        data = strings(*MANY[:-1], b"%d" % i)
        walked.learn(data, 0, len(data), len(MANY))
        first = strings(*MANY[:-1], b"0")
        assert walked.end(first, 0, len(MANY)) == len(first)
    assert len(walked.latest()) == 64


def test_a_header_that_is_read_again_says_the_same():
    header = llama_bytes(n_vocab=LEAST_COUNT)
    first = parse_header(header)
    assert WALKED.latest()[-1].count == LEAST_COUNT
    assert parse_header(header) == first
