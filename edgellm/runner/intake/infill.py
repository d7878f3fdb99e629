"""Fill in the middle: the tokens that ask a model for what stands between a prefix and a suffix.

    [rep] project [sep] file, text ... [sep] filename [BOS] [pre] prefix, prompt [suf] suffix [mid]

Editors send whole files, so what doesn't fit is left out. The prefix gets three quarters of the
room and keeps its end; the suffix gets one, and keeps its beginning. What one of them doesn't need
goes to the other, and then to the other files. Source: tools/server/server-common.cpp
`format_prompt_infill`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edgellm.errors import BadRequest
from edgellm.runner.messages import Infill

_PROJECT = "myproject\n"
_FILE = "filename\n"
_SNIPPET = "\n\n--- snippet ---\n\n"  # between files where the vocabulary has no mark for it
# No text has more characters for each token. What goes beyond is cut off first, because to tokenize
# it would stall everyone's step.
_TOKEN_CHARS = 16
_ANSWER = 256  # tokens left free for an answer of no stated length


@dataclass(frozen=True, slots=True)
class FillMarks:
    """The vocabulary's tokens for it. None: it has none."""

    prefix: int
    suffix: int
    middle: int
    repo: int | None = None
    file: int | None = None
    bos: int | None = None  # where the vocabulary begins texts with it


def fill_prompt(
    asked: Infill, marks: FillMarks | None, tokenize: Callable[[str], list[int]], n_ctx: int
) -> list[int]:
    """At most `n_ctx` tokens, less room for the answer; but the prompt itself is never cut.

    `tokenize` treats the vocabulary's marks inside a text as plain letters. Raises BadRequest.
    """
    if marks is None:
        raise BadRequest(
            "this model can't fill in the middle: its vocabulary lacks a prefix, suffix or middle "
            "token",
            hint="serve a model of code that was trained for it",
            param="model",
        )
    n_chars = n_ctx * _TOKEN_CHARS
    texts = (asked.prompt, asked.prefix[-n_chars:], asked.suffix[:n_chars])
    prompt, prefix, suffix = map(tokenize, texts)
    n_answer = min(_ANSWER if asked.max_tokens is None else asked.max_tokens, n_ctx // 2)
    begin = [] if marks.bos is None else [marks.bos]
    room = max(0, n_ctx - n_answer - len(begin) - len(prompt) - 3)
    suffix = suffix[: max(room // 4, room - len(prefix))]
    prefix = prefix[max(0, len(prefix) - (room - len(suffix))) :]
    extra = _other_files(asked, marks, tokenize, n_chars)
    n_left = room - len(suffix) - len(prefix)
    extra = extra[max(0, len(extra) - n_left) :]
    before = [*begin, *extra, marks.prefix, *prefix, *prompt]
    return [*before, marks.suffix, *suffix, marks.middle]


def _other_files(
    asked: Infill, marks: FillMarks, tokenize: Callable[[str], list[int]], n_chars: int
) -> list[int]:
    tokens = [] if marks.repo is None else [marks.repo, *tokenize(_PROJECT)]
    for name, text in asked.extra:
        if marks.file is None:
            tokens += tokenize(_SNIPPET)
        else:
            tokens += [marks.file, *tokenize(name + "\n")]
        tokens += tokenize(text[-n_chars:])
    if marks.file is not None:
        tokens += [marks.file, *tokenize(_FILE)]
    return tokens
