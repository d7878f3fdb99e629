"""Whether an answer goes on with the conversation's last message, the assistant's: as in
llama-server it does, unless the client says that it shall not. Pure.

`continue_final_message` is vLLM's and llama-server's, and so is `add_generation_prompt`: who wants
no new answer to begin sends false.
"""

from typing import Literal, TypeAlias

import msgspec

from edgellm.chat.messages import Message
from edgellm.errors import BadRequest
from edgellm.server.openai.unserved import NULL, Unserved

# Which of the two it is that goes on, the message itself says.
_Wish: TypeAlias = bool | Literal["content", "reasoning_content"] | None

_FIELD = "continue_final_message"
_wish = msgspec.json.Decoder(_Wish)


def continues(body: Unserved, last: Message) -> bool:
    """What the body says of it is taken from it, as it is served. Raises BadRequest."""
    try:
        wish = _wish.decode(body.continue_final_message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{_FIELD}: is neither true nor false", param=_FIELD) from error
    body.continue_final_message = NULL
    goes_on = last.is_begun if wish is None else wish is not False
    if goes_on and bytes(body.add_generation_prompt) == b"false":
        body.add_generation_prompt = NULL
    return goes_on
