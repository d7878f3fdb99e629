"""How an answer is bounded: what chats and completions share. The samplers: samplers.py.

Every number has a lower and an upper bound (a test walks these structs): what is out of bounds
never reaches native code. Names and meaning: OpenAI's API reference; cache_prompt, n_predict,
n_probs, post_sampling_probs, return_progress and timings_per_token are llama-server's; priority is
vLLM's: lower goes first; ttl is LM Studio's: seconds that the model stays from then on while nobody
asks.
"""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from edgellm.chat.messages import Claim, GenerateParams, SamplingParams
from edgellm.errors import BadRequest
from edgellm.runner.adapters import MAX_ADAPTERS, MAX_SCALE
from edgellm.server.body import INT32_MAX
from edgellm.server.openai.messages import Name
from edgellm.server.openai.samplers import Count, Ratio, Samplers

Rivals: TypeAlias = Annotated[int, Meta(ge=0, le=20)]
MaxTokens: TypeAlias = Annotated[int, Meta(ge=-1, le=INT32_MAX)]  # -1: to the context's end
Priority: TypeAlias = Annotated[int, Meta(ge=-100, le=100)]
TimeToLive: TypeAlias = Annotated[float, Meta(ge=0, le=INT32_MAX)]
StopString: TypeAlias = Annotated[str, Meta(max_length=512)]
# Looked for in every token's text: so many take 0.1 ms. Programs for role play send dozens.
StopStrings: TypeAlias = Annotated[list[StopString], Meta(max_length=128)]


def n_rivals(logprobs: bool | None, top_logprobs: int | None) -> int | None:
    """How many tokens are told beside each one's odds; None: no odds are. Raises BadRequest."""
    if top_logprobs and not logprobs:
        raise BadRequest("top_logprobs needs logprobs: true", param="top_logprobs")
    return (top_logprobs or 0) if logprobs else None


class LoraScale(msgspec.Struct):
    """llama-server's. An adapter that a request's list doesn't name takes no part in it."""

    id: Annotated[int, Meta(ge=0, le=INT32_MAX)]
    scale: Annotated[float, Meta(ge=-MAX_SCALE, le=MAX_SCALE)] = 0.0


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Sampling(Samplers, kw_only=True):
    model: Name | None = None
    max_tokens: MaxTokens | None = None
    n_predict: MaxTokens | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    stop: StopString | StopStrings | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    cache_prompt: bool | None = None
    n_probs: Rivals | None = None
    post_sampling_probs: bool | None = None
    return_progress: bool | None = None
    timings_per_token: bool | None = None
    lora: Annotated[list[LoraScale], Meta(max_length=MAX_ADAPTERS)] | None = None
    draft_max: Count | None = msgspec.field(name="speculative.n_max", default=None)
    draft_min: Count | None = msgspec.field(name="speculative.n_min", default=None)
    draft_p_min: Ratio | None = msgspec.field(name="speculative.p_min", default=None)
    priority: Priority | None = None
    ttl: TimeToLive | None = None

    def params(self, logprobs: int | None, max_completion_tokens: int | None) -> GenerateParams:
        """Raises BadRequest."""
        self.check_served()
        said = self.samplers_said()
        return GenerateParams(
            sampling=SamplingParams(**said),
            said=tuple(said),
            max_tokens=_bound(
                max_completion_tokens=max_completion_tokens,
                max_tokens=self.max_tokens,
                n_predict=self.n_predict,
            ),
            stop=stop_strings(self.stop),
            structure=self.structure(),
            n=self.n or 1,
            logprobs=(self.n_probs or None) if logprobs is None else logprobs,
            post_sampling_probs=self.post_sampling_probs or False,
            cache_prompt=self.cache_prompt is not False,
            is_read=self.stream or False,
            n_draft_max=self.draft_max,
            n_draft_min=self.draft_min or 0,
            draft_p_min=self.draft_p_min or 0.0,
            claim=Claim(self.priority or 0, keep_s=self.ttl),
            tells_progress=bool(self.stream and self.return_progress),
            tells_timings=bool(self.stream and self.timings_per_token),
        )

    def lora_scales(self) -> dict[int, float] | None:
        return None if self.lora is None else lora_scales(self.lora)

    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


def stop_strings(given: str | Sequence[str] | None) -> tuple[str, ...]:
    several = [given] if isinstance(given, str) else given or ()
    return tuple(string for string in several if string)


def lora_scales(given: list[LoraScale]) -> dict[int, float]:
    return {one.id: one.scale for one in given}


def _bound(**given: int | None) -> int | None:
    """The first that is there; -1 bounds nothing."""
    named = ((name, number) for name, number in given.items() if number is not None)
    name, first = next(named, ("", None))
    if first == 0:
        raise BadRequest(f"{name}: must be at least 1, or -1 for no bound", param=name)
    return None if first == -1 else first
