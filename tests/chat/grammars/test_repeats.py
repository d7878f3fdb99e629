import time

import pytest

from edgellm.chat.grammars.repeats import patterns_in, written_out


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", 0),
        ("abc", 3),
        ("a{3}", 3),
        ("ab{3}", 4),
        ("(ab){3}", 6),
        ("(ab{2}){3}c", 10),
        ("((a{10}){10}){10}", 1000),
        ("(a|b){1,5}", 10),
        ("a{2,}", 2),
        ("a{0}", 1),
        (r"\d{4}-\d{2}", 7),
        ("[a-z{9}]{3}", 3),
        (r"[\]]{2}", 2),
        ("[]a]{2}", 2),
        (r"\(a\){2}", 4),
        (r"a\{5}", 4),
        ("a*b+c?", 3),
        ("a{1000000}{1000000}", 10**12),
        (f"a{{{'9' * 5000}}}", 10**12),
        (")){3}(", 4),
        ("[abc", 1),
        ("{3}", 0),
    ],
)
def test_a_count_writes_out_what_it_repeats(pattern, size):
    assert written_out(pattern) == size


def test_the_patterns_of_a_schema_are_found():
    schema = r'{"pattern": "a{2}", "properties": {"pattern": {"pattern":"\\d{3}\"x"}, "y": 1}}'
    assert list(patterns_in(schema)) == ["a{2}", r"\d{3}\"x"]


@pytest.mark.parametrize("pattern", ["[" * 60_000, "[" * 60_000 + "\\", "(" * 60_000, "{" * 60_000])
def test_a_long_pattern_is_measured_quickly(pattern):
    begun_s = time.process_time()
    written_out(pattern)
    assert time.process_time() - begun_s < 1
