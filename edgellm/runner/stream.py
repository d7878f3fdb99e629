"""What a request's answer needs beside its tokens: text that is safe to show, and when it came."""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgellm.chat.events import Timings, TokenLogprob
from edgellm.runner.text import TextStream


@dataclass(eq=False, slots=True)
class Stream:
    text: TextStream
    arrived_s: float
    started_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float = 0.0
    gaps_s: "array[float]" = field(default_factory=lambda: array("f"))  # from step to step
    marks: Mapping[int, bytes] = field(default_factory=dict)  # special tokens to show as text
    n_untold: int = 0  # tokens since the last Delta
    has_text: bool = False  # a Delta was told
    progress_s: float = 0.0  # when a note of the prompt's progress was told last
    logprobs: list[TokenLogprob] = field(default_factory=list)

    def saw_token(self, now_s: float) -> None:
        """Where guesses came true, a step gives several tokens: the gap is between steps."""
        self.n_untold += 1
        if self.first_token_s is None:
            self.first_token_s = now_s
        elif now_s > self.last_token_s:
            self.gaps_s.append(now_s - self.last_token_s)
        self.last_token_s = now_s

    def timings(self, now_s: float) -> Timings:
        gaps_s = sorted(self.gaps_s)
        return replace(
            self.timings_so_far(now_s),
            itl_p50_s=_quantile(gaps_s, 0.5),
            itl_p99_s=_quantile(gaps_s, 0.99),
        )

    def timings_so_far(self, now_s: float) -> Timings:
        """Without quantiles, which take longer to compute with every token."""
        started_s = self.started_s or now_s
        first_s = self.first_token_s or now_s
        return Timings(
            queue_s=started_s - self.arrived_s,
            prefill_s=first_s - started_s,
            decode_s=now_s - first_s,
        )


def _quantile(ascending: Sequence[float], ratio: float) -> float | None:
    """By nearest rank. None: there are no numbers."""
    n = len(ascending)
    return ascending[min(n - 1, int(ratio * n))] if n else None
