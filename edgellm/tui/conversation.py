"""What was asked and answered, and what an answer cost. Pure: the screen has the clock."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgellm.tui.drawn import numbers
from edgellm.tui.told.answers import Figures, Piece
from edgellm.tui.told.questions import Asked, Message
from edgellm.units import format_rate, format_seconds


@dataclass(slots=True)
class Answer:
    """An answer while it comes. Times are seconds after the question."""

    asked: Asked = field(default_factory=Asked)
    text: str = ""
    thought: str = ""
    first_s: float | None = None  # the first piece of text or thought
    last_s: float | None = None
    figures: Figures = field(default_factory=Figures)
    reason: str | None = None  # why it ended, in the server's word

    def add(self, piece: Piece, at_s: float) -> None:
        self.text += piece.text
        self.thought += piece.thought
        if piece.text or piece.thought:
            self._came(at_s)
        self.figures = piece.figures or self.figures
        self.reason = piece.reason or self.reason

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
        if self.asked.n_left_out:
            parts.append(self.asked.note)
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
