"""Plain completions in llama-server's own dialect. Pure.

A chunk has only new text; the last one has the counts and no text, and no [DONE] follows. What is
not known here, or would not be true, is absent: the prompt, and settings that have no effect.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, assert_never

import msgspec
from msgspec import UNSET, UnsetType

from edgellm.chat.events import (
    Finished,
    PromptRead,
    ReasoningDelta,
    SoFar,
    TextDelta,
    TokenLogprob,
    Told,
    ToolCallDelta,
)
from edgellm.chat.messages import GenerateParams
from edgellm.server.manners import frame
from edgellm.server.openai.wire import (
    Ended,
    PromptProgress,
    Timings,
    encode,
    finite,
    only_read,
    progress_of,
    text_of,
    timings_so_far,
)

Odds: TypeAlias = Literal["logprob", "prob"]  # the model's own, or what the samplers left


class TokenOdds(msgspec.Struct):
    id: int
    token: str
    bytes: list[int]
    logprob: float | UnsetType = UNSET
    prob: float | UnsetType = UNSET


class ShownOdds(TokenOdds):
    top_logprobs: list[TokenOdds] | UnsetType = UNSET
    top_probs: list[TokenOdds] | UnsetType = UNSET


class NativeChunk(msgspec.Struct):
    """Fields of a chunk, and those that only the end of an answer has."""

    index: int
    content: str
    tokens: list[int]
    stop: bool
    id_slot: int = -1
    completion_probabilities: list[ShownOdds] | UnsetType = UNSET
    model: str | UnsetType = UNSET
    tokens_predicted: int | UnsetType = UNSET
    tokens_evaluated: int | UnsetType = UNSET
    tokens_cached: int | UnsetType = UNSET
    generation_settings: dict[str, Any] | UnsetType = UNSET
    has_new_line: bool | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET
    stop_type: str | UnsetType = UNSET
    stopping_word: str | UnsetType = UNSET
    timings: Timings | UnsetType = UNSET
    prompt_progress: PromptProgress | UnsetType = UNSET


Last: TypeAlias = NativeChunk | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """What answers tell besides their text."""

    model: str
    n_ctx: int  # of one sequence
    settings: dict[str, Any]
    tokens: bool = False
    odds: Odds | None = None
    text: bool = True
    fields: tuple[str, ...] = ()  # those that the last chunk has; none: all


def settings_of(params: GenerateParams, n_ctx: int, *, streams: bool) -> dict[str, Any]:
    """llama-server's names. A seed that nobody gave is not known."""
    sampling: dict[str, Any] = msgspec.to_builtins(params.sampling)
    most = -1 if params.max_tokens is None else params.max_tokens
    return {name: value for name, value in sampling.items() if value is not None} | {
        "logit_bias": [
            {"token": token, "bias": bias} for token, bias in params.sampling.logit_bias
        ],
        "n_predict": most,
        "max_tokens": most,
        "stop": list(params.stop),
        "n_probs": params.logprobs or 0,
        "post_sampling_probs": params.post_sampling_probs,
        "lora": [{"id": id, "scale": scale} for id, scale in params.adapters],
        "stream": streams,
        "n_ctx": n_ctx,
    }


@dataclass(slots=True)
class _Answer:
    """One answer so far. All of its text is kept only where it isn't streamed."""

    parts: list[str] = field(default_factory=list)
    shown: list[TokenLogprob] = field(default_factory=list)
    has_new_line: bool = False
    so_far: SoFar | None = None


