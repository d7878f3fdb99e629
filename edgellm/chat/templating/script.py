"""One source of a template, ready to run: what it makes of its variables, and what it knows of.

It is compiled when it is first used. Most models have one, some have another for tools.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgellm.chat.templating.trials import Trials
from edgellm.errors import BadRequest

if TYPE_CHECKING:
    from jinja2 import Template

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


class Script:
    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        self.source = source
        self._tokens = tokens
        self.trials = Trials(source, self._run)

    def render(self, variables: Mapping[str, Any]) -> str:
        """Raises BadRequest with the template's own words."""
        return self._run({**variables, "tools": variables["tools"] or self.trials.no_tools})

    def _run(self, variables: Mapping[str, Any]) -> str:
        from jinja2 import TemplateError

        from edgellm.chat.templating.sandbox import bounded

        try:
            with bounded():
                return self._compiled.render(**{**variables, **self._tokens})
        except (TemplateError, *_WHAT_AN_EXPRESSION_RAISES) as error:
            raise _refused(error) from error

    @cached_property
    def _compiled(self) -> "Template":
        from edgellm.chat.templating.sandbox import environment

        return environment().from_string(self.source)


def _refused(error: Exception) -> BadRequest:
    words = str(error).splitlines() or [type(error).__name__]
    return BadRequest(
        f"the model's chat template refuses this conversation: {words[0][:300]}",
        hint="check the order of roles, or send a finished prompt to /v1/completions",
        param="messages",
    )
