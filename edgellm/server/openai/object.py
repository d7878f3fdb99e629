"""The object that OpenAI puts around an answer's choices: in chunks while they come, or whole.

Chats and plain completions have the same, under other names. A choice's last chunk has its reason.
With the last of all come the timings, and `data: [DONE]` behind it; who asked for the usage gets
both in one more chunk, beside `choices: []`. Who asked for it hears in chunks of their own how far
the prompt is (llama-server's `prompt_progress`), and has with each text the timings so far.
"""

from typing import Generic, Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from edgellm.chat.events import Finished, PromptRead, SoFar
from edgellm.server.manners import frame
from edgellm.server.openai.wire import (
    DONE,
    Ended,
    Head,
    PromptProgress,
    Timings,
    Usage,
    encode,
    finish_reason,
    progress_of,
    timings_so_far,
)


class _Choice(Protocol):
    index: int
    finish_reason: str | None


C = TypeVar("C", bound=_Choice)


class _Object(msgspec.Struct, Generic[C]):
    id: str
    object: str
    created: int
    model: str
    choices: list[C]
    usage: Usage | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET
    prompt_progress: PromptProgress | UnsetType = UNSET


def _object(head: Head, name: str, choices: list[C]) -> _Object[C]:
    return _Object(head.id, name, head.created, head.model, choices)


class Chunks(Generic[C]):
    """One object around each choice that comes."""

    def __init__(self, head: Head, name: str, ended: Ended, *, include_usage: bool) -> None:
        self._object: _Object[C] = _object(head, name, [])
        self._ended, self._include_usage = ended, include_usage
        self._so_far: dict[int, Timings] = {}  # of each choice

    def one(self, choice: C) -> bytes:
        self._object.timings = self._so_far.get(choice.index, UNSET)
        return self._told([choice])

    def hear(self, index: int, told: SoFar) -> bytes:
        """Goes out with this choice's next text."""
        self._so_far[index] = timings_so_far(told)
        return b""

    def progress(self, choice: C, told: PromptRead) -> bytes:
        """A chunk of its own, in which `choice` says nothing."""
        self._object.prompt_progress = progress_of(told)
        chunk = self.one(choice)
        self._object.prompt_progress = UNSET
        return chunk

    def last(self, choice: C, finished: Finished) -> bytes:
        """The last one of this choice."""
        choice.finish_reason = finish_reason(finished)
        if not self._ended.add(choice.index, finished):
            return self.one(choice)
        if self._include_usage:
            return self.one(choice) + self._usage() + DONE
        self._object.timings = self._ended.timings()
        return self._told([choice]) + DONE

    def _usage(self) -> bytes:
        self._object.usage, self._object.timings = self._ended.usage(), self._ended.timings()
        return self._told([])

    def _told(self, choices: list[C]) -> bytes:
        self._object.choices = choices
        return frame(encode(self._object))


class Whole(Generic[C]):
    """All `choices`, which the dialect fills until the last of them has ended."""

    def __init__(self, head: Head, name: str, choices: list[C], ended: Ended) -> None:
        self._object, self._ended = _object(head, name, choices), ended

    def last(self, choice: C, finished: Finished) -> bytes:
        """Nothing while others go on."""
        choice.finish_reason = finish_reason(finished)
        if not self._ended.add(choice.index, finished):
            return b""
        self._object.usage, self._object.timings = self._ended.usage(), self._ended.timings()
        return encode(self._object)
