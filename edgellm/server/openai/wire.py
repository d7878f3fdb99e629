"""What chat and completion answers share on OpenAI's wire: usage, timings, log-probabilities.

`timings` has llama-server's names; those of the queue, TTFT, ITL and joules are ours. Unknown is
null, as the time between tokens where there was but one. Joules that no sensor saw are absent.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from edgellm.chat.events import Finished, PromptRead, SoFar, TokenLogprob, Told

MIN_LOGPROB = -9999.0  # OpenAI's word for "as good as impossible"; JSON has no infinity
DONE = b"data: [DONE]\n\n"

encode = msgspec.json.Encoder().encode


class Head(msgspec.Struct, frozen=True):
    """What every chunk of an answer begins with. It comes from outside: a dialect has no clock."""

    id: str
    created: int  # Unix seconds
    model: str


class Dialect(Protocol):
    def feed(self, index: int, event: Told) -> bytes:
        """What goes out for this event: whole frames, or nothing yet."""
        ...


class PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int


class CompletionDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int  # in thoughts that were told apart


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Timings(msgspec.Struct, frozen=True):
    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float | None
    prompt_per_second: float | None
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float | None
    predicted_per_second: float | None
    queue_ms: float
    ttft_ms: float
    itl_p50_ms: float | None  # between steps that gave a token
    itl_p99_ms: float | None
    energy_j: float | UnsetType = UNSET
    energy_j_per_token: float | UnsetType = UNSET  # of the tokens written; the prompt is in it
    draft_n: int | UnsetType = UNSET  # absent where nothing was guessed
    draft_n_accepted: int | UnsetType = UNSET


class PromptProgress(msgspec.Struct, frozen=True):
    """llama-server's. `processed` has `cache` in it."""

    total: int
    cache: int
    processed: int
    time_ms: int


class TokenProb(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class ShownToken(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TokenProb]


class ChatLogprobs(msgspec.Struct, frozen=True):
    content: list[ShownToken]
    refusal: None = None


class Ended:
    """The endings of a request's answers, `n` of each prompt."""

    def __init__(self, n_prompts: int, n: int) -> None:
        self._by_index: dict[int, Finished] = {}
        self._n_prompts, self._n = n_prompts, n

    def add(self, index: int, finished: Finished) -> bool:
        """Whether it is the last one."""
        self._by_index[index] = finished
        return len(self._by_index) == self._n_prompts * self._n

    def usage(self) -> Usage:
        """A prompt counts once, however many answers it has, and as cached what its first had."""
        n_prompt = sum(group[0].n_prompt for group in self._groups())
        n_cached = sum(min(one.n_cached for one in group) for group in self._groups())
        n_output = sum(one.n_output for one in self._by_index.values())
        n_reasoning = sum(one.n_reasoning for one in self._by_index.values())
        return Usage(
            n_prompt,
            n_output,
            n_prompt + n_output,
            PromptDetails(n_cached),
            CompletionDetails(n_reasoning),
        )

    def timings(self) -> Timings:
        usage = self.usage()
        n_cached = usage.prompt_tokens_details.cached_tokens
        return timings_of(self._by_index.values(), usage.prompt_tokens, n_cached, self._energy_j())

    def _energy_j(self) -> float | None:
        """Of all answers together; None where one of them is not known."""
        joules = [one.energy_j for one in self._by_index.values()]
        known = [j for j in joules if j is not None]
        return sum(known) if len(known) == len(joules) else None

    def _groups(self) -> list[list[Finished]]:
        return [
            [self._by_index[p * self._n + i] for i in range(self._n)]
            for p in range(self._n_prompts)
        ]


def timings_of(
    answers: Collection[Finished | SoFar],
    n_prompt: int,
    n_cached: int,
    energy_j: float | None = None,
) -> Timings:
    """Of several answers to prompts of so many tokens the slowest: they ran side by side."""
    n_prefilled = n_prompt - n_cached
    n_output = sum(one.n_output for one in answers)
    prompt_ms = 1000 * max(one.timings.prefill_s for one in answers)
    predicted_ms = 1000 * max(one.timings.decode_s for one in answers)
    n_steps = n_output - len(answers)  # the first token comes with the prompt's last row
    per_token = _ratio(energy_j or 0.0, n_output)
    n_drafted = sum(one.n_drafted for one in answers)
    return Timings(
        cache_n=n_cached,
        prompt_n=n_prefilled,
        prompt_ms=round(prompt_ms, 3),
        prompt_per_token_ms=_ratio(prompt_ms, n_prefilled),
        prompt_per_second=_ratio(1000 * n_prefilled, prompt_ms),
        predicted_n=n_output,
        predicted_ms=round(predicted_ms, 3),
        predicted_per_token_ms=_ratio(predicted_ms, n_steps),
        predicted_per_second=_ratio(1000 * n_steps, predicted_ms),
        queue_ms=round(1000 * max(one.timings.queue_s for one in answers), 3),
        ttft_ms=round(1000 * max(one.timings.ttft_s for one in answers), 3),
        itl_p50_ms=_slowest_ms(one.timings.itl_p50_s for one in answers),
        itl_p99_ms=_slowest_ms(one.timings.itl_p99_s for one in answers),
        energy_j=UNSET if energy_j is None else round(energy_j, 3),
        energy_j_per_token=UNSET if per_token is None else per_token,
        draft_n=n_drafted or UNSET,
        draft_n_accepted=sum(one.n_draft_accepted for one in answers) if n_drafted else UNSET,
    )


def only_read(finished: Finished) -> Finished:
    """Nothing was to follow the prompt: no step is without a token, and that one is nobody's."""
    return replace(finished, reason="length", n_output=0, n_reasoning=0, stop_word=None)


def timings_so_far(told: SoFar) -> Timings:
    return timings_of([told], told.n_prompt, told.n_cached)


def progress_of(told: PromptRead) -> PromptProgress:
    elapsed_ms = round(1000 * told.elapsed_s)
    return PromptProgress(told.n_prompt, told.n_cached, told.n_read, elapsed_ms)


def finish_reason(finished: Finished) -> str:
    """OpenAI has no word for a cancelled answer; by then nobody reads it anyway."""
    if finished.is_cut:
        return "length"
    return "tool_calls" if finished.end == "calls" else "stop"


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> ChatLogprobs:
    return ChatLogprobs(
        [
            ShownToken(
                token=text_of(shown.piece),
                logprob=finite(shown.logprob),
                bytes=list(shown.piece),
                top_logprobs=[
                    TokenProb(text_of(piece), finite(logprob), list(piece))
                    for _, piece, logprob in shown.top
                ],
            )
            for shown in tokens
        ]
    )


def text_of(piece: bytes) -> str:
    return piece.decode(errors="replace")


def finite(logprob: float) -> float:
    return max(logprob, MIN_LOGPROB)


def _slowest_ms(seconds: Iterable[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return round(1000 * max(known), 3) if known else None


def _ratio(above: float, below: float) -> float | None:
    return round(above / below, 3) if above > 0 and below > 0 else None
