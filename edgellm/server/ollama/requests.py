"""What Ollama's clients send to be answered, to our requests. null counts as absent.

A request streams unless it says `stream: false`. One without a text (`asked` is None) only wants
the model loaded, or with `keep_alive: 0` unloaded; any other `keep_alive` is how long it then stays
while nobody asks. `truncate` and `shift` are ignored: a prompt that is too long is refused, never
cut.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from edgellm.chat.messages import (
    ChatRequest,
    Claim,
    CompletionRequest,
    GenerateParams,
    JSONSchema,
    Message,
    Role,
    SamplingParams,
)
from edgellm.chat.pictures import Pictures
from edgellm.errors import BadRequest
from edgellm.server.body import Bytes, Text, decode, raw_text
from edgellm.server.ollama.messages import (
    ChatMessage,
    Images,
    ToolOffer,
    message,
    offered,
    with_pictures,
)
from edgellm.server.ollama.options import Options, read_options
from edgellm.server.ollama.staying import keep_seconds
from edgellm.server.ollama.thinking import Think, template_kwargs
from edgellm.server.openai.images import Gallery
from edgellm.server.openai.messages import MAX_MESSAGES, MAX_TOOLS, Name
from edgellm.server.openai.samplers import Token
from edgellm.server.openai.sampling import Rivals, n_rivals, stop_strings
from edgellm.server.openai.structure import ANY_OBJECT, schema_rule
from edgellm.server.openai.unserved import NULL
from edgellm.server.served import untagged

MAX_CONTEXT = 1 << 20  # tokens that a request brings; no context is longer
_FORMAT = "format"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request says besides the text that it asks for."""

    name: str  # the model's, as the client wrote it; "" for none
    streams: bool
    options: Options
    think: Think | None
    keep_s: float | None = None  # how long the model idles from then on; None: as it was said
    context: tuple[int, ...] = ()  # what was said before, as tokens

    @property
    def model(self) -> str:
        """Our name for it: nothing here has the tag "latest"."""
        return untagged(self.name)

    @property
    def unloads(self) -> bool:
        return self.keep_s == 0


@dataclass(frozen=True, slots=True)
class Chat:
    wish: Wish
    asked: ChatRequest | None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A ChatRequest of one turn; a CompletionRequest for a prompt that is raw, or has a suffix."""

    wish: Wish
    asked: ChatRequest | CompletionRequest | None


class _Body(msgspec.Struct, kw_only=True):
    model: Name | None = None
    stream: bool | None = None
    options: Raw = NULL
    format: Raw = NULL
    keep_alive: float | Name | None = None
    think: Think | None = None
    logprobs: bool | None = None
    top_logprobs: Rivals | None = None

    def wish(self, context: tuple[int, ...] = ()) -> Wish:
        return Wish(
            name=self.model or "",
            streams=self.stream is not False,
            options=read_options(self.options),
            think=self.think,
            keep_s=keep_seconds(self.keep_alive),
            context=context,
        )

    def params(self, wish: Wish, pictures: Pictures | None) -> GenerateParams:
        """Raises BadRequest."""
        options, said = wish.options, wish.options.samplers_said()
        logprobs = n_rivals(self.logprobs, self.top_logprobs)
        return GenerateParams(
            sampling=SamplingParams(**said),
            said=tuple(said),
            max_tokens=options.max_tokens(),
            stop=stop_strings(options.stop),
            structure=_structure(self.format),
            logprobs=logprobs,
            n_draft_max=options.draft_num_predict,
            is_read=self.stream is not False,
            pictures=pictures,
            claim=Claim(keep_s=wish.keep_s),
        )


class ChatBody(_Body):
    messages: Annotated[list[ChatMessage], Meta(max_length=MAX_MESSAGES)] | None = None
    tools: Annotated[list[ToolOffer], Meta(max_length=MAX_TOOLS)] | None = None


class GenerateBody(_Body):
    prompt: Text | None = None
    suffix: Text | None = None
    system: Text | None = None
    template: Text | None = None
    context: Annotated[list[Token], Meta(max_length=MAX_CONTEXT)] | None = None
    raw: bool | None = None
    images: Images | None = None


_chat_decoder = msgspec.json.Decoder(ChatBody)
_generate_decoder = msgspec.json.Decoder(GenerateBody)


def read_chat(data: Bytes, picture_mark: str) -> Chat:
    """Raises BadRequest that names the field. `picture_mark`: see images.Gallery."""
    body = decode(_chat_decoder, data)
    wish = body.wish()
    if not body.messages:
        return Chat(wish, None)
    gallery = Gallery(picture_mark)
    messages = tuple(message(i, one, gallery) for i, one in enumerate(body.messages))
    asked = ChatRequest(
        model=wish.model,
        messages=messages,
        params=body.params(wish, gallery.pictures()),
        stream=wish.streams,
        structure_field=_FORMAT,
        tools=offered(body.tools or ()),
        template_kwargs=template_kwargs(body.think),
        continues=messages[-1].is_begun,
    )
    return Chat(wish, asked)


def read_prompt(data: Bytes, picture_mark: str) -> Prompt:
    """Raises BadRequest that names the field."""
    body = decode(_generate_decoder, data)
    wish = body.wish(tuple(body.context or ()))
    if body.template:
        raise BadRequest(
            "template: the model's own is used; a request cannot bring code",
            hint="send a finished prompt with raw: true",
            param="template",
        )
    if not (body.prompt or body.suffix):
        return Prompt(wish, None)
    if body.raw or body.suffix:
        return Prompt(wish, _bare(body, wish, picture_mark))
    gallery = Gallery(picture_mark)
    text = with_pictures(body.prompt or "", body.images or (), gallery, "")
    said: tuple[tuple[Role, str], ...] = (("system", body.system or ""), ("user", text))
    asked = ChatRequest(
        model=wish.model,
        messages=tuple(Message(role, text) for role, text in said if text),
        params=body.params(wish, gallery.pictures()),
        stream=wish.streams,
        structure_field=_FORMAT,
        template_kwargs=template_kwargs(body.think),
    )
    if wish.context and asked.params.pictures:
        raise BadRequest("context: goes with no pictures", param="context")
    return Prompt(wish, asked)


def _bare(body: GenerateBody, wish: Wish, picture_mark: str) -> CompletionRequest:
    """Raises BadRequest for what only a template has a place for."""
    why = "raw" if body.raw else "suffix"
    beside = ("system", "context") if body.raw else ("system", "context", "images")
    for field in beside:
        if getattr(body, field):
            raise BadRequest(f"{why} mode does not support {field}", param=field)
    gallery = Gallery(picture_mark)
    text = with_pictures(body.prompt or "", body.images or (), gallery, "")
    return CompletionRequest(
        model=wish.model,
        prompts=(text,),
        params=body.params(wish, gallery.pictures()),
        stream=wish.streams,
        structure_field=_FORMAT,
        suffix=body.suffix or "",
    )


def _structure(given: Raw) -> JSONSchema | None:
    text = raw_text(given, _FORMAT).strip()
    if text in ("null", '""'):
        return None
    if text == '"json"':
        return ANY_OBJECT
    if text.startswith('"'):
        raise BadRequest('format: is "json" or a JSON schema', param=_FORMAT)
    return schema_rule(given, _FORMAT)
