"""A conversation to the one text that a model was trained on: its own chat template.

A template is code from a stranger's file, so it runs in a bounded sandbox (sandbox.py), and what
it can call is listed there, the same few things that transformers offers (as of 4.5x):
`raise_exception`, `strftime_now`, the `tojson` filter, `break` and `continue`, and the
`{% generation %}` mark, which changes nothing in the text. The environment strips a block's
first newline and leading blanks, as transformers does: templates are written for that.

A model without a template gets one of ours: ChatML if its vocabulary has `<|im_start|>`, else
plain "role: text" lines. Pure: the clock is the caller's (`now`).
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from edgellm.chat.messages import Message
from edgellm.errors import BadRequest

if TYPE_CHECKING:
    from jinja2 import Template

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = (
    "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)

# The file's code may raise whatever an expression can: that is the file's fault, not ours.
_WHAT_AN_EXPRESSION_RAISES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class ChatTemplate:
    """`adds_bos`: the tokenizer puts BOS first by itself, so a rendered one is dropped.

    `stop` are strings that end a turn where the model has no token for that: only our own
    templates need them.
    """

    def __init__(
        self,
        source: str | None,
        bos_token: str = "",
        eos_token: str = "",
        *,
        has_im_start: bool = False,
        adds_bos: bool = True,
    ) -> None:
        fallback, stop = (CHATML, ("<|im_end|>",)) if has_im_start else (PLAIN, ("\nuser:",))
        self.is_fallback = not source
        self.source = source or fallback
        self.stop: tuple[str, ...] = () if source else stop
        self._bos_token, self._eos_token = bos_token, eos_token
        self._dropped_prefix = bos_token if adds_bos else ""
        self._knows_developer = "developer" in self.source

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = True,
        *,
        now: datetime | None = None,
    ) -> str:
        """The prompt. Without `now`, `strftime_now` is undefined, which templates ask for.

        Raises BadRequest with the template's own words: most often it minds the order of roles.
        """
        from jinja2 import TemplateError

        from edgellm.chat.sandbox import bounded

        clock = {"strftime_now": now.strftime} if now else {}
        try:
            with bounded():
                prompt = self._compiled.render(
                    messages=[self._as_mapping(message) for message in messages],
                    add_generation_prompt=add_generation_prompt,
                    bos_token=self._bos_token,
                    eos_token=self._eos_token,
                    **clock,
                )
        except (TemplateError, *_WHAT_AN_EXPRESSION_RAISES) as error:
            raise _refused(error) from error
        return prompt.removeprefix(self._dropped_prefix)

    @cached_property
    def _compiled(self) -> "Template":
        from edgellm.chat.sandbox import environment

        return environment().from_string(self.source)

    def _as_mapping(self, message: Message) -> dict[str, str]:
        """Few templates know OpenAI's "developer"; to the others it is the system's word."""
        demoted = message.role == "developer" and not self._knows_developer
        fields = {"role": "system" if demoted else message.role, "content": message.text}
        return {**fields, "name": message.name} if message.name else fields


def _refused(error: Exception) -> BadRequest:
    words = str(error).splitlines() or [type(error).__name__]
    return BadRequest(
        f"the model's chat template refuses this conversation: {words[0][:300]}",
        hint="check the order of roles, or send a finished prompt to /v1/completions",
        param="messages",
    )
