"""What a request's prompt becomes: tokens, and pictures among them."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

from edgellm.runner.backend import Backend, tokens_of
from edgellm.runner.intake.pictures import Placed, check_held
from edgellm.runner.messages import Generate
from edgellm.runner.sequence import Sequence

# Text, and whether it begins a prompt. On any thread; raises BadRequest, ContextTooLong.
Tokenize: TypeAlias = Callable[[str, bool], list[int]]


def texts_of(request: Generate, tokenize: Tokenize) -> list[list[int]]:
    """The tokens before, between and after its pictures."""
    assert request.params.pictures
    assert isinstance(request.prompt, str)
    texts = request.prompt.split(request.params.pictures.mark)
    return [tokenize(text, not i) for i, text in enumerate(texts)]


def prompt_of(
    backend: Backend,
    request: Generate,
    pictures: tuple[Placed, ...],
    waiting: Iterable[Sequence],
) -> list[int]:
    """`pictures`: of those that have been looked at; the prompt is tokens and their rows then.

    Raises BadRequest, ContextTooLong, Overloaded.
    """
    if not pictures:
        return tokens_of(backend, request.prompt, "prompt")
    assert not isinstance(request.prompt, str)
    check_held(one for sequence in waiting for one in sequence.pictures)
    return [*request.prompt]


def unguessed(request: Generate) -> Generate:
    """Whoever guesses tokens sees no picture."""
    params = replace(request.params, n_draft_max=0)
    return Generate(request.request_id, request.prompt, params)
