"""What clients say of a model's thoughts, and of its template's other variables.

`chat_template_kwargs`, `reasoning_format`, `reasoning_budget_tokens` and `thinking_budget_tokens`
are llama-server's, `reasoning_effort` is OpenAI's, `enable_thinking` and `thinking_budget` are
Qwen's; `reasoning_budget` is short for the budgets. In chats `thinking` is what DeepSeek, GLM, Kimi
and MiniMax call their switch, and `reasoning` OpenRouter's word for all of it, and Ollama's.
"""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw

from edgellm.chat.messages import ReasoningFormat
from edgellm.chat.thoughts import SWITCHES
from edgellm.errors import BadRequest
from edgellm.server.body import INT32_MAX, json_depth, json_value, small_text
from edgellm.server.openai.samplers import Count
from edgellm.server.openai.sampling import Sampling
from edgellm.server.openai.unserved import NULL

_MAX_BYTES, _MAX_DEPTH = 16 * 1024, 16

Budget: TypeAlias = Annotated[int, Meta(ge=-1, le=INT32_MAX)]  # tokens; -1: no bound
Effort: TypeAlias = Annotated[str, Meta(max_length=32)]


class Thoughtful(Sampling, kw_only=True):
    chat_template_kwargs: Raw = NULL
    enable_thinking: bool | None = None
    reasoning_effort: Effort | None = None
    reasoning_format: ReasoningFormat | None = None
    reasoning_budget: Budget | None = None
    reasoning_budget_tokens: Budget | None = None
    thinking_budget_tokens: Budget | None = None
    thinking_budget: Budget | None = None

    def template_kwargs(self) -> dict[str, Any]:
        """The template's variables. An effort of "none" is OpenAI's word for no thoughts."""
        found: dict[str, Any] = {}
        thinks = self.enable_thinking
        if self.reasoning_effort == "none":
            thinks = thinks or False
        elif self.reasoning_effort:
            found["reasoning_effort"] = self.reasoning_effort
        if thinks is not None:
            found |= dict.fromkeys(SWITCHES, thinks)
        return found | self._kwargs()

    def budget(self) -> int | None:
        first = next((one for one in self._budgets() if one is not None), None)
        return None if first == -1 else first

    def _budgets(self) -> tuple[int | None, ...]:
        return (
            self.reasoning_budget,
            self.reasoning_budget_tokens,
            self.thinking_budget_tokens,
            self.thinking_budget,
        )

    def _kwargs(self) -> dict[str, Any]:
        param = "chat_template_kwargs"
        text = small_text(self.chat_template_kwargs, param, _MAX_BYTES)
        if (depth := json_depth(text)) > _MAX_DEPTH:
            raise BadRequest(f"{param}: nests {depth} deep, over {_MAX_DEPTH}", param=param)
        given = json_value(text, param)
        if given is not None and not isinstance(given, dict):
            raise BadRequest(f"{param}: must be an object", param=param)
        return given or {}


class Thinking(msgspec.Struct):
    type: Literal["enabled", "disabled", "adaptive", "auto"]
    budget_tokens: Count | None = None  # Anthropic's; some programs send it along


class Reasoning(msgspec.Struct):
    effort: Effort | None = None
    enabled: bool | None = None
    max_tokens: Count | None = None


class ChatThoughts(Thoughtful, kw_only=True):
    thinking: Thinking | bool | None = None
    reasoning: Reasoning | None = None

    def template_kwargs(self) -> dict[str, Any]:
        """What is said by OpenAI's or Qwen's word stands above what is said by these."""
        if self.reasoning and self.reasoning_effort is None:
            self.reasoning_effort = self.reasoning.effort
        if self.enable_thinking is None:
            self.enable_thinking = self._switched()
        return super().template_kwargs()

    def _switched(self) -> bool | None:
        """An effort, or a bound, asks for thoughts by itself, whatever `enabled: false` says."""
        match self.thinking, self.reasoning:
            case bool() as thinks, _:
                return thinks
            case Thinking("disabled"), _:
                return False
            case Thinking("enabled" | "adaptive"), _:
                return True
            case _, Reasoning(effort, True, _) if effort != "none":
                return True
            case _, Reasoning(None, enabled, None):
                return enabled
            case _:
                return None

    def _budgets(self) -> tuple[int | None, ...]:
        thinking = self.thinking.budget_tokens if isinstance(self.thinking, Thinking) else None
        reasoning = self.reasoning.max_tokens if self.reasoning else None
        return (*super()._budgets(), thinking or None, reasoning)
