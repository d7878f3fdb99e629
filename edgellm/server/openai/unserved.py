"""Fields that change an answer elsewhere, and that nothing here does: they are refused by name.

Most are vLLM's, `t_max_predict_ms` is llama-server's, `function_call` and `web_search_options` are
OpenAI's. A value that asks for nothing is passed over: clients send their defaults along.
"""

import msgspec
from msgspec import Raw

from edgellm.errors import BadRequest

NULL = Raw(b"null")

_OFF, _NONE_OF_THEM = (b"false",), (b"[]", b"{}")


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
            given = bytes(getattr(self, name)).strip()
            if given != b"null" and given not in says_nothing:
                raise BadRequest(
                    f"{name}: is not served, and without it the answer would be another",
                    param=name,
                )


_SAY_NOTHING: dict[str, tuple[bytes, ...]] = dict.fromkeys(Unserved.__struct_fields__, ()) | {
    "min_tokens": (b"0",),
    "stop_token_ids": _NONE_OF_THEM,
    "bad_words": _NONE_OF_THEM,
    "include_stop_str_in_output": _OFF,
    "skip_special_tokens": (b"true",),
    "use_beam_search": _OFF,
    "logits_processors": _NONE_OF_THEM,
    "continue_final_message": _OFF,
    "add_generation_prompt": (b"true",),
    "documents": _NONE_OF_THEM,
    "t_max_predict_ms": (b"0", b"-1"),
    "function_call": (b'"none"', b'"auto"'),  # without functions, which are refused, too
}
