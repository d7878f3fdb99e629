"""llama-server's routes for words: text to tokens and back, and a chat as the prompt it becomes."""

import asyncio
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from edgellm.chat.turn import turn
from edgellm.runner.messages import Tokenized
from edgellm.server.body import Text, decode
from edgellm.server.envelope import text_is_called
from edgellm.server.gateway import body_of, json_response, models_of
from edgellm.server.openai.messages import Name
from edgellm.server.openai.requests import chat_request
from edgellm.server.openai.samplers import Token
from edgellm.server.routes.responses import InputTokens
from edgellm.server.routes.text import chat_body, new_picture_mark, prompt_length
from edgellm.server.served import Served

_MAX_TOKENS = 1 << 17  # as many as a context has; more would stall everyone's step
_MAX_PARTS = 4096


class TokenizeBody(msgspec.Struct):
    content: Text | Annotated[list[Text | Token], Meta(max_length=_MAX_PARTS)]
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False
    model: Name | None = None


class DetokenizeBody(msgspec.Struct):
    tokens: Annotated[list[Token], Meta(max_length=_MAX_TOKENS)]
    model: Name | None = None


class Piece(msgspec.Struct):
    id: int
    piece: str | list[int]  # bytes, where they are only a part of a character


class Tokens(msgspec.Struct):
    tokens: list[int] | list[Piece]


class Content(msgspec.Struct):
    content: str


class Prompt(msgspec.Struct):
    prompt: str


_tokenize_decoder = msgspec.json.Decoder(TokenizeBody)
_detokenize_decoder = msgspec.json.Decoder(DetokenizeBody)


async def tokenize(request: Request) -> Response:
    """In a list, each text is tokenized by itself, and a number is a token already."""
    body = decode(_tokenize_decoder, await body_of(request))
    served = models_of(request).any(body.model)
    parts = [body.content] if isinstance(body.content, str) else body.content
    tokens: list[int] = []
    pieces: list[bytes] = []
    with text_is_called("content"):
        for i, part in enumerate(parts):
            found = await _tokenized(served, part, body, is_first=i == 0)
            tokens += found.tokens
            pieces += found.pieces
    if not body.with_pieces:
        return json_response(Tokens(tokens))
    shown = zip(tokens, map(_shown, pieces), strict=True)
    return json_response(Tokens([Piece(token, piece) for token, piece in shown]))


async def _tokenized(
    served: Served, part: str | int, body: TokenizeBody, *, is_first: bool
) -> Tokenized:
    if isinstance(part, int):
        return await served.engine.detokenize((part,))
    return await served.engine.tokenize(
        part,
        body.add_special and is_first,
        parse_special=body.parse_special,
        with_pieces=body.with_pieces,
    )


async def detokenize(request: Request) -> Response:
    body = decode(_detokenize_decoder, await body_of(request))
    served = models_of(request).any(body.model)
    found = await served.engine.detokenize(tuple(body.tokens))
    return json_response(Content(b"".join(found.pieces).decode("utf-8", "replace")))


async def apply_template(request: Request) -> Response:
    """The prompt that a chat would become. Nothing is computed. The body is a chat's."""
    asked = chat_request(await body_of(request), new_picture_mark())
    served = models_of(request).generative(asked.model)
    ours = await asyncio.to_thread(turn, served.template, asked, datetime.now())
    return json_response(Prompt(ours.prompt))


async def count_chat(request: Request) -> Response:
    """How many tokens a chat's prompt is. The body is a chat's."""
    asked = chat_request(await chat_body(request), new_picture_mark())
    served = models_of(request).generative(asked.model)
    return json_response(InputTokens(await prompt_length(served, asked)))


def _shown(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
