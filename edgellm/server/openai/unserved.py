"""Fields that change an answer elsewhere, and that nothing here does: they are refused by name.

Most are vLLM's, `t_max_predict_ms` is llama-server's, `function_call` and `web_search_options` are
OpenAI's. A value that asks for nothing is passed over: clients send their defaults along.
"""

from typing import Any

import msgspec
from msgspec import Raw

from edgellm.errors import BadRequest

NULL = Raw(b"null")

_OFF: tuple[Any, ...] = (False,)
_NONE_OF_THEM: tuple[Any, ...] = ([], {})
_MAX_NOTHING_BYTES = 64  # nobody needs more to say nothing: what is longer isn't decoded


class Unserved(msgspec.Struct, kw_only=True):
    min_tokens: Raw = NULL
    stop_token_ids: Raw = NULL
    allowed_token_ids: Raw = NULL
    bad_words: Raw = NULL
    include_stop_str_in_output: Raw = NULL
    skip_special_tokens: Raw = NULL
    truncate_prompt_tokens: Raw = NULL
    prompt_logprobs: Raw = NULL
    use_beam_search: Raw = NULL
    logits_processors: Raw = NULL
    guided_whitespace_pattern: Raw = NULL
    continue_final_message: Raw = NULL
    add_generation_prompt: Raw = NULL
    documents: Raw = NULL
    t_max_predict_ms: Raw = NULL
    function_call: Raw = NULL
    web_search_options: Raw = NULL

    def check_served(self) -> None:
        """Raises BadRequest that names the first of them that asks for something."""
        for name, says_nothing in _SAY_NOTHING.items():
            check_says_nothing(getattr(self, name), name, says_nothing)


def check_says_nothing(raw: Raw, param: str, says_nothing: tuple[Any, ...] = ()) -> None:
    """Raises BadRequest unless it is null or one of these values, however they are written."""
    if not _is_among(raw, (None, *says_nothing)):
        words = f"{param}: is not served, and without it the answer would be another"
        raise BadRequest(words, param=param)


def _is_among(raw: Raw, values: tuple[Any, ...]) -> bool:
    text = bytes(raw).strip()
    if len(text) > _MAX_NOTHING_BYTES:
        return False
    try:
        return msgspec.json.decode(text) in values
    except ValueError:  # the bytes of a string: they weren't looked at before
        return False


_SAY_NOTHING: dict[str, tuple[Any, ...]] = dict.fromkeys(Unserved.__struct_fields__, ()) | {
    "min_tokens": (0,),
    "stop_token_ids": _NONE_OF_THEM,
    "allowed_token_ids": _NONE_OF_THEM,
    "bad_words": (*_NONE_OF_THEM, ""),
    "include_stop_str_in_output": _OFF,
    "skip_special_tokens": (True,),
    "use_beam_search": _OFF,
    "logits_processors": _NONE_OF_THEM,
    "continue_final_message": _OFF,
    "add_generation_prompt": (True,),
    "documents": _NONE_OF_THEM,
    "t_max_predict_ms": (0, -1),
    "function_call": ("none", "auto"),  # without functions, which are refused, too
}
