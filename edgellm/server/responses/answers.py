"""Responses in OpenAI's dialect: events in, `response` bytes out.

No clock and no random: the caller brings the `Head`. Not streaming is the same happenings, untold:
so both end with the same response. A stream has no "[DONE]": its last happening is the end.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from edgellm.chat.events import Event, Failed, Finished, PromptRead, SoFar
from edgellm.server.envelope import code_of, status_of, words_of
from edgellm.server.manners import named_frame
from edgellm.server.openai.wire import Head, encode
from edgellm.server.responses import happenings as told
from edgellm.server.responses.happenings import Happening
from edgellm.server.responses.object import Broken, Item, status_of_last
from edgellm.server.responses.output import Output
from edgellm.server.responses.requests import AskedResponse

Keep: TypeAlias = Callable[[Iterable[Item]], None]


def forget(items: Iterable[Item]) -> None:
    pass


class ResponseFold:
    """Nothing until the last event, then the whole response. `keep` gets its items."""

    def __init__(self, head: Head, asked: AskedResponse, keep: Keep = forget) -> None:
        self._response, self._keep = asked.response, keep
        self._response.begin(head)
        self._output = Output(head.id, asked.tools.offered, in_summary=asked.in_summary)

    def feed(self, index: int, event: Event) -> bytes:
        for _ in happened(self._output, event):
            pass
        if not isinstance(event, Finished):
            return b""
        self._response.output = self._output.items
        self._response.end(event)
        self._keep(self._output.items)
        return encode(self._response)


class ResponseStream:
    """The response as it begins, its items as they come, and the response as it has ended. `keep`
    gets its items then, or when it is left."""

    def __init__(self, head: Head, asked: AskedResponse, keep: Keep = forget) -> None:
        self._response, self._keep = asked.response, keep
        self._response.begin(head)
        self._output = Output(head.id, asked.tools.offered, in_summary=asked.in_summary)
        self._n_told = 0

    def feed(self, index: int, event: Event) -> bytes:
        data = self._begun() + self._frames(happened(self._output, event))
        if not isinstance(event, Finished):
            return data
        self._response.output = self._output.items
        self._response.end(event)
        self._keep(self._output.items)
        ended = told.Completed if self._response.status == "completed" else told.Incomplete
        return data + self._frame(ended(response=self._response))

    def waiting(self) -> bytes:
        """A word into a pause. Not a comment: clients that give a silent stream up (Codex after
        300 s) count events alone."""
        return self._begun() or self._frame(told.InProgress(response=self._response))

    def broken(self, error: Exception) -> bytes:
        """The last words of a stream that failed: what it had said by then, and why it ends."""
        data = self._begun() + self._frames(self._output.close("incomplete"))
        self._response.output = self._output.items
        self._response.status, self._response.error = "failed", _broken(error)
        return data + self._frame(told.Failed(response=self._response))

    def leave(self) -> None:
        """Nobody is told any more. Who broke off an answer shows what was said of it by then, and
        may give that back by its id."""
        if self._response.status in ("in_progress", "failed"):
            for _ in self._output.close("incomplete"):
                pass
            self._keep(self._output.items)

    def _begun(self) -> bytes:
        if self._n_told:
            return b""
        begun = (told.Created(response=self._response), told.InProgress(response=self._response))
        return self._frames(begun)

    def _frames(self, several: Iterable[Happening]) -> bytes:
        return b"".join(map(self._frame, several))

    def _frame(self, happening: Happening) -> bytes:
        happening.sequence_number = self._n_told
        self._n_told += 1
        return named_frame(str(happening.__struct_config__.tag), encode(happening))


def happened(output: Output, event: Event) -> Iterable[Happening]:
    match event:
        case Finished():
            return output.close(status_of_last(event))
        case PromptRead() | SoFar():
            return ()
        case Failed():
            raise AssertionError("a Failed is raised before it comes here")
        case _:
            return output.add(event)


def is_full(error: Exception) -> bool:
    """The context. OpenAI tells it in a stream, and agents (Codex) look for it there alone, to
    shorten their conversation: a status of 400 would end their work."""
    return code_of(error) == "context_length_exceeded"


def _broken(error: Exception) -> Broken:
    """In the words that OpenAI has for it."""
    status = status_of(error)
    if is_full(error):
        return Broken("context_length_exceeded", words_of(error))
    if status == 429:
        return Broken("rate_limit_exceeded", words_of(error))
    return Broken("server_error" if status >= 500 else "invalid_prompt", words_of(error))
