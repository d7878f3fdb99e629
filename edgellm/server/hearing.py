"""Chat answers taken apart on their way out: thoughts, text and calls, whatever the dialect."""

import secrets
from collections.abc import Callable
from contextlib import aclosing

from edgellm.chat.answer import Listener
from edgellm.server.answers import Answers


async def heard(answers: Answers, listen: Callable[[Callable[[], str]], Listener]) -> Answers:
    """Closing this closes `answers`."""
    listeners: dict[int, Listener] = {}
    async with aclosing(answers):
        async for index, event in answers:
            if index not in listeners:
                listeners[index] = listen(_new_id)
            for told in listeners[index].hear(event):
                yield index, told


def _new_id() -> str:
    """A call's id, as long as OpenAI's."""
    return f"call_{secrets.token_hex(12)}"
