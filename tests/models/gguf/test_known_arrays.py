import os
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from gguf_files import gguf_bytes, llama_bytes

from edgellm.errors import BadGGUF
from edgellm.models.gguf.header import parse_header
from edgellm.models.gguf.known_arrays import KNOWN_ARRAYS, MIN_COUNT, KnownArrays


def strings(*texts):
    return b"".join(struct.pack("<Q", len(text)) + text for text in texts)


MANY = [b"x" * (i % 19) for i in range(MIN_COUNT)]


def test_an_array_that_was_stepped_over_is_known_by_its_bytes_wherever_it_lies():
    known, data = KnownArrays(), strings(*MANY)
    known.add(b"head" + data, 4, 4 + len(data), len(MANY))
    again = KnownArrays()
    again.update(known.latest())
    assert again.find_end(b"another head" + data + b"tail", 12, len(MANY)) == 12 + len(data)


def test_one_byte_more_or_other_and_nothing_is_known():
    known, data = KnownArrays(), strings(*MANY)
    known.add(data, 0, len(data), len(MANY))
    other = data[:-1] + b"y"
    assert known.find_end(other, 0, len(MANY)) is None
    assert known.find_end(data[:-1], 0, len(MANY)) is None
    assert known.find_end(data, 0, len(MANY) - 1) is None


def test_short_arrays_are_not_remembered():
    known, data = KnownArrays(), strings(b"a", b"b")
    known.add(data, 0, len(data), 2)
    assert not known.latest()


def test_what_was_asked_for_last_stays_longest():
    known = KnownArrays()
    for i in range(80):
        data = strings(*MANY[:-1], b"%d" % i)
        known.add(data, 0, len(data), len(MANY))
        first = strings(*MANY[:-1], b"0")
        assert known.find_end(first, 0, len(MANY)) == len(first)
    assert len(known.latest()) == 64


def test_of_several_with_as_many_strings_the_right_one_is_known():
    known = KnownArrays()
    arrays = [strings(*MANY[:-1], b"z" * i) for i in (1, 5, 9)]
    for data in arrays:
        known.add(data, 0, len(data), len(MANY))
    for data in arrays:
        assert known.find_end(data + b"more", 0, len(MANY)) == len(data)


def test_several_threads_may_read_headers_at_once():
    known = KnownArrays()
    arrays = [strings(*MANY[:-1], b"%d" % i) for i in range(8)]

    def read(i):
        for turn in range(30):
            data = arrays[(i + turn) % len(arrays)]
            if known.find_end(data, 0, len(MANY)) is None:
                known.add(data, 0, len(data), len(MANY))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, range(8)))
    assert len(known.latest()) == len(arrays)


def test_a_header_whose_vocabulary_is_known_is_not_stepped_over():
    """A string's length that no walk would believe, in an array that is said to be known. It is
    another one each time: an earlier run's may be remembered in this user's cache."""
    tokens = [os.urandom(8), *(b"x" * (i % 7) for i in range(MIN_COUNT))]
    broken = strings(*tokens).replace(struct.pack("<Q", 6) + b"x" * 6, b"\xff" * 14, 1)
    header = gguf_bytes({"tokenizer.ggml.tokens": tokens}).replace(strings(*tokens), broken)
    with pytest.raises(BadGGUF, match="beyond the limit"):
        parse_header(header)
    KNOWN_ARRAYS.add(broken, 0, len(broken), len(tokens))
    assert parse_header(header).tokens.data == broken


def test_a_header_that_is_read_again_says_the_same():
    header = llama_bytes(n_vocab=MIN_COUNT)
    first = parse_header(header)
    assert KNOWN_ARRAYS.latest()[-1].count == MIN_COUNT
    assert parse_header(header) == first
