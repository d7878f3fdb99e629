"""GET /v1/models: OpenAI's four fields, and llama-server's `meta` beside them.

Anthropic's clients ask by the same path, and name their API's version: they get its fields.
"""

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from edgellm.server.anthropic.cards import ModelCard as AnthropicCard
from edgellm.server.anthropic.cards import model_card, model_list
from edgellm.server.gateway import json_response, models_of
from edgellm.server.served import Served


class ModelMeta(msgspec.Struct):
    """llama-server's names."""

    n_ctx: int
    n_ctx_train: int | None
    n_vocab: int | None
    n_embd: int | None
    n_params: int | None
    size: int | None
    ftype: str


class ModelCard(msgspec.Struct):
    id: str
    object: str
    created: int
    owned_by: str
    aliases: tuple[str, ...]
    capabilities: tuple[str, ...]
    license: str | None
    meta: ModelMeta
    parent: str | UnsetType = UNSET  # of an adapter: the model that it changes (vLLM's word)


class ModelList(msgspec.Struct):
    object: str
    data: list[ModelCard]


async def list_models(request: Request) -> Response:
    """Each model, and after it its adapters: they are asked for like models."""
    models = models_of(request)
    if _is_anthropics(request):
        theirs = [_anthropics(served, name) for served in models for name in served.names]
        return json_response(model_list(theirs))
    cards = []
    for served in models:
        cards.append(_card(served, models.aliases_of(served)))
        cards += [_adapter_card(served, adapter.name) for adapter in served.engine.adapters]
    return json_response(ModelList("list", cards))


async def show_model(request: Request) -> Response:
    name = request.path_params["name"]
    models = models_of(request)
    served = models.find(name)
    adapter = served.engine.adapters.find(name)
    if _is_anthropics(request):
        return json_response(_anthropics(served, adapter.name if adapter else served.name))
    if adapter:
        return json_response(_adapter_card(served, adapter.name))
    return json_response(_card(served, models.aliases_of(served)))


def _is_anthropics(request: Request) -> bool:
    return "anthropic-version" in request.headers


def _anthropics(served: Served, name: str) -> AnthropicCard:
    return model_card(name, served.created, served.engine.plan.n_ctx_seq)


def _adapter_card(served: Served, name: str) -> ModelCard:
    return msgspec.structs.replace(_card(served, ()), id=name, parent=served.name)


def _card(served: Served, aliases: tuple[str, ...]) -> ModelCard:
    plan, spec, ready = served.engine.plan, served.spec, served.engine.ready
    return ModelCard(
        id=served.name,
        object="model",
        created=served.created,
        owned_by="edgellm",
        aliases=aliases,
        capabilities=served.capabilities,
        license=spec.license if spec else None,
        meta=ModelMeta(
            n_ctx=plan.n_ctx_seq,
            n_ctx_train=served.n_ctx_train,
            n_vocab=spec.n_vocab if spec else ready.n_vocab if ready else None,
            n_embd=spec.n_embd if spec else ready.n_embd if ready else None,
            n_params=spec.n_params if spec else None,
            size=spec.file_bytes if spec else None,
            ftype=plan.quant,
        ),
    )
