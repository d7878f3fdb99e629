"""What a request's prompt becomes: tokens, and pictures among them."""

from collections.abc import Iterable
from dataclasses import replace

from edgellm.runner.backend import Backend, tokens_of
from edgellm.runner.messages import Generate
from edgellm.runner.pictures import Looks, Placed, check_held, placed, woven
from edgellm.runner.sequence import Sequence


def prompt_of(
    backend: Backend, request: Generate, looks: Looks, waiting: Iterable[Sequence]
) -> tuple[list[int], tuple[Placed, ...]]:
    """`looks`: what was seen of its pictures. Raises BadRequest, ContextTooLong, Overloaded."""
    if not looks:
        return tokens_of(backend, request.prompt, "prompt"), ()
    assert request.params.pictures
    assert isinstance(request.prompt, str)
    check_held(one for sequence in waiting for one in sequence.pictures)
    texts = request.prompt.split(request.params.pictures.mark)
    return placed(woven([backend.tokenize(text, not i) for i, text in enumerate(texts)], looks))


def unguessed(request: Generate) -> Generate:
    """Whoever guesses tokens sees no picture."""
    params = replace(request.params, n_draft_max=0)
    return Generate(request.request_id, request.prompt, params)
