"""What a model's server sets for requests that don't say it themselves.

the request  >  these  >  SamplingParams' own defaults, which are llama.cpp's
"""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from edgellm.chat.messages import GenerateParams, Message
from edgellm.values import frozen


@frozen
class Defaults:
    """`sampling`: fields of SamplingParams. `system`: the system message of a conversation that has
    none."""

    sampling: Mapping[str, Any] = field(default_factory=dict)
    system: str | None = None

    def sampled(self, params: GenerateParams) -> GenerateParams:
        """What the request sets itself stays."""
        unsaid = {k: value for k, value in self.sampling.items() if k not in params.said}
        return replace(params, sampling=replace(params.sampling, **unsaid)) if unsaid else params

    def introduced(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        if self.system is None or any(message.is_system for message in messages):
            return messages
        return (Message("system", self.system), *messages)
