"""POST /completion, llama-server's own route: text that continues a prompt, or several.

A prompt is a text, token ids, or both mixed; {"prompt_string": …} is a text, too. A list without a
number in it is several prompts.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta, Raw, structs
from starlette.requests import Request
from starlette.types import ASGIApp

from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadRequest
from edgellm.server.answers import Asked, Prompts
from edgellm.server.body import Text, decode
from edgellm.server.envelope import text_is_called
from edgellm.server.gateway import body_of, models_of
from edgellm.server.openai.requests import MAX_ANSWERS, MAX_IDS
from edgellm.server.openai.samplers import Count, Token
from edgellm.server.openai.sampling import Sampling
from edgellm.server.openai.unserved import NULL, check_says_nothing
from edgellm.server.routes.lora import as_served
from edgellm.server.routes.native_completion import NativeCompletion, Shown, settings_of
from edgellm.server.routes.text import answer_to, frames
from edgellm.server.served import Served
from edgellm.server.sse import StreamedAnswer, WholeAnswer


class PromptObject(msgspec.Struct):
    prompt_string: Text
    multimodal_data: Raw = NULL


Mixed: TypeAlias = Annotated[list[Text | Token], Meta(max_length=MAX_IDS)]
Part: TypeAlias = str | list[str | int]
FieldPath: TypeAlias = Annotated[str, Meta(max_length=128)]  # "timings/prompt_n"

_MAX_TEXTS = 256  # of mixed prompts together: each is a message to the worker and back


class NativeBody(Sampling, kw_only=True):
    """The fields that only llama-server's own routes have."""

    return_tokens: bool | None = None
    n_indent: Count | None = None
    response_fields: Annotated[list[FieldPath], Meta(max_length=64)] | None = None

    @property
    def is_only_read(self) -> bool:
        """No answer is wanted: the prompt is read so that the next request finds it cached."""
        return self.n_predict == 0 and self.max_tokens is None

    def native_params(self) -> GenerateParams:
        """Raises BadRequest. Ids of tokens come with their odds, so these are asked for with them.
        Where no token is wanted one is sampled all the same, and not shown."""
        asked = structs.replace(self, n_predict=1) if self.is_only_read else self
        params = asked.params(self.n_probs or (0 if self.return_tokens else None), None)
        return replace(params, n_indent=self.n_indent or 0)


class CompletionBody(NativeBody, kw_only=True):
    prompt: (
        Text
        | PromptObject
        | Annotated[list[Text | Token | Mixed | PromptObject], Meta(max_length=MAX_IDS)]
    )
    n_cmpl: Annotated[int, Meta(ge=1, le=8)] | None = None


_decoder = msgspec.json.Decoder(CompletionBody)


async def completion(request: Request) -> ASGIApp:
    body = decode(_decoder, await body_of(request))
    body.n = body.n_cmpl or body.n
    parts, params = _prompts(body), body.native_params()
    served = models_of(request).generative(body.model)
    with text_is_called("prompt"):
        prompts = [await _tokens(served, part) for part in parts]
    return native_answer(request, served, body, prompts, params, "prompt")


def native_answer(
    request: Request,
    served: Served,
    body: NativeBody,
    prompts: Prompts,
    params: GenerateParams,
    text_field: str,
) -> ASGIApp:
    """Raises BadRequest."""
    params = as_served(params, served, body.lora_scales(), body.model or "")
    streams, n_ctx = body.stream or False, served.engine.plan.n_ctx_seq
    shown = Shown(
        served.name,
        n_ctx,
        settings_of(
            replace(params, max_tokens=0) if body.is_only_read else params, n_ctx, streams=streams
        ),
        tokens=body.return_tokens or False,
        odds=("prob" if params.post_sampling_probs else "logprob") if body.n_probs else None,
        text=not body.is_only_read,
        fields=tuple(body.response_fields or ()),
    )
    dialect = NativeCompletion(shown, streams=streams, n_answers=len(prompts) * params.n)
    wanted = Asked(prompts, params, text_field, body.structure_field())
    told = frames(answer_to(request, served, wanted), dialect)
    return StreamedAnswer(told) if streams else WholeAnswer(told)


def _prompts(body: CompletionBody) -> list[Part]:
    """Raises BadRequest."""
    given, found = body.prompt, list[Part]()
    if not isinstance(given, list):
        found = [_text(given)]
    elif any(isinstance(one, int) for one in given):
        if not all(isinstance(one, int | str) for one in given):
            words = "prompt: mixes token ids with lists or objects"
            raise BadRequest(words, param="prompt")
        found = [[one for one in given if isinstance(one, int | str)]]
    else:
        found = list(_each(given))
    if not found or [] in found:
        raise BadRequest("prompt: is empty", param="prompt")
    n_texts = sum(isinstance(one, str) for part in found if isinstance(part, list) for one in part)
    if n_texts > _MAX_TEXTS:
        words = f"prompt: {n_texts} texts mixed with token ids are more than {_MAX_TEXTS}"
        raise BadRequest(words, param="prompt")
    if len(found) * (body.n or 1) > MAX_ANSWERS:
        words = f"prompt: {len(found)} prompts × {body.n or 1} are more than {MAX_ANSWERS} answers"
        raise BadRequest(words, param="prompt")
    return found


def _each(given: Iterable[str | int | list[str | int] | PromptObject]) -> Iterable[Part]:
    for one in given:
        if isinstance(one, list):
            yield one
        elif not isinstance(one, int):
            yield _text(one)


def _text(given: str | PromptObject) -> str:
    if isinstance(given, str):
        return given
    check_says_nothing(given.multimodal_data, "prompt.multimodal_data", ([],))
    return given.prompt_string


async def _tokens(served: Served, part: Part) -> str | tuple[int, ...]:
    """Each text of a mixed prompt is tokenized by itself; only the first gets special tokens."""
    if isinstance(part, str):
        return part
    tokens: list[int] = []
    for i, one in enumerate(part):
        if isinstance(one, int):
            tokens.append(one)
        else:
            tokens += (await served.engine.tokenize(one, i == 0)).tokens
    return tuple(tokens)
