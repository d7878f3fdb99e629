"""Messages in Anthropic's dialect: events in, a message's bytes out.

No clock and no random: the caller brings the id. Not streaming is the same happenings, untold: so
both end with the same message. How much of the prompt was there already is known at the end only:
a stream's last usage is the true one, and overrides the first.
"""

from collections.abc import Iterable, Iterator

from edgellm.chat.events import Finished, PromptRead, SoFar, Told
from edgellm.server.anthropic import object as wire
from edgellm.server.anthropic.content import Content
from edgellm.server.anthropic.requests import AskedMessage
from edgellm.server.manners import named_frame
from edgellm.server.openai.wire import Head, only_read


class MessageFold:
    """Nothing until the last event, then the whole message."""

    def __init__(self, head: Head, asked: AskedMessage) -> None:
        self._message, self._asked = wire.Message(head.id, head.model), asked
        self._content = Content(shows_thoughts=asked.shows_thoughts)

    def feed(self, index: int, event: Told) -> bytes:
        for _ in _happened(self._content, event, self._asked):
            pass
        if not isinstance(event, Finished):
            return b""
        ending, usage = _ended(event, self._asked)
        self._message.content = self._content.blocks
        self._message.stop_reason = ending.stop_reason
        self._message.stop_sequence = ending.stop_sequence
        self._message.usage = usage
        return wire.encode(self._message)


class MessageStream:
    """The message as it begins, its blocks as they come, and how it has ended."""

    def __init__(self, head: Head, asked: AskedMessage, n_prompt: int) -> None:
        """`n_prompt`: tokens; 0 where nobody has counted them yet."""
        self._message, self._asked = wire.Message(head.id, head.model), asked
        self._message.usage.input_tokens = n_prompt
        self._content = Content(shows_thoughts=asked.shows_thoughts)
        self._is_begun = False

    def feed(self, index: int, event: Told) -> bytes:
        return b"".join(map(_frame, self._told(event)))

    def _told(self, event: Told) -> Iterator[wire.Happening]:
        if not self._is_begun:
            self._is_begun = True
            yield wire.MessageStart(self._message)
        yield from _happened(self._content, event, self._asked)
        if isinstance(event, Finished):
            yield wire.MessageDelta(*_ended(event, self._asked))
            yield wire.MessageStop()


def _happened(content: Content, event: Told, asked: AskedMessage) -> Iterable[wire.Happening]:
    match event:
        case Finished():
            return content.close()
        case PromptRead() | SoFar():
            return ()
        case _:
            return () if asked.is_only_read else content.add(event)


def _ended(finished: Finished, asked: AskedMessage) -> tuple[wire.Ending, wire.Usage]:
    told = only_read(finished) if asked.is_only_read else finished
    return wire.ending_of(told, asked.chat.params.stop, asked.n_max), wire.usage_of(told)


def _frame(happening: wire.Happening) -> bytes:
    return named_frame(str(happening.__struct_config__.tag), wire.encode(happening))
