"""What was asked and answered, and what an answer cost. Pure: the screen has the clock."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from edgellm.tui.drawn import numbers
from edgellm.tui.told.answers import Figures
from edgellm.tui.told.client import Message
from edgellm.units import format_rate, format_seconds


class Said(Protocol):
    @property
    def role(self) -> str: ...


AnySaid = TypeVar("AnySaid", bound=Said)


def newer_half(said: Sequence[AnySaid]) -> Sequence[AnySaid]:
    """What is left of a conversation that outgrew the context: half of its questions, with their
    answers. Half, so that the next ones find what was computed for this one. Nothing of one."""
    questions = [i for i, message in enumerate(said) if message.role == "user"]
    return said[questions[len(questions) // 2] :] if len(questions) > 1 else ()


def n_questions(said: Sequence[Said]) -> int:
    return sum(1 for message in said if message.role == "user")


def left_out(n_questions: int) -> str:
    plural = "s" if n_questions > 1 else ""
    return f"{n_questions} earlier question{plural} left out: the context is full"


@dataclass(slots=True)
class Answer:
    """An answer while it comes. Times are seconds after the question."""

    asked: Sequence[Message] = ()  # all that is sent, the question last
    text: str = ""
    thought: str = ""
    first_s: float | None = None  # the first piece of text or thought
    last_s: float | None = None
    figures: Figures = field(default_factory=Figures)
    reason: str | None = None  # why it ended, in the server's word
    n_left_out: int = 0  # earlier questions, for which the context has no room

    def add_text(self, text: str, at_s: float) -> None:
        self.text += text
        self._came(at_s)

    def add_thought(self, text: str, at_s: float) -> None:
        self.thought += text
        self._came(at_s)

    def leave_out(self) -> bool:
        """The older half of what is asked; False where only the question is left."""
        newer = newer_half(self.asked)
        if newer:
            self.n_left_out += n_questions(self.asked) - n_questions(newer)
            self.asked = newer
        return bool(newer)

    def _came(self, at_s: float) -> None:
        if self.first_s is None:
            self.first_s = at_s
        self.last_s = at_s

    @property
    def decode_tok_s(self) -> float | None:
        """The server's figure; without one, counted here: n tokens are n - 1 steps."""
        if self.figures.decode_tok_s is not None:
            return self.figures.decode_tok_s
        n_output = self.figures.n_output
        if n_output is None or n_output < 2 or self.first_s is None or self.last_s is None:
            return None
        return numbers.ratio(n_output - 1, self.last_s - self.first_s)

    def summary(self) -> str:
        """One line under the answer."""
        figures = self.figures
        parts = [
            format_rate(self.decode_tok_s),
            f"first token after {format_seconds(self.first_s)}",
            f"{numbers.count(figures.n_output)} tokens",
        ]
        if figures.n_cached:
            parts.append(f"{numbers.count(figures.n_cached)} prompt tokens from the cache")
        if self.reason == "length":
            parts.append("cut at the length limit")
        if self.n_left_out:
            parts.append(left_out(self.n_left_out))
        return " · ".join(parts)


class Conversation:
    """The messages so far. A question without any answer is not part of what is sent next."""

    def __init__(self) -> None:
        self._messages: list[Message] = []

    def with_question(self, question: str) -> tuple[Message, ...]:
        return (*self._messages, Message("user", question))

    def keep(self, asked: Sequence[Message], answer: str) -> None:
        """`asked` is all that was sent."""
        if answer:
            self._messages = [*asked, Message("assistant", answer)]

    def clear(self) -> None:
        self._messages.clear()


class Questions:
    """Earlier questions, walked through with the arrow keys as in a shell."""

    def __init__(self) -> None:
        self._asked: list[str] = []
        self._at = 0  # len(_asked): the draft
        self._draft = ""

    def add(self, question: str) -> None:
        if self._asked[-1:] != [question]:
            self._asked.append(question)
        self._at = len(self._asked)

    def earlier(self, shown: str) -> str | None:
        """None at the oldest. `shown` is what stands in the field, kept if it is a draft."""
        if self._at == 0:
            return None
        if self._at == len(self._asked):
            self._draft = shown
        self._at -= 1
        return self._asked[self._at]

    def later(self) -> str | None:
        if self._at == len(self._asked):
            return None
        self._at += 1
        return self._draft if self._at == len(self._asked) else self._asked[self._at]
