import pytest

from edgellm.server.hub.ranges import Span, is_open, span_of

SIZE = 1000


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-", 0, 1000), ("bytes=0-0", 0, 1), ("bytes=0-999", 0, 1000), ("bytes=5-9", 5, 10),
        ("bytes=999-", 999, 1000), ("bytes=999-5000", 999, 1000), ("bytes=-1", 999, 1000),
        ("bytes=-5000", 0, 1000), ("BYTES = 5 - 9 ", 5, 10),
    ],
)  # fmt: skip
def test_a_range_is_a_part(header, start, end):
    assert span_of(header, SIZE) == Span(start, end, is_part=True)


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=9999999-"])
def test_what_lies_behind_the_end_can_not_be_satisfied(header):
    assert span_of(header, SIZE) is None


@pytest.mark.parametrize(
    "header",
    [
        None, "", "bytes=", "bytes=-", "bytes=a-b", "bytes=9-5", "bytes=0-1,5-6", "lines=0-5",
        "bytes 0-5", "bytes=0-5-7", "bytes=--5", "bytes=+1-5", "bytes=1.5-3", "bytes=0x1-5",
        f"bytes={'9' * 40}-", "bytes=\u0663-\u0665", "\x00",
    ],
)  # fmt: skip
def test_what_is_no_range_is_passed_over(header):
    assert span_of(header, SIZE) == Span(0, SIZE)


def test_an_empty_file_has_no_part():
    assert span_of(None, 0) == Span(0, 0)
    assert span_of("bytes=0-", 0) is None
    assert span_of("bytes=-5", 0) is None


@pytest.mark.parametrize(
    ("header", "wants_the_rest"),
    [(None, True), ("bytes=5-", True), ("bytes=0-65535", False), ("nonsense", True)],
)
def test_a_download_wants_the_rest_and_a_look_a_part(header, wants_the_rest):
    assert is_open(header) is wants_the_rest
