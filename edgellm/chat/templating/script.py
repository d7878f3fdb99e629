"""One source of a template, ready to run: what it makes of its variables, and what it knows of.

It is compiled when it is first used. Most models have one, some have another for tools.
"""

from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from edgellm.chat.templating.allowance import MAX_STEPS, Allowance, bounded
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
    SyntaxError,  # more blocks in one another than CPython takes
    TypeError,
    ValueError,
)


_MAX_STEPS_TO_TRY = MAX_STEPS // 20  # a trial is a few messages; a template has up to ten


class Script:
    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        self.source = source
        self._tokens = tokens
        self.trials = Trials(source, partial(self._run, max_steps=_MAX_STEPS_TO_TRY))

    def render(self, variables: Mapping[str, Any]) -> str:
        """Raises BadRequest with the template's own words."""
        return self._run({**variables, "tools": variables["tools"] or self.trials.no_tools})

    def _run(self, variables: Mapping[str, Any], max_steps: int = MAX_STEPS) -> str:
        from jinja2 import TemplateError

        try:
            with bounded(Allowance(max_steps)):
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
