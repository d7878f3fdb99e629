"""`think`: whether a model shall think before it answers, and how hard.

Absent, the model does as its template says. What it thinks comes as `thinking`, beside the text.
"""

from typing import Any, Literal, TypeAlias

from edgellm.chat.thoughts import SWITCHES, Style
from edgellm.errors import BadRequest

Think: TypeAlias = bool | Literal["low", "medium", "high", "max"]


def template_kwargs(think: Think | None) -> dict[str, Any]:
    """The template's variables."""
    if think is None:
        return {}
    switched: dict[str, Any] = dict.fromkeys(SWITCHES, think is not False)
    return switched if isinstance(think, bool) else switched | {"reasoning_effort": think}


def check_thinks(think: Think | None, style: Style | None, name: str) -> None:
    """Raises BadRequest in Ollama's words, by which clients know to ask again without."""
    if think and style is None:
        raise BadRequest(f'"{name}" does not support thinking', param="think")
