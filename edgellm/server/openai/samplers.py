"""Which tokens an answer is made of: every sampler's numbers, as clients send them.

Names and meaning are llama-server's, and OpenAI's where it has them; docs/sampling.md is the table.
Every number has bounds: what is out of them, or is none, never reaches native code.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias, get_args

from msgspec import Meta

from edgellm.chat.messages import SamplerName, SamplingParams
from edgellm.errors import BadRequest
from edgellm.server.body import INT32_MAX
from edgellm.server.openai.structure import Structured

Token: TypeAlias = Annotated[int, Meta(ge=0, le=INT32_MAX)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=INT32_MAX)]
Positive: TypeAlias = Annotated[int, Meta(ge=1, le=INT32_MAX)]
Back: TypeAlias = Annotated[int, Meta(ge=-1, le=INT32_MAX)]  # tokens; -1: all
Bias: TypeAlias = Annotated[float, Meta(ge=-100, le=100)]
Ratio: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Penalty: TypeAlias = Annotated[float, Meta(ge=-2, le=2)]
Breaker: TypeAlias = Annotated[str, Meta(min_length=1, max_length=40)]  # llama.cpp cuts longer ones
Biases: TypeAlias = (
    Annotated[dict[Token, Bias | bool], Meta(max_length=1024)]
    | Annotated[list[tuple[Token, Bias | bool]], Meta(max_length=1024)]
)

# What llama-server takes for a name, and its letters (common/sampling.cpp).
_NAMES: Mapping[str, SamplerName] = {
    name.replace("_", sign): name for name in get_args(SamplerName) for sign in ("_", "-", "")
} | {"nucleus": "top_p", "temp": "temperature", "typ": "typ_p", "typical_p": "typ_p"}
# SillyTavern's default preset names what llama.cpp has given up, and typical-p by both its names.
_GIVEN_UP = frozenset({"tfs_z", "tfs-z", "tfs"})
_SECOND_NAME = "typical_p"
_LETTERS: Mapping[str, SamplerName] = {
    "e": "penalties", "d": "dry", "s": "top_n_sigma", "k": "top_k", "y": "typ_p", "p": "top_p",
    "m": "min_p", "x": "xtc", "t": "temperature", "a": "adaptive_p",
}  # fmt: skip


_FIELDS = tuple(one.name for one in dataclasses.fields(SamplingParams))


class Samplers(Structured, kw_only=True):
    temperature: Annotated[float, Meta(ge=0, le=10)] | None = None
    dynatemp_range: Annotated[float, Meta(ge=0, le=10)] | None = None
    dynatemp_exponent: Annotated[float, Meta(ge=0, le=10)] | None = None
    top_k: Back | None = None  # vLLM's -1: off
    top_p: Ratio | None = None
    min_p: Ratio | None = None
    typical_p: Ratio | None = None
    top_n_sigma: Annotated[float, Meta(ge=-1, le=100)] | None = None
    xtc_probability: Ratio | None = None
    xtc_threshold: Ratio | None = None
    min_keep: Count | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    repeat_last_n: Back | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None  # vLLM's
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    dry_multiplier: Annotated[float, Meta(ge=0, le=100)] | None = None
    dry_base: Annotated[float, Meta(ge=1, le=10)] | None = None
    dry_allowed_length: Count | None = None
    dry_penalty_last_n: Back | None = None
    dry_sequence_breakers: Annotated[list[Breaker], Meta(max_length=16)] | None = None
    mirostat: Annotated[int, Meta(ge=0, le=2)] | None = None
    mirostat_tau: Annotated[float, Meta(ge=0, le=100)] | None = None
    mirostat_eta: Ratio | None = None
    adaptive_target: Annotated[float, Meta(ge=-1, le=1)] | None = None
    adaptive_decay: Annotated[float, Meta(ge=0, le=0.99)] | None = None
    samplers: (
        Annotated[list[str], Meta(max_length=16)] | Annotated[str, Meta(max_length=16)] | None
    ) = None
    logit_bias: Biases | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    ignore_eos: bool | None = None

    def samplers_said(self) -> dict[str, Any]:
        """Fields of SamplingParams. Raises BadRequest that names the field."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in _FIELDS}
        fields["seed"] = seed_of(self.seed)
        if self.top_k is not None:
            fields["top_k"] = max(self.top_k, 0)
        if self.repetition_penalty is not None:
            fields |= self._repetition()
        if self.samplers is not None:
            fields["samplers"] = sampler_order(self.samplers)
        if self.dry_sequence_breakers is not None:
            fields["dry_sequence_breakers"] = tuple(self.dry_sequence_breakers)
        if self.logit_bias is not None:
            fields["logit_bias"] = _biases(self.logit_bias)
        return {name: value for name, value in fields.items() if value is not None}

    def _repetition(self) -> dict[str, Any]:
        """vLLM's penalty is llama.cpp's, but looks back on all that was written, and the prompt.
        Who sends llama.cpp's beside it (SillyTavern) means that one, as llama-server does."""
        if self.repetition_penalty == 1 or self.repeat_penalty is not None:
            return {}  # 1 is off: the other penalties keep their own reach
        looks_back = -1 if self.repeat_last_n is None else self.repeat_last_n
        return {"repeat_penalty": self.repetition_penalty, "repeat_last_n": looks_back}


def sampler_order(given: list[str] | str) -> tuple[SamplerName, ...]:
    """Names, or one letter each. Raises BadRequest for what is unknown, or there twice."""
    known = _LETTERS if isinstance(given, str) else _NAMES
    found: list[SamplerName] = []
    for word in map(str.lower, given):
        if word in _GIVEN_UP or (word == _SECOND_NAME and "typ_p" in given):
            continue
        name = known.get(word)
        if name is None:
            names = ", ".join(_LETTERS if isinstance(given, str) else get_args(SamplerName))
            raise BadRequest(f"samplers: {word[:40]!r} is none of {names}", param="samplers")
        if name in found:
            raise BadRequest(f"samplers: {name!r} is there twice", param="samplers")
        found.append(name)
    return tuple(found)


def _biases(given: Biases) -> tuple[tuple[int, float], ...]:
    """llama-server's `false` forbids a token."""
    pairs = given.items() if isinstance(given, dict) else given
    found: dict[int, float] = {}
    for token, bias in pairs:
        if bias is True:
            raise BadRequest(
                f"logit_bias: token {token} has true; a number, or false to forbid it",
                param="logit_bias",
            )
        found[token] = float("-inf") if bias is False else bias
    return tuple(found.items())


def seed_of(given: int | None) -> int | None:
    """llama.cpp's is 32 bits wide, and its highest value means "random", as -1 does here."""
    return None if given in (None, -1) else given % 0xFFFF_FFFF
