"""A request in terms of no dialect: messages, tools, sampling, structure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec

from edgellm.chat.pictures import Pictures

Role = Literal["system", "developer", "user", "assistant", "tool"]
ToolChoiceMode = Literal["auto", "none", "required"]
ReasoningFormat = Literal["auto", "none", "deepseek"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    text: str
    name: str | None = None
    reasoning: str | None = None  # an assistant's thoughts, apart from its text
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None  # of a tool's result: the call that it answers

    @property
    def is_begun(self) -> bool:
        """Whether it is an answer that can be continued: one that calls no tools."""
        return self.role == "assistant" and not self.tool_calls

    @property
    def is_system(self) -> bool:
        """From whoever set up the conversation, under either of OpenAI's names."""
        return self.role in ("system", "developer")


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `parameters` is its JSON schema, an object's."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """With `names`, these tools alone may be called."""

    mode: ToolChoiceMode = "auto"
    names: tuple[str, ...] = ()


SamplerName = Literal[
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature",
    "adaptive_p",
]  # fmt: skip
SAMPLERS: tuple[SamplerName, ...] = (
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """llama.cpp's names and its defaults (common/common.h): docs/sampling.md has them all.

    `temperature` 0 means greedy.
    """

    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    min_keep: int = 0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64  # tokens that the penalties look back on; -1: all
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64  # -1: all
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: int = 0  # its version; 0: off
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    adaptive_target: float = -1.0
    adaptive_decay: float = 0.9
    samplers: tuple[SamplerName, ...] = SAMPLERS  # in the order in which they work
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    ignore_eos: bool = False


# Tagged structs, not dataclasses: a union of them travels through the worker's pipe.


class JSONSchema(msgspec.Struct, frozen=True, tag=True):
    schema: str  # JSON text; "{}" allows any JSON value


class Regex(msgspec.Struct, frozen=True, tag=True):
    pattern: str


class Choices(msgspec.Struct, frozen=True, tag=True):
    """One of these texts."""

    texts: tuple[str, ...]


class GBNF(msgspec.Struct, frozen=True, tag=True):
    """llama.cpp's grammar language (its grammars/README.md); starts at `root`."""

    grammar: str


class Lark(msgspec.Struct, frozen=True, tag=True):
    """A grammar of our own making, for llguidance. Starts at `start`: see lark.py.

    The rule `m_3` is the text `markers[3]`, `u_3` is any text up to and with it. They are left to
    whoever knows the vocabulary: there a marker may be one special token, or many plain ones.
    """

    grammar: str
    markers: tuple[str, ...] = ()


class Thinking(msgspec.Struct, frozen=True, tag=True):
    """Free text between `start` and `end`, which may be absent, and what follows waits for."""

    start: str
    end: str
    opened: bool = False  # by the prompt: the answer begins inside
    budget: int | None = None  # tokens; then `end` is forced. None: no bound


class Watch(msgspec.Struct, frozen=True, tag=True):
    """Free text up to one of `markers`; what follows begins with the marker itself."""

    markers: tuple[str, ...]
    at_start: tuple[str, ...] = ()  # these count only as the answer's first text


class Stages(msgspec.Struct, frozen=True, tag=True):
    """One after the other. When all but a Thinking are through, nothing binds any more."""

    stages: "tuple[Stage, ...]"


Rule: TypeAlias = JSONSchema | Regex | Choices | GBNF | Lark
Stage: TypeAlias = Rule | Thinking | Watch
Structure: TypeAlias = Rule | Stages


# (adapter id, scale) of each LoRA adapter that takes part, by id; a scale of 0 takes none.
AdapterSet: TypeAlias = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """When a request wants to be served, and on whose account: see runner/pacing/fairness.py."""

    priority: int = 0  # lower goes first
    deadline_s: float | None = None  # time.monotonic(): one clock for all processes of a machine
    key: str = ""  # whose share it is; not the API key itself
    weight: float = 1.0  # of that share
    queue_ratio: float = 1.0  # of the queue that may be this key's
    keep_s: float | None = None  # how long its model idles from then on; None: as it was said


@dataclass(frozen=True, slots=True)
class GenerateParams:
    """All of a request but its text: the same for chats and plain completions."""

    sampling: SamplingParams = field(default_factory=SamplingParams)
    said: tuple[str, ...] = field(default=(), kw_only=True)  # fields of it that the request set
    max_tokens: int | None = None  # None: to the end of the context
    stop: tuple[str, ...] = ()
    structure: Structure | None = None
    markers: tuple[str, ...] = ()  # special tokens that are shown as text; others never are
    n: int = 1
    logprobs: int | None = None  # rivals shown for each token; None: no logprobs at all
    post_sampling_probs: bool = False  # log-probabilities after the samplers, not the model's
    cache_prompt: bool = True
    is_read: bool = True  # somebody reads along as it comes; else its end is waited for
    claim: Claim = field(default_factory=Claim)
    n_draft_max: int | None = None  # tokens guessed in one step; 0: none. None: as many as pay
    n_draft_min: int = 0  # fewer than that are not tried
    draft_p_min: float = 0.0  # a draft model that is less sure of a token stops before it
    adapters: AdapterSet = ()
    pictures: Pictures | None = None  # their mark in the prompt is where each stands
    tells_progress: bool = False  # PromptRead events
    tells_timings: bool = False  # SoFar events
    n_indent: int = 0  # an answer ends at a line, but the first, with fewer leading blanks


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: str
    messages: tuple[Message, ...]
    params: GenerateParams = field(default_factory=GenerateParams)
    stream: bool = False
    include_usage: bool = False
    structure_field: str = "response_format"  # what the client calls its structure, for errors
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    parallel_tool_calls: bool = True
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)  # variables of the template
    reasoning_format: ReasoningFormat = "auto"
    reasoning_budget: int | None = None  # tokens of thought; None: no bound
    lora: Mapping[int, float] | None = None  # scales by adapter id; None: those for everybody
    continues: bool = False  # the answer continues the last message


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    model: str
    prompts: tuple[str | tuple[int, ...], ...]  # text, or token ids taken as they are
    params: GenerateParams = field(default_factory=GenerateParams)
    stream: bool = False
    include_usage: bool = False
    structure_field: str = "response_format"
    echo: bool = False
    suffix: str = ""  # what comes after the answer
    lora: Mapping[int, float] | None = None
