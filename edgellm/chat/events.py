"""The events of an answer, in the order they come: deltas, then one Finished or one Failed.

What an ending means is decided here, once: dialects only translate an `End`.
"""

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import msgspec

FinishReason = Literal["stop", "length", "tool_calls", "cancelled", "deadline"]
# What ended an answer: the model, a stop string, the model that wants its calls answered; its
# bound or the context's end, its deadline, its client.
End = Literal["model", "stop_word", "calls", "length", "deadline", "cancelled"]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and its likeliest rivals, by the model's own odds: only a structure's mask has been
    applied."""

    token: int
    piece: bytes
    logprob: float
    top: tuple[tuple[int, bytes, float], ...] = ()  # token, piece, logprob


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str
    n_tokens: int = 1  # sampled since the last delta, this one's included
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    index: int
    id: str | None  # with the first delta of a call only, as the name is
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, measured in the worker. The sum of the three is the request's life there."""

    queue_s: float  # from arrival to its first row in a batch
    prefill_s: float  # from there to the first token
    decode_s: float  # from there to the last one
    itl_p50_s: float | None = None  # between steps that gave it tokens; None: there was one
    itl_p99_s: float | None = None

    @property
    def ttft_s(self) -> float:
        return self.queue_s + self.prefill_s


# Tagged structs, not dataclasses: a union of them travels through the worker's pipe.


class PromptRead(msgspec.Struct, frozen=True, tag=True):
    """How many tokens of a prompt are read, for requests that ask for it."""

    n_prompt: int
    n_cached: int  # of n_prompt, those whose KV was already there
    n_read: int  # of n_prompt, with n_cached
    elapsed_s: float  # since its first row


class SoFar(msgspec.Struct, frozen=True, tag=True):
    """What Finished would say if the answer ended here, for requests that ask for it."""

    n_prompt: int
    n_cached: int
    n_output: int
    timings: Timings  # without quantiles
    n_drafted: int = 0
    n_draft_accepted: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    reason: FinishReason
    n_prompt: int  # tokens
    n_cached: int  # of n_prompt, those whose KV was already there
    n_output: int
    timings: Timings = field(default_factory=lambda: Timings(0.0, 0.0, 0.0))
    request_id: int = 0  # the engine's
    step_share: float = 0.0  # steps it took part in, each divided by who was in it
    n_computed: int = 0  # tokens computed for it alone
    energy_j: float | None = None  # None: no sensor saw all of it
    step_share_s: float | None = None  # seconds of those steps, divided likewise
    n_drafted: int = 0  # guessed tokens that were computed
    n_draft_accepted: int = 0  # of these, those that came true
    stop_word: str | None = None  # the stop string that ended it; None: something else did
    n_reasoning: int = 0  # of n_output, those in thoughts that were told apart
    is_in_call: bool = False  # its last call is not whole

    @property
    def end(self) -> End:
        match self.reason:
            case "stop":
                return "model" if self.stop_word is None else "stop_word"
            case "tool_calls":
                return "calls"
            case other:
                return other

    @property
    def is_cut(self) -> bool:
        """Whether there would have been more of it."""
        return self.reason in ("length", "deadline")


@dataclass(frozen=True, slots=True)
class Failed:
    message: str
    http_status: int
    param: str | None = None
    kind: str = "EdgellmError"  # the name of the error's class in errors.py
    sizes: tuple[int, int] | None = None  # a ContextTooLong's


Note: TypeAlias = PromptRead | SoFar  # beside the answer, not part of it
Told: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta | Note | Finished  # to a client
Event: TypeAlias = Told | Failed
ENDINGS: Final = (Finished, Failed)
