"""The parser for formats whose calls begin with a mark: thoughts first, then text and calls.

A call that breaks off before its tool's name is known is text, mark and all. If it breaks off
later, what was sent of it stands, and the rest is text. So nothing that a model writes gets lost
but the marks that were understood, and white space beside calls or before any text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edgellm.chat.events import TextDelta
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import Message, Tool
from edgellm.chat.source import Broken, Reading, Source, Tell
from edgellm.chat.thoughts import Thoughts
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import Format, Write, as_they_are

# Characters of an answer that may be read twice (some 50 ms) before further marks are text. Without
# a bound, each of many marks that begin no call would have the answer read to its end once more.
_MAX_REREAD = 1 << 17

Read: TypeAlias = Callable[[Source, Calls, str], Reading[None]]


def marked_format(
    name: str,
    speaks: Callable[[str], bool],
    read: Read,
    rule: Callable[[Rules, Sequence[Tool], bool], str],
    starts: tuple[str, ...],
    opens: tuple[str, ...] = (),
    *,
    markers: tuple[str, ...] = (),
    wrappers: tuple[str, ...] = (),
    bare: tuple[str, ...] = (),
    unbound: tuple[str, ...] = (),
    ends_thought: bool = False,
    binds: Callable[[Tool], str] | None = None,
    adapt: Callable[[Sequence[Message], Sequence[Tool]], Sequence[Message]] = as_they_are,
    write: Write | None = None,
) -> Format:
    """`read` parses the calls behind a start mark, which is taken already, and which it is given
    ("" for one of `opens`): all that follow one another, Broken where they break off.

    `wrappers` stand around text, and are dropped. `ends_thought`: these models may call without
    closing their thoughts first; `bare` starts count only outside thoughts. `unbound` are further
    `opens`, not the format's own: calls are recognised there, but no grammar waits for them.
    """
    marked = Marked(read, starts, (*opens, *unbound), wrappers, bare, ends_thought)
    all_starts, markers = (*starts, *bare), (*markers, *wrappers)
    return Format(
        name,
        speaks,
        marked.listen,
        rule,
        all_starts,
        opens,
        markers,
        adapt,
        binds=binds,
        write=write,
    )


@dataclass(frozen=True, slots=True)
class Marked:
    read: Read
    starts: tuple[str, ...]
    opens: tuple[str, ...]
    wrappers: tuple[str, ...]
    bare: tuple[str, ...]
    ends_thought: bool

    def listen(self, source: Source, calls: Calls, thoughts: Thoughts) -> Reading[None]:
        if thoughts.text_begun:
            frame_end = tuple(filter(None, thoughts.frame[1:]))
        else:
            frame_end = yield from self._first_words(source, calls, thoughts)
        starts = (*self.starts, *self.bare) if calls.any else ()
        wrappers = self.wrappers if thoughts.start else ()  # who wants marks gets them all
        marks = (*starts, *wrappers, *frame_end, *((thoughts.start,) if thoughts.anywhere else ()))
        text = _Text()
        while marks:  # without any, the rest is text
            gap, mark = yield from source.tell_until(marks, text.tell)
            if mark in starts:
                if (yield from self._attempt(source, calls, mark, text.tell, gap)):
                    text.gap = ""
            elif mark in frame_end:
                if (yield from source.is_followed_by(*starts, *wrappers)):
                    yield from source.skip()
                    text.gap = ""
                else:  # the text's own, as of XML in it
                    yield text.tell(gap + mark)
            elif mark in wrappers:
                text.pass_over(gap + (yield from source.skip()))
            elif mark:
                text.pass_over(gap + (yield from self._thoughts(source, calls, thoughts)))
            else:
                if not calls.n and (gap := text.gap + gap):
                    yield TextDelta(gap)
                return

    def _first_words(
        self, source: Source, calls: Calls, thoughts: Thoughts
    ) -> Reading[tuple[str, ...]]:
        """What counts only where an answer begins. Returns the mark that its text may end with."""
        frame_end: tuple[str, ...] = ()
        if (yield from self._first_thoughts(source, calls, thoughts)):
            begin, end = thoughts.frame
            if end and (not begin or (yield from source.accepts(begin))):
                yield from source.skip()
                frame_end = (end,)
        if calls.any and self.opens and (yield from _is_next(source, self.opens)):
            yield from self._attempt(source, calls, "", TextDelta)
        return frame_end

    def _first_thoughts(self, source: Source, calls: Calls, thoughts: Thoughts) -> Reading[bool]:
        """Whether there were any."""
        if not thoughts.start:
            return False
        source.mark()
        yield from source.skip()
        if (yield from source.accepts(thoughts.start)) or thoughts.opened:
            yield from self._thoughts(source, calls, thoughts)
            return True
        source.go_back()
        return False

    def _thoughts(self, source: Source, calls: Calls, thoughts: Thoughts) -> Reading[str]:
        """Up to their end, or to a call. Returns the white space that follows."""
        source.unmark()
        yield from source.skip()
        starts = self.starts if calls.any and self.ends_thought else ()
        while True:
            gap, mark = yield from source.tell_until((thoughts.end, *starts), thoughts.tell)
            if mark in starts:
                if (yield from self._attempt(source, calls, mark, thoughts.tell, gap)):
                    return ""
                continue
            return (yield from source.skip()) if mark else ""

    def _attempt(
        self, source: Source, calls: Calls, mark: str, tell: Tell, gap: str = ""
    ) -> Reading[bool]:
        """Whether a call followed this mark. Where none did, the mark is told as text."""
        if source.n_reread > _MAX_REREAD:
            yield tell(gap + mark)
            return False
        source.mark(len(mark))
        n_before = calls.n
        try:
            yield from self.read(source, calls, mark)
        except Broken:
            source.go_back()
            if calls.n == n_before and (text := gap + source.take(len(mark))):
                yield tell(text)
        source.unmark()
        return calls.n > n_before


@dataclass(slots=True)
class _Text:
    """Text between marks: `gap` is white space beside them, told if more text comes."""

    gap: str = ""
    is_begun: bool = False

    def tell(self, text: str) -> TextDelta:
        text, self.gap, self.is_begun = self.gap + text, "", True
        return TextDelta(text)

    def pass_over(self, space: str) -> None:
        if self.is_begun:
            self.gap += space


def _is_next(source: Source, texts: tuple[str, ...]) -> Reading[bool]:
    source.mark()
    yield from source.skip()
    found = yield from source.accepts(*texts)
    source.go_back()
    return bool(found)
