"""Fields of the Responses API that need what this server hasn't: conversations that are objects of
their own, OpenAI's other services. A value that asks for nothing is passed over.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Raw

from edgellm.errors import BadRequest
from edgellm.server.openai.thoughts import Thoughtful
from edgellm.server.openai.unserved import NULL, check_says_nothing

_HINTS: Mapping[str, str] = {
    "conversation": "name the response that this one follows as previous_response_id",
    "prompt": "send the prompt's text as instructions",
    "context_management": 'truncation: "auto" leaves out the oldest turns',
}
_SAYS_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "context_management": ([],),
}


class UnservedHere(Thoughtful, kw_only=True):
    conversation: Raw = NULL
    prompt: Raw = NULL
    context_management: Raw = NULL
    moderation: Raw = NULL

    def check_unserved(self) -> None:
        """Raises BadRequest that names the first of them that asks for something."""
        for name in UnservedHere.__struct_fields__:
            if name not in Thoughtful.__struct_fields__:
                _check(getattr(self, name), name)


def _check(raw: Raw, name: str) -> None:
    try:
        check_says_nothing(raw, name, _SAYS_NOTHING.get(name, ()))
    except BadRequest:
        hint = _HINTS.get(name, "")
        raise BadRequest(f"{name}: is not served here", hint=hint, param=name) from None
