"""Completion in bash of words with a colon, as most names of models are.

bash takes "qwen3:8b" for three words and puts what is offered in the place of the last one; typer
knows nothing of it.
"""

import os
from collections.abc import Sequence

from typer._click.shell_completion import CompletionItem, add_completion_class, split_arg_string
from typer._completion_classes import BashComplete


class WholeWords(BashComplete):
    _kept = 0  # characters of the word that stay as they are

    def get_completion_args(self) -> tuple[list[str], str]:
        split = split_arg_string(os.environ["COMP_WORDS"])
        at = int(os.environ["COMP_CWORD"])
        *before, word = rejoined([*split[:at], *(split[at : at + 1] or [""])])
        if word not in split:
            self._kept = word.rfind(":") + 1
        return before[1:], word

    def format_completion(self, item: CompletionItem) -> str:
        return super().format_completion(item)[self._kept :]


def rejoined(split: Sequence[str]) -> list[str]:
    """Words as they were typed: bash breaks them at ":", and options at "=", too."""
    whole: list[str] = []
    is_open = False
    for part in split:
        joins = bool(part) and not part.strip(":")
        joins = joins or (part == "=" and bool(whole) and whole[-1].startswith("-"))
        if whole and (joins or is_open):
            whole[-1] += part
        else:
            whole.append(part)
        is_open = joins
    return whole


def mend() -> None:
    """After typer has named its own classes."""
    add_completion_class(WholeWords, "bash")