class NativeCompletion:
    """A request's answers. Several are a list, in the order of their prompts."""

    def __init__(self, shown: Shown, *, streams: bool, n_answers: int = 1) -> None:
        self._shown, self._streams = shown, streams
        self._answers = [_Answer() for _ in range(n_answers)]
        self._ended: dict[int, Last] = {}

    def feed(self, index: int, event: Told) -> bytes:
        match event:
            case TextDelta(text=text, logprobs=shown):
                return self._told(index, text, shown) if self._shown.text else b""
            case ReasoningDelta() | ToolCallDelta():
                return b""  # parts of a chat: plain text has none
            case PromptRead():
                return self._progress(index, event)
            case SoFar():
                self._answers[index].so_far = event
                return b""
            case Finished():
                last = selected(self._last(index, event), self._shown.fields)
                return frame(encode(last)) if self._streams else self._kept(index, last)
            case _:
                assert_never(event)

    def _told(self, index: int, text: str, shown: Sequence[TokenLogprob]) -> bytes:
        answer = self._answers[index]
        answer.has_new_line = answer.has_new_line or "\n" in text
        if not self._streams:
            answer.parts.append(text)
            answer.shown += shown
            return b""
        if not (text or shown):
            return b""
        chunk = self._chunk(index, text, shown)
        if so_far := answer.so_far:
            chunk.tokens_predicted, chunk.tokens_evaluated = so_far.n_output, so_far.n_prompt
            chunk.timings = timings_so_far(so_far)
        return frame(encode(chunk))

    def _progress(self, index: int, told: PromptRead) -> bytes:
        """Only streams ask for it."""
        chunk = self._chunk(index, "", ())
        chunk.tokens_predicted, chunk.tokens_evaluated = 0, told.n_prompt
        chunk.prompt_progress = progress_of(told)
        return frame(encode(chunk))

    def _chunk(
        self, index: int, text: str, shown: Sequence[TokenLogprob], *, stop: bool = False
    ) -> NativeChunk:
        tokens = [one.token for one in shown] if self._shown.tokens else []
        kind = self._shown.odds
        odds = [_shown(one, kind) for one in shown] if kind else []
        return NativeChunk(index, text, tokens, stop, completion_probabilities=odds or UNSET)

    def _last(self, index: int, finished: Finished) -> NativeChunk:
        answer, ended = self._answers[index], Ended(1, 1)
        if not self._shown.text:
            finished = only_read(finished)
        ended.add(0, finished)
        last = self._chunk(index, "".join(answer.parts), answer.shown, stop=True)
        n_tokens = finished.n_prompt + finished.n_output
        last.model, last.generation_settings = self._shown.model, self._shown.settings
        last.tokens_predicted, last.tokens_evaluated = finished.n_output, finished.n_prompt
        last.tokens_cached, last.has_new_line = n_tokens, answer.has_new_line
        last.truncated = finished.is_cut and n_tokens >= self._shown.n_ctx
        last.stop_type, last.stopping_word = _stop_type(finished), finished.stop_word or ""
        last.timings = ended.timings()
        return last

    def _kept(self, index: int, last: Last) -> bytes:
        """Nothing while others go on."""
        self._ended[index] = last
        if len(self._ended) < len(self._answers):
            return b""
        whole = [self._ended[i] for i in range(len(self._answers))]
        return encode(whole[0] if len(whole) == 1 else whole)


def selected(last: NativeChunk, paths: Sequence[str]) -> Last:
    """The fields at these paths, by their paths: "timings/prompt_n". What isn't there is left out.
    Without any all of it."""
    if not paths:
        return last
    whole, found = msgspec.to_builtins(last), dict[str, Any]()
    for path in paths:
        value: Any = whole
        for name in path.split("/"):
            value = value.get(name, UNSET) if isinstance(value, dict) else UNSET
        if value is not UNSET:
            found[path] = value
    return found


def _shown(one: TokenLogprob, kind: Odds) -> ShownOdds:
    top = [TokenOdds(*_odds(*rival, kind)) for rival in one.top]
    shown = ShownOdds(*_odds(one.token, one.piece, one.logprob, kind))
    if kind == "logprob":
        shown.top_logprobs = top
    else:
        shown.top_probs = top
    return shown


def _odds(
    token: int, piece: bytes, logprob: float, kind: Odds
) -> tuple[int, str, list[int], float | UnsetType, float | UnsetType]:
    """The fields of a TokenOdds."""
    known = (finite(logprob), UNSET) if kind == "logprob" else (UNSET, math.exp(logprob))
    return token, text_of(piece), list(piece), *known


def _stop_type(finished: Finished) -> str:
    """llama-server's words."""
    if finished.is_cut:
        return "limit"
    return "word" if finished.end == "stop_word" else "eos"
