"""Responses in OpenAI's dialect: events in, `response` bytes out.

No clock and no random: the caller brings the `Head`. Not streaming is the same happenings, untold:
so both end with the same response, once. A stream has no "[DONE]": its last happening is the end.
"""

from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from edgellm.chat.events import Finished, PromptRead, SoFar, Told
from edgellm.server.envelope import code_of, status_of, words_of
from edgellm.server.manners import named_frame
from edgellm.server.openai.wire import Head, encode
from edgellm.server.responses import happenings as told
from edgellm.server.responses.happenings import Happening
from edgellm.server.responses.object import Broken, Response, status_of_last
from edgellm.server.responses.output import Output
from edgellm.server.responses.requests import AskedResponse

Keep: TypeAlias = Callable[[Response], None]

_FRAME_END = b"\n\n"


def forget(response: Response) -> None:
    pass


class ResponseFold:
    """Nothing until it ends, then the whole response. `keep` gets it before anybody is told: who
    reads the end may name it at once."""

    def __init__(self, head: Head, asked: AskedResponse, keep: Keep = forget) -> None:
        self.response, self._keep = asked.response, keep
        self.response.begin(head)
        self._output = Output(head.id, asked.tools.offered, in_summary=asked.in_summary)
        self._is_begun = self.has_ended = False

    def queue(self) -> bytes:
        """Its first words where nobody waits for it."""
        self.response.status = "queued"
        created = told.Created(response=self.response)
        return self._say((created, told.Queued(response=self.response)))

    def feed(self, index: int, event: Told) -> bytes:
        data = self._begin() + self._say(happened(self._output, event))
        if not isinstance(event, Finished):
            return data
        self.response.end(event)
        return data + self._end()

    def broken(self, error: Exception) -> bytes:
        """Its last words where it failed: what it had said by then, and why it ends."""
        return self._give_up("failed", _broken(error))

    def leave(self) -> bytes:
        """Nobody wants the rest of it. Who broke off an answer shows what was said of it by then,
        and may go on with that."""
        return self._give_up("cancelled", None)

    def _give_up(self, status: Literal["failed", "cancelled"], error: Broken | None) -> bytes:
        if self.has_ended:
            return b""
        data = self._begin() + self._say(self._output.close("incomplete"))
        self.response.status, self.response.error = status, error
        return data + self._end()

    def _begin(self) -> bytes:
        if self._is_begun:
            return b""
        self._is_begun = True
        was_queued, self.response.status = self.response.status == "queued", "in_progress"
        begun = told.InProgress(response=self.response)
        return self._say((begun,) if was_queued else (told.Created(response=self.response), begun))

    def _end(self) -> bytes:
        self.response.output, self.has_ended = self._output.items, True
        self._keep(self.response)
        return self._last()

    def _say(self, several: Iterable[Happening]) -> bytes:
        for _ in several:
            pass
        return b""

    def _last(self) -> bytes:
        return encode(self.response)


class ResponseStream(ResponseFold):
    """The response as it begins, its items as they come, and the response as it has ended."""

    def __init__(self, head: Head, asked: AskedResponse, keep: Keep = forget) -> None:
        super().__init__(head, asked, keep)
        self._n_told = 0

    def waiting(self) -> bytes:
        """A word into a pause. Not a comment: clients that give a silent stream up (Codex after
        300 s) count events alone."""
        return self._begin() or self._frame(told.InProgress(response=self.response))

    def leave(self) -> bytes:
        """Of one that was never begun nobody knows the id."""
        return super().leave() if self._n_told else b""

    def _say(self, several: Iterable[Happening]) -> bytes:
        return b"".join(map(self._frame, several))

    def _last(self) -> bytes:
        """There is no word of its own for one that was cancelled."""
        match self.response.status:
            case "completed":
                return self._frame(told.Completed(response=self.response))
            case "failed":
                return self._frame(told.Failed(response=self.response))
            case _:
                return self._frame(told.Incomplete(response=self.response))

    def _frame(self, happening: Happening) -> bytes:
        happening.sequence_number = self._n_told
        self._n_told += 1
        return named_frame(str(happening.__struct_config__.tag), encode(happening))


def frames_apart(data: bytes) -> list[bytes]:
    """What a stream said at once, a frame each. JSON has no line breaks of its own."""
    return [frame + _FRAME_END for frame in data.split(_FRAME_END)[:-1]]


def happened(output: Output, event: Told) -> Iterable[Happening]:
    match event:
        case Finished():
            return output.close(status_of_last(event))
        case PromptRead() | SoFar():
            return ()
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
