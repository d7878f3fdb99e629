"""What a server tells is read from whoever answers, and only one thing can go wrong then."""

import json

import pytest
from tui_samples import ordinary

from edgellm import status

DEEP = b'{"z":' + b"[" * 200_000 + b"]" * 200_000 + b"}"


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"[]", b"{}", b'{"version":"\xff"}', b'{"version":"\\ud800"}', DEEP]
)
def test_what_is_no_status_is_unreadable_and_nothing_else(data):
    with pytest.raises(status.Unreadable):
        status.decode(data)


def numbers(value, path=()):
    """Where they are."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in inside:
        if isinstance(one, dict | list):
            yield from numbers(one, (*path, key))
        elif isinstance(one, int | float) and not isinstance(one, bool):
            yield (*path, key)


@pytest.mark.parametrize("number", ["9" * 300, "-" + "9" * 30, "1e308", "-1e300"])
def test_no_number_gets_in_that_nothing_can_be_counted_with(number):
    told = json.loads(status.encode(ordinary()))
    assert len(list(numbers(told))) > 30
    for path in numbers(told):
        other = json.loads(json.dumps(told))
        place = other
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = "HERE"
        with pytest.raises(status.Unreadable):
            status.decode(json.dumps(other).replace('"HERE"', number).encode())


def test_a_body_without_an_end_is_left_off():
    body = bytearray()
    status.take(body, bytes(status.MAX_BYTES))
    with pytest.raises(status.Unreadable, match="more than"):
        status.take(body, b"x")
