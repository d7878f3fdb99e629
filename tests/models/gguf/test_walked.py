import os
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from gguf_files import gguf_bytes, llama_bytes

from edgellm.errors import BadGGUF
from edgellm.models.gguf.header import parse_header
from edgellm.models.gguf.walked import LEAST_COUNT, WALKED, Walked


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


def test_of_several_with_as_many_strings_the_right_one_is_known():
    walked = Walked()
    arrays = [strings(*MANY[:-1], b"z" * i) for i in (1, 5, 9)]
    for data in arrays:
        walked.learn(data, 0, len(data), len(MANY))
    for data in arrays:
        assert walked.end(data + b"more", 0, len(MANY)) == len(data)


def test_several_threads_may_read_headers_at_once():
    walked = Walked()
    arrays = [strings(*MANY[:-1], b"%d" % i) for i in range(8)]

    def read(i):
        for turn in range(30):
            data = arrays[(i + turn) % len(arrays)]
            if walked.end(data, 0, len(MANY)) is None:
                walked.learn(data, 0, len(data), len(MANY))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, range(8)))
    assert len(walked.latest()) == len(arrays)


def test_a_header_whose_vocabulary_is_known_is_not_stepped_over():
    """A string's length that no walk would believe, in an array that is said to be known. It is
    another one each time: an earlier run's may be remembered in this user's cache."""
    tokens = [os.urandom(8), *(b"x" * (i % 7) for i in range(LEAST_COUNT))]
    broken = strings(*tokens).replace(struct.pack("<Q", 6) + b"x" * 6, b"\xff" * 14, 1)
    header = gguf_bytes({"tokenizer.ggml.tokens": tokens}).replace(strings(*tokens), broken)
    with pytest.raises(BadGGUF, match="beyond the limit"):
        parse_header(header)
    WALKED.learn(broken, 0, len(broken), len(tokens))
    assert parse_header(header).tokens.data == broken


def test_a_header_that_is_read_again_says_the_same():
    header = llama_bytes(n_vocab=LEAST_COUNT)
    first = parse_header(header)
    assert WALKED.latest()[-1].count == LEAST_COUNT
    assert parse_header(header) == first
