"""Chat answers taken apart on their way out: thoughts, text and calls, whatever the dialect."""

import secrets
from collections.abc import Callable
from contextlib import aclosing

from edgellm.chat.answer import Listener
from edgellm.server.answers import Answers


async def heard(answers: Answers, listen: Callable[[Callable[[], str]], Listener]) -> Answers:
    """Closing it closes `answers`."""
    ears: dict[int, Listener] = {}
    async with aclosing(answers):
        async for index, event in answers:
            if index not in ears:
                ears[index] = listen(_new_id)
            for told in ears[index].hear(event):
                yield index, told


def _new_id() -> str:
    """Of a call: as long as OpenAI's."""
    return f"call_{secrets.token_hex(12)}"
