"""Completions with a suffix: OpenAI's older way to ask for fill-in-the-middle."""

from edgellm.chat.messages import CompletionRequest
from edgellm.runner.messages import Infill
from edgellm.server.answers import Prompts
from edgellm.server.envelope import text_is_called
from edgellm.server.served import Served


async def filled(served: Served, asked: CompletionRequest) -> Prompts:
    """A completion's prompts; with a suffix, the ones that ask for what comes before it.

    Raises BadRequest when the model can't.
    """
    if not asked.suffix:
        return asked.prompts
    prompts = []
    with text_is_called("suffix"):
        for prompt in asked.prompts:
            assert isinstance(prompt, str), "a suffix needs a prompt given as text"
            question = Infill(0, prompt, asked.suffix, max_tokens=asked.params.max_tokens)
            prompts.append(await served.engine.infill(question))
    return prompts
