"""How an answer is sampled and bounded: what chats and completions share.

Every number has a lower and an upper bound (a test walks these structs): what is out of bounds
never reaches native code. Names and meaning: OpenAI's API reference; top_k, min_p, typical_p,
repeat_penalty, repeat_last_n, ignore_eos, cache_prompt, n_predict are llama-server's.
"""

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.errors import BadRequest
from edgellm.server.openai_messages import Name
from edgellm.server.openai_structure import Structured

_INT32_MAX = 2**31 - 1

Token: TypeAlias = Annotated[int, Meta(ge=0, le=_INT32_MAX)]
Bias: TypeAlias = Annotated[float, Meta(ge=-100, le=100)]
Ratio: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Penalty: TypeAlias = Annotated[float, Meta(ge=-2, le=2)]
Rivals: TypeAlias = Annotated[int, Meta(ge=0, le=20)]
MaxTokens: TypeAlias = Annotated[int, Meta(ge=-1, le=_INT32_MAX)]  # -1: to the context's end
StopString: TypeAlias = Annotated[str, Meta(max_length=512)]


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Sampling(Structured, kw_only=True):
    """What chat and completion share."""

    model: Name | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Ratio | None = None
    top_k: Annotated[int, Meta(ge=-1, le=_INT32_MAX)] | None = None
    min_p: Ratio | None = None
    typical_p: Ratio | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=_INT32_MAX)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[Token, Bias], Meta(max_length=1024)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    ignore_eos: bool | None = None
    max_tokens: MaxTokens | None = None
    n_predict: MaxTokens | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    cache_prompt: bool | None = None

    def params(self, logprobs: int | None, max_completion_tokens: int | None) -> GenerateParams:
        return GenerateParams(
            sampling=self._sampling_params(),
            max_tokens=_bound(max_completion_tokens, self.max_tokens, self.n_predict),
            stop=self._stop_strings(),
            structure=self.structure(),
            n=self.n or 1,
            logprobs=logprobs,
            cache_prompt=self.cache_prompt is not False,
        )

    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def _sampling_params(self) -> SamplingParams:
        fields: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k is None else max(self.top_k, 0),  # vLLM's -1: off
            "min_p": self.min_p,
            "typical_p": self.typical_p,
            "repeat_penalty": self.repeat_penalty,
            "repeat_last_n": self.repeat_last_n,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "ignore_eos": self.ignore_eos,
            "seed": _seed(self.seed),
        }
        present = {name: value for name, value in fields.items() if value is not None}
        return SamplingParams(**present, logit_bias=tuple((self.logit_bias or {}).items()))

    def _stop_strings(self) -> tuple[str, ...]:
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(string for string in given if string)


def _bound(*given: int | None) -> int | None:
    """The first that is there; -1 bounds nothing."""
    first = next((number for number in given if number is not None), None)
    if first == 0:
        raise BadRequest("max_tokens: must be at least 1, or -1 for no bound", param="max_tokens")
    return None if first == -1 else first


def _seed(given: int | None) -> int | None:
    """llama.cpp's is 32 bits wide, and its highest value means "random", as -1 does here."""
    return None if given in (None, -1) else given % 0xFFFF_FFFF
