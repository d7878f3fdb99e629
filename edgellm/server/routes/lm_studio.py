"""LM Studio's `/api/v0/models`: whether each model is loaded, and with which context.

Desktop apps and agents ask LM Studio for what OpenAI's list doesn't tell. Its other routes of this
version are OpenAI's own (app.py); of its `/api/v1`, where models are loaded and downloaded,
nothing is here.
"""

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from edgellm.server.gateway import json_response, models_of
from edgellm.server.served import Served


class ModelCard(msgspec.Struct, kw_only=True):
    id: str
    object: str = "model"
    type: str  # "llm", "vlm" (it sees pictures) or "embeddings"
    publisher: str
    arch: str | UnsetType = UNSET
    compatibility_type: str = "gguf"
    quantization: str
    state: str
    max_context_length: int  # as it is served: no request can make it longer
    loaded_context_length: int | UnsetType = UNSET
    capabilities: tuple[str, ...] = ()


class ModelList(msgspec.Struct):
    data: list[ModelCard]
    object: str = "list"


async def list_models(request: Request) -> Response:
    models = models_of(request)
    return json_response(ModelList([_card(one, name) for one in models for name in one.names]))


async def show_model(request: Request) -> Response:
    name = request.path_params["name"]
    served = models_of(request).find(name)
    adapter = served.engine.adapters.find(name)
    return json_response(_card(served, adapter.name if adapter else served.name))


def _card(served: Served, name: str) -> ModelCard:
    plan, is_loaded = served.engine.plan, served.engine.state == "ready"
    writes = served.kind == "generative"
    return ModelCard(
        id=name,
        type=("vlm" if served.takes("vision") else "llm") if writes else "embeddings",
        publisher=served.name.rpartition("/")[0],
        arch=served.spec.architecture if served.spec else UNSET,
        quantization=plan.quant,
        state="loaded" if is_loaded else "not-loaded",
        max_context_length=plan.n_ctx_seq,
        loaded_context_length=plan.n_ctx_seq if is_loaded else UNSET,
        capabilities=("tool_use",) if writes else (),
    )
