"""What OpenAI's clients send, to our requests. null counts as absent.

Fields that clients really send and that change nothing here (user, store, metadata, service_tier
...) are passed over; those that would change the answer, and that we don't do, are refused by
name (unserved.py). Sampling is in sampling.py, what binds the text in structure.py, what is said of
thoughts in thoughts.py, messages and tools in messages.py.
"""

from dataclasses import replace
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Raw

from edgellm.chat.messages import ChatRequest, CompletionRequest
from edgellm.errors import BadRequest
from edgellm.server.body import Bytes, decode
from edgellm.server.openai.continuing import continues
from edgellm.server.openai.images import Gallery
from edgellm.server.openai.messages import (
    MAX_MESSAGES,
    MAX_TOOLS,
    ChatMessage,
    Choice,
    NamedChoice,
    ToolBody,
    message,
    tool_choice,
    tools,
)
from edgellm.server.openai.samplers import Token
from edgellm.server.openai.sampling import MaxTokens, Rivals, Sampling, n_rivals
from edgellm.server.openai.thoughts import ChatThoughts
from edgellm.server.openai.unserved import NULL

MAX_ANSWERS = 64  # of one request: its prompts times n
MAX_IDS = 1 << 20  # of a prompt; no context is longer

Prompt: TypeAlias = (
    str
    | Annotated[
        list[str | Token | Annotated[list[Token], Meta(max_length=MAX_IDS)]],
        Meta(max_length=MAX_IDS),
    ]
)


class ChatBody(ChatThoughts):
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: MaxTokens | None = None
    logprobs: bool | None = None
    top_logprobs: Rivals | None = None
    tools: Annotated[list[ToolBody], Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    functions: Raw = NULL
    modalities: Annotated[list[str], Meta(max_length=8)] | None = None
    chat_template: str | None = None


class CompletionBody(Sampling):
    prompt: Prompt
    logprobs: Rivals | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Meta(ge=1, le=8)] | None = None


_chat_decoder = msgspec.json.Decoder(ChatBody)
_completion_decoder = msgspec.json.Decoder(CompletionBody)


def chat_request(data: Bytes, picture_mark: str) -> ChatRequest:
    """Raises BadRequest that names the field. `picture_mark`: see images.Gallery."""
    body = decode(_chat_decoder, data)
    _check(body)
    logprobs = n_rivals(body.logprobs, body.top_logprobs)
    gallery = Gallery(picture_mark)
    found = tools((f"tools[{i}].function", one.function) for i, one in enumerate(body.tools or ()))
    messages = tuple(message(i, one, gallery) for i, one in enumerate(body.messages))
    goes_on = continues(body, messages[-1])
    params = body.params(logprobs, body.max_completion_tokens)
    return ChatRequest(
        model=body.model or "",
        messages=messages,
        params=replace(params, pictures=gallery.pictures()),
        stream=body.stream or False,
        include_usage=body.include_usage(),
        structure_field=body.structure_field(),
        tools=found,
        tool_choice=tool_choice(body.tool_choice, found),
        parallel_tool_calls=body.parallel_tool_calls is not False
        and not isinstance(body.tool_choice, NamedChoice),  # one function by its name: one call
        template_kwargs=body.template_kwargs(),
        reasoning_format=body.reasoning_format or "auto",
        reasoning_budget=body.budget(),
        lora=body.lora_scales(),
        continues=goes_on,
    )


def _check(body: ChatBody) -> None:
    """What is not served is refused: who asks for it would take the answer for it."""
    if bytes(body.functions) not in (b"null", b"[]"):
        raise BadRequest(
            "functions: are not served; OpenAI has replaced them by tools", param="functions"
        )
    if other := next((kind for kind in body.modalities or () if kind != "text"), None):
        raise BadRequest(f"modalities: {other[:20]!r} is not served, text is", param="modalities")
    if body.chat_template:
        raise BadRequest(
            "chat_template: the model's own is used; a request cannot bring code",
            hint="send a finished prompt to /v1/completions",
            param="chat_template",
        )


def completion_request(data: Bytes) -> CompletionRequest:
    """Raises BadRequest that names the field."""
    body = decode(_completion_decoder, data)
    prompts = split_prompts(body.prompt, "prompt", MAX_ANSWERS)
    if body.suffix and not all(isinstance(prompt, str) for prompt in prompts):
        raise BadRequest("suffix: needs a prompt given as text", param="suffix")
    if body.best_of not in (None, body.n or 1):
        raise BadRequest("best_of: answers are not ranked; it must equal n", param="best_of")
    if body.echo and not all(isinstance(prompt, str) for prompt in prompts):
        raise BadRequest("echo: needs a prompt given as text", param="echo")
    if body.echo and (body.logprobs is not None or body.n_probs):
        name = "n_probs" if body.logprobs is None else "logprobs"
        raise BadRequest(
            f"{name}: with echo they would be the prompt's too, and these are not served",
            hint="leave out echo for those of the answer",
            param=name,
        )
    if len(prompts) * (body.n or 1) > MAX_ANSWERS:
        raise BadRequest(
            f"prompt: {len(prompts)} prompts × n = {body.n} are more than {MAX_ANSWERS} answers",
            param="n",
        )
    return CompletionRequest(
        model=body.model or "",
        prompts=prompts,
        params=body.params(body.logprobs, None),
        stream=body.stream or False,
        include_usage=body.include_usage(),
        structure_field=body.structure_field(),
        echo=body.echo or False,
        suffix=body.suffix or "",
        lora=body.lora_scales(),
    )


def split_prompts(given: Prompt, param: str, at_most: int) -> tuple[str | tuple[int, ...], ...]:
    """OpenAI's four shapes: a text, texts, token ids, lists of token ids."""
    if isinstance(given, str):
        return (given,)
    if given and all(isinstance(item, int) for item in given):
        return (tuple(item for item in given if isinstance(item, int)),)
    prompts: list[str | tuple[int, ...]] = []
    for item in given:
        if isinstance(item, int):
            raise BadRequest(f"{param}: mixes token ids with texts or lists", param=param)
        prompts.append(item if isinstance(item, str) else tuple(item))
    if not prompts or () in prompts:
        raise BadRequest(f"{param}: is empty", param=param)
    if len(prompts) > at_most:
        raise BadRequest(f"{param}: {len(prompts)} items are more than {at_most}", param=param)
    return tuple(prompts)
