"""A structure that begins later: after the thoughts, or where a tool call does
(chat/messages.py)."""

from collections.abc import Callable, Sequence
from typing import Any

from edgellm.chat.messages import Rule, Stage, Thinking, Watch
from edgellm.runner.sampling.stages import Bound, Matching, Rest, Running, Watching
from edgellm.runner.sampling.thinking import thinking_stages
from edgellm.runner.sampling.vocabulary import Vocabulary


class StagedMask:
    def __init__(
        self, stages: Sequence[Stage], vocabulary: Vocabulary, mask_of: Callable[[Rule], Matching]
    ) -> None:
        self._stages: list[Running] = []
        for i in reversed(range(len(stages))):
            match stages[i]:
                case Thinking() as thinking:
                    self._stages[:0] = thinking_stages(thinking, vocabulary, self._stages)
                case Watch() as watch:
                    self._stages.insert(0, Watching(watch, vocabulary))
                case rule:
                    is_lenient = i > 0 and isinstance(stages[i - 1], Watch)
                    self._stages.insert(0, Bound(mask_of(rule), vocabulary, is_lenient))
        self._go_on(Rest())

    @property
    def complete(self) -> bool:
        return len(self._stages) == 1 and self._stages[0].complete

    @property
    def fault(self) -> str | None:
        return self._stages[0].fault if self._stages else None

    @property
    def took_s(self) -> float:
        return self._stages[0].took_s if self._stages else 0.0

    def look_ahead(self) -> None:
        if self._stages:
            self._stages[0].look_ahead()

    def apply(self, logits: Any) -> None:
        if self._stages:
            self._stages[0].apply(logits)

    def accept(self, token: int) -> None:
        if self._stages and (rest := self._stages[0].accept(token)) and not self.complete:
            del self._stages[: 1 + rest.skips]
            self._go_on(rest)

    def would_accept(self, tokens: Sequence[int]) -> int:
        return self._stages[0].would_accept(tokens) if self._stages else len(tokens)

    def _go_on(self, rest: Rest) -> None:
        while self._stages and (left := self._stages[0].begin(rest)) and not self.complete:
            rest = left
            del self._stages[: 1 + rest.skips]
