"""`truncation: "auto"`: a conversation that has outgrown the context goes on with its newer part.

It may begin anew where the user says something, so no call loses its result, and behind what the
system said first. What is left out is a quarter of it at a time, or thereabouts, at places that
stay where they are while it grows: the next turns find again what was computed of this one.
"""

from collections.abc import Iterator

from edgellm.chat.messages import Message

_AT_A_TIME_RATIO = 4


def shortened(messages: tuple[Message, ...]) -> Iterator[tuple[Message, ...]]:
    """All of it, then ever less, at last the user's last words and what follows them."""
    first = next((i for i, one in enumerate(messages) if not _is_system(one)), len(messages))
    begins = [i for i, one in enumerate(messages) if i >= first and one.role == "user"]
    yield messages
    step = 1 << max(0, (len(begins) // _AT_A_TIME_RATIO).bit_length() - 1)
    n_out = 0  # of the user's messages
    while step:
        following = (n_out // step + 1) * step
        if following < len(begins):
            n_out = following
            yield messages[:first] + messages[begins[n_out] :]
        else:
            step //= 2


def _is_system(message: Message) -> bool:
    return message.role in ("system", "developer")


def prompt_room(n_ctx_seq: int, max_tokens: int | None) -> int:
    """In tokens, beside an answer: as much as is asked for, at most a quarter of the context."""
    quarter = n_ctx_seq // 4
    return n_ctx_seq - max(1, min(max_tokens or quarter, quarter))
