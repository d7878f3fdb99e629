"""How large a regular expression is with its counted repetitions written out. Pure.

`(a{1000}){1000}` is fifteen letters to write and a million to compile, which takes llguidance a
second to give up on; `.{1,100000}` is a hundred thousand, a tenth of that.
"""

import re
from collections.abc import Iterator

MAX_SIZE = 100_000  # characters

_MAX_DIGITS = 12  # of a count; whatever is longer is too large anyway
_TOKEN = re.compile(
    r"\\. | \[\^?\]?(?:\\.|[^\]\\])*(?:\]|\\?\Z) | \{(?P<least>\d+)(?:,(?P<most>\d*))?\} | .",
    re.S | re.X,
)
_PATTERN = re.compile(r'"pattern"\s*:\s*"((?:[^"\\]|\\.)*)"')


def written_out(pattern: str) -> int:
    """Its characters and classes. What is no regular expression is counted somehow."""
    sizes, last = [0], 0  # of each group that is open; of what a count would repeat
    for token in _TOKEN.finditer(pattern):
        match token[0], token["least"]:
            case "(", _:
                sizes.append(0)
                last = 0
            case ")", _ if len(sizes) > 1:
                last = sizes.pop()
                sizes[-1] += last
            case _, str(least):
                times = max(_number(least), _number(token["most"] or "0"), 1)
                sizes[-1] += last * (times - 1)
                last *= times
            case (("*" | "+" | "?" | "|"), _):
                pass
            case _:
                sizes[-1] += 1
                last = 1
    return sum(sizes)


def patterns_in(schema: str) -> Iterator[str]:
    """The regular expressions of a JSON schema's text, as they are written in it."""
    return (found[1].replace("\\\\", "\\") for found in _PATTERN.finditer(schema))


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS
