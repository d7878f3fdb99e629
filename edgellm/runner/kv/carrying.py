"""What a memory hands over to one of another layout: whole conversations, as copies in host memory.

What they hold is in blobs that know nothing of the layout but for their head (streams.py). They
come most recently used first, so that what there is no room for, or no time, is what nobody has
asked for in the longest.
"""

from dataclasses import dataclass

from edgellm.chat.messages import AdapterSet

LEAST_CARRIED = 64  # tokens; fewer are sooner computed again


@dataclass(frozen=True, slots=True)
class Carried:
    tokens: list[int]
    n_prompt: int
    adapters: AdapterSet
    blob: int  # of all its cells, by the number that it has where it comes from


def is_in(tokens: list[int], adapters: AdapterSet, others: list[Carried]) -> bool:
    """One of the others has all of these tokens."""
    return any(one.adapters == adapters and one.tokens[: len(tokens)] == tokens for one in others)
