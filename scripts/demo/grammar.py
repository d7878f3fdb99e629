"""A template language of two constructs, from which every text of the demo model is made.

``[this|that|]`` picks one alternative (an empty one is allowed, alternatives nest);
``{field}`` is filled in from the cast of the story. Choosing is done by the caller's
``random.Random`` only, so that a seed names a corpus.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

_INNERMOST = re.compile(r"\[([^\[\]]*)\]")


def choose(template: str, rng: Random) -> str:
    """The template with one alternative taken of every bracket, innermost first."""
    while True:
        chosen = _INNERMOST.sub(lambda found: rng.choice(found[1].split("|")), template)
        if chosen == template:
            return chosen
        template = chosen


def expand(template: str, rng: Random, fields: Mapping[str, str] | None = None) -> str:
    """One text that the template describes."""
    chosen = choose(template, rng)
    return chosen.format_map(fields) if fields is not None else chosen


def with_article(noun: str) -> str:
    """``owl`` -> ``an owl``, by its first letter."""
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def one_of(alternatives: str) -> str:
    """``a|b`` -> ``[a|b]``: the bracket around a long list."""
    return f"[{alternatives}]"


def words(text: str) -> tuple[str, ...]:
    """A list of words, separated by blanks."""
    return tuple(text.split())


def phrases(text: str) -> tuple[str, ...]:
    """A list of phrases, separated by bars."""
    return tuple(text.split("|"))
