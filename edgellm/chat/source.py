"""A model's answer as it comes, taken apart by readings.

A reading is a generator written as if the whole text were there. It takes characters off a Source;
where they haven't come yet it yields None, and is resumed when more are there. What it understands
it yields as events. So no reading knows how the text was cut into pieces, and its events add up to
the same however it was.

What a reading takes but can't understand must not be lost. So it marks the first character that no
event accounts for; whoever catches its Broken goes back to the mark, and reads on as plain text.
"""

import re
from collections.abc import Callable, Generator
from functools import lru_cache
from itertools import takewhile
from typing import TypeAlias, TypeVar

from edgellm.chat.events import Told

T = TypeVar("T")
Reading: TypeAlias = Generator[Told | None, None, T]
Waiting: TypeAlias = Generator[None, None, T]  # a reading that tells nothing
Tell: TypeAlias = Callable[[str], Told]

SPACE = " \t\r\n"

_LITTLE_SPACE = re.compile(r"[ \t\r\n]{0,64}")  # looked over again with every piece that comes


class Broken(Exception):
    """The text is not what this reading reads."""


class Source:
    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._mark: int | None = None
        self._n_dropped = 0  # characters before `_text`
        self._closed = False
        self.n_reread = 0  # characters that were gone back over, to be read again

    @property
    def n_taken(self) -> int:
        """Characters of the whole text, up to here."""
        return self._n_dropped + self._at

    def n_own(self, text: str) -> int:
        """How many characters at the end of `text` are the ones that were taken last."""
        taken = self._text[max(self._at - len(text), 0) : self._at]
        if text.endswith(taken):
            return len(text)
        pairs = zip(reversed(text), reversed(taken), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    def rest(self) -> str:
        """What no reading has taken."""
        return self._text[self._at :]

    def add(self, text: str) -> None:
        start = self._at if self._mark is None else min(self._mark, self._at)
        self._text = self._text[start:] + text
        self._at -= start
        self._n_dropped += start
        if self._mark is not None:
            self._mark -= start

    def close(self) -> None:
        """No more text comes: from now on no reading waits."""
        self._closed = True

    # ── what no event accounts for yet ───────────────────────────────────────

    def mark(self, back: int = 0) -> None:
        """No event accounts for what is taken from here on, or from so many characters `back`."""
        self._mark = self._at - back

    def unmark(self) -> None:
        self._mark = None

    def go_back(self) -> None:
        """To the mark. Without one, events account for everything, and nothing is read again."""
        if self._mark is not None:
            self.n_reread += self._at - self._mark
            self._at, self._mark = self._mark, None

    # ── readings ─────────────────────────────────────────────────────────────

    def peek(self) -> Waiting[str]:
        """The next character; "" at the end."""
        while self._at == len(self._text) and not self._closed:
            yield None
        return self._text[self._at : self._at + 1]

    def take(self, n: int) -> str:
        """`n` characters that are known to be there."""
        taken = self._text[self._at : self._at + n]
        self._at += n
        return taken

    def accepts(self, *literals: str) -> Waiting[str]:
        """The longest of `literals` that comes next, taken; or "", and nothing taken."""
        while True:
            near = self._text[self._at : self._at + max(map(len, literals), default=0)]
            if self._closed or not any(_grows_from(near, literal) for literal in literals):
                found = max((x for x in literals if near.startswith(x)), key=len, default="")
                self._at += len(found)
                return found
            yield None

    def expect(self, *literals: str) -> Waiting[str]:
        found = yield from self.accepts(*literals)
        if not found:
            raise Broken(f"not {literals}")
        return found

    def ends_with(self, mark: str) -> Waiting[None]:
        """Takes the mark if it comes next; or the part of it with which the text ends, since an
        answer may be cut there, and half a mark is no text."""
        if not (yield from self.accepts(mark)) and _grows_from(self.rest(), mark):
            self.take(len(self.rest()))

    def is_followed_by(self, *literals: str) -> Waiting[bool]:
        """Whether a little white space and then one of `literals`, or nothing more, comes next; at
        the text's end also where one has begun. Takes nothing."""
        while True:
            space = _LITTLE_SPACE.match(self._text, self._at)
            at = space.end() if space else self._at
            near = self._text[at : at + max(map(len, literals), default=1)]
            if any(near.startswith(literal) for literal in literals):
                return True
            begins = not near or any(_grows_from(near, literal) for literal in literals)
            if self._closed or not begins:
                return begins
            yield None

    def skip(self, characters: str = SPACE) -> Waiting[str]:
        """What was passed over."""
        return (yield from self.take_while(lambda character: character in characters))

    def take_while(self, wanted: Callable[[str], bool], most: int | None = None) -> Waiting[str]:
        """Broken where there are more than `most` of them."""
        taken: list[str] = []
        while (character := (yield from self.peek())) and wanted(character):
            if len(taken) == most:
                raise Broken(f"longer than {most} characters")
            taken.append(self.take(1))
        return "".join(taken)

    def take_run(self, stops: frozenset[str]) -> Waiting[str]:
        """What is at hand before one of `stops`. Waits for a character at least; "" at the end."""
        yield from self.peek()
        end = self._at
        while end < len(self._text) and self._text[end] not in stops:
            end += 1
        return self.take(end - self._at)

    def tell_run(self, markers: tuple[str, ...], tell: Tell) -> Reading[None]:
        """Tell the text before the next of `markers`, and take none of them."""
        while True:
            text, marker = self._find(markers)
            if text:
                self._at += len(text)
                yield tell(text)
            if marker or self._closed:
                return
            yield None

    def take_until(self, *markers: str, most: int | None = None) -> Waiting[tuple[str, str]]:
        """The text before the first of `markers`, and which that is. Broken where none comes, or
        after more than `most` characters only."""
        taken: list[str] = []
        n_taken, is_marked = 0, self._mark is not None
        if not is_marked:
            self.mark()
        while True:
            text, marker = self._find(markers)
            self._at += len(text) + len(marker)
            taken.append(text)
            n_taken += len(text)
            if most is not None and n_taken > most:
                self._at -= n_taken - most + len(marker)  # the same however the text was cut
                raise Broken(f"none of {markers} in {most} characters")
            if marker:
                break
            if self._closed:
                raise Broken(f"none of {markers}")
            yield None
        if not is_marked:
            self.unmark()
        return "".join(taken), marker

    def tell_until(
        self, markers: tuple[str, ...], tell: Tell, *, trims: bool = True
    ) -> Reading[tuple[str, str]]:
        """Tell the text before the first of `markers`, and take that one.

        Returns the marker, "" at the end; and before it the white space that was not told, if
        this one trims.
        """
        while True:
            text, marker = self._find(markers)
            told = text.rstrip(SPACE) if trims else text
            if told:
                self._at += len(told)
                yield tell(told)
            if marker or self._closed:
                gap = text[len(told) :]
                self._at += len(gap) + len(marker)
                return gap, marker
            yield None

    def _find(self, markers: tuple[str, ...]) -> tuple[str, str]:
        """The text before the first marker, and the longest marker that begins there.

        While more text could make a marker begin sooner, or be longer: the text before that, and
        "". So of `<a` and `<a>`, "x<a" gives "x" alone, as ">" may come; "x<ab" gives "x", `<a`.
        """
        found = _first_of(markers).search(self._text, self._at)
        at, marker = (found.start(), found[0]) if found else (len(self._text), "")
        if not self._closed:
            near = self._text[max(self._at, len(self._text) - max(map(len, markers), default=0)) :]
            held = max((overlap(near, one) for one in markers), default=0)
            if held and len(self._text) - held <= at:
                return self._text[self._at : len(self._text) - held], ""
        return self._text[self._at : at], marker


def overlap(text: str, marker: str) -> int:
    """How much of the start of `marker` the end of `text` is, short of all of it."""
    if not marker:
        return 0
    at = text.find(marker[0], max(len(text) - len(marker) + 1, 0))
    while at >= 0 and not marker.startswith(text[at:]):
        at = text.find(marker[0], at + 1)
    return len(text) - at if at >= 0 else 0


@lru_cache
def _first_of(markers: tuple[str, ...]) -> re.Pattern[str]:
    """Finds the first of them: the longest, where several begin. None of none."""
    longest_first = sorted(filter(None, markers), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _grows_from(text: str, literal: str) -> bool:
    return len(literal) > len(text) and literal.startswith(text)
