"""The one shape of a request. Each dialect translates into this and out of nothing else."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    text: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """llama.cpp's names and its defaults (common/common.h). `temperature` 0 means greedy."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64  # tokens that the penalties look back on; -1: all
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    ignore_eos: bool = False


class JSONSchema(msgspec.Struct, frozen=True, tag=True):
    schema: str  # JSON text; "{}" allows any JSON value


class Regex(msgspec.Struct, frozen=True, tag=True):
    pattern: str


# Tagged structs, not dataclasses: a union of them travels through the worker's pipe.
Structure: TypeAlias = JSONSchema | Regex


@dataclass(frozen=True, slots=True)
class GenerateParams:
    """All of a request but its words: the same for chat and for plain completion."""

    sampling: SamplingParams = field(default_factory=SamplingParams)
    max_tokens: int | None = None  # None: to the end of the context
    stop: tuple[str, ...] = ()
    structure: Structure | None = None
    n: int = 1
    logprobs: int | None = None  # rivals shown for each token; None: no logprobs at all
    cache_prompt: bool = True


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: str
    messages: tuple[Message, ...]
    params: GenerateParams = field(default_factory=GenerateParams)
    stream: bool = False
    include_usage: bool = False


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    model: str
    prompts: tuple[str | tuple[int, ...], ...]  # text, or token ids taken as they are
    params: GenerateParams = field(default_factory=GenerateParams)
    stream: bool = False
    include_usage: bool = False
    echo: bool = False
