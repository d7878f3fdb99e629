"""Plain completions in llama-server's own dialect, for what OpenAI has no route for.

A chunk has the new text only; the last one has no text but the counts, and no [DONE] follows.
"""

from typing import assert_never

import msgspec
from msgspec import UNSET, UnsetType

from edgellm.chat.events import (
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from edgellm.server.manners import frame
from edgellm.server.openai.wire import Ended, Timings, encode


class NativeChunk(msgspec.Struct):
    """Fields of a chunk, and those that only the end of an answer has."""

    index: int
    content: str
    tokens: list[int]
    stop: bool
    id_slot: int = -1
    model: str | UnsetType = UNSET
    tokens_predicted: int | UnsetType = UNSET
    tokens_evaluated: int | UnsetType = UNSET
    tokens_cached: int | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET
    stop_type: str | UnsetType = UNSET
    stopping_word: str | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET


class NativeCompletion:
    """Of one answer. Not streaming, its text is kept until it is whole."""

    def __init__(self, model: str, *, streams: bool) -> None:
        self._model, self._streams = model, streams
        self._parts: list[str] = []
        self._ended = Ended(1, 1)

    def feed(self, index: int, event: Event) -> bytes:
        match event:
            case TextDelta(text=text):
                if self._streams:
                    return frame(encode(NativeChunk(0, text, [], stop=False))) if text else b""
                self._parts.append(text)
                return b""
            case ReasoningDelta() | ToolCallDelta():
                return b""  # parts of a chat: plain text has none
            case Finished():
                self._ended.add(0, event)
                data = encode(self._last(event))
                return frame(data) if self._streams else data
            case Failed():
                raise AssertionError("a Failed is raised before it comes here")
            case _:
                assert_never(event)

    def _last(self, finished: Finished) -> NativeChunk:
        return NativeChunk(
            0,
            "".join(self._parts),
            [],
            stop=True,
            model=self._model,
            tokens_predicted=finished.n_output,
            tokens_evaluated=finished.n_prompt,
            tokens_cached=finished.n_prompt + finished.n_output,
            truncated=False,
            stop_type=_stop_type(finished),
            stopping_word=finished.stop_word or "",
            timings=self._ended.timings(),
        )


def _stop_type(finished: Finished) -> str:
    """llama-server's words."""
    if finished.is_cut:
        return "limit"
    return "word" if finished.end == "stop_word" else "eos"
