"""Whether the answer continues the conversation's last message, where that is the assistant's: as
in llama-server it does, unless the client says otherwise. Pure.

`continue_final_message` is vLLM's and llama-server's, and so is `add_generation_prompt`, which is
false where no new answer shall begin.
"""

from typing import Literal, TypeAlias

import msgspec

from edgellm.chat.messages import Message
from edgellm.errors import BadRequest
from edgellm.server.openai.unserved import NULL, Unserved

# Text or thoughts: the message itself shows which of them is to be continued.
_Wish: TypeAlias = bool | Literal["content", "reasoning_content"] | None

_FIELD = "continue_final_message"
_wish = msgspec.json.Decoder(_Wish)


def continues(body: Unserved, last: Message) -> bool:
    """Clears both fields where they are heeded, since `check_served` refuses what is left. Raises
    BadRequest."""
    try:
        wish = _wish.decode(body.continue_final_message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{_FIELD}: is neither true nor false", param=_FIELD) from error
    body.continue_final_message = NULL
    goes_on = last.is_begun if wish is None else wish is not False
    if goes_on and bytes(body.add_generation_prompt) == b"false":
        body.add_generation_prompt = NULL
    return goes_on
