"""What a memory hands over to one of another layout: whole conversations, as copies in host memory.

How such a blob lies depends on the layout (llama/streams.py, values.py), what it holds does not.
They come most recently used first, so that what is left out for want of room or time is what has
been unused for the longest.
"""

from dataclasses import dataclass

from edgellm.chat.messages import AdapterSet

LEAST_CARRIED = 64  # tokens; fewer are computed again in less time


@dataclass(frozen=True, slots=True)
class Carried:
    tokens: list[int]
    n_prompt: int
    adapters: AdapterSet
    blob: int  # of all its cells; the number is that of the memory that it comes from


def is_in(tokens: list[int], adapters: AdapterSet, others: list[Carried]) -> bool:
    """One of the others has all of these tokens."""
    return any(one.adapters == adapters and one.tokens[: len(tokens)] == tokens for one in others)
