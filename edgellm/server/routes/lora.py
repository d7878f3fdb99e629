"""LoRA adapters over HTTP: which there are, with which scale, and which a request wants.

llama-server's /lora-adapters sets the scales for all requests; vLLM's two routes load and unload
adapters at run time, and a loaded one is asked for like a model. A path that comes over the network
is looked up in the folder of --lora-dir alone: else anybody could have any file opened.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadRequest
from edgellm.server.body import decode
from edgellm.server.envelope import HTTPProblem
from edgellm.server.gateway import body_of, check_admin, gateway_of, models_of
from edgellm.server.openai.messages import Name
from edgellm.server.openai.sampling import LoraScale, lora_scales
from edgellm.server.routes.reach import reach_of
from edgellm.server.served import Served


class ShownAdapter(msgspec.Struct):
    """llama-server's fields; the name is ours. `path` is the file's name."""

    id: int
    path: str
    scale: float
    name: str
    task_name: str = ""
    prompt_prefix: str = ""


class Success(msgspec.Struct):
    success: bool = True


class LoadBody(msgspec.Struct):
    lora_name: Annotated[str, Meta(min_length=1, max_length=128)]
    lora_path: Annotated[str, Meta(min_length=1, max_length=4096)]
    model: Name | None = None


class UnloadBody(msgspec.Struct):
    lora_name: Annotated[str, Meta(min_length=1, max_length=128)]
    model: Name | None = None


_scales_decoder = msgspec.json.Decoder(Annotated[list[LoraScale], Meta(max_length=64)])
_load_decoder = msgspec.json.Decoder(LoadBody)
_unload_decoder = msgspec.json.Decoder(UnloadBody)


def as_served(
    params: GenerateParams, served: Served, asked: Mapping[int, float] | None, model: str
) -> GenerateParams:
    """With the model's defaults for what the request doesn't say, and with its adapters. Raises
    BadRequest."""
    params = served.defaults.sampled(params)
    wanted = served.engine.adapters.wanted(asked, model)
    return replace(params, adapters=wanted) if wanted else params


async def list_adapters(request: Request) -> Response:
    served = _served(request)
    shown = [
        ShownAdapter(one.id, Path(one.path).name, one.scale, one.name)
        for one in served.engine.adapters
    ]
    return Response(msgspec.json.encode(shown), media_type="application/json")


async def give_scales(request: Request) -> Response:
    check_admin(request)
    scales = lora_scales(decode(_scales_decoder, await body_of(request)))
    _served(request).engine.adapters.give_scales(scales)
    return Response(msgspec.json.encode(Success()), media_type="application/json")


async def load_adapter(request: Request) -> Response:
    check_admin(request)
    gateway, body = gateway_of(request), decode(_load_decoder, await body_of(request))
    path = _inside(reach_of(request).lora_dir, body.lora_path)
    if not body.lora_name.isprintable():
        raise BadRequest("lora_name: has characters that can't be printed", param="lora_name")
    if gateway.models.is_given(body.lora_name):
        raise BadRequest(f"lora_name: {body.lora_name!r} is an alias here", param="lora_name")
    served = models_of(request).generative(body.model)
    taken = next((one for one in gateway.models if one.answers_to(body.lora_name)), None)
    if taken and served.engine.adapters.find(body.lora_name) is None:
        raise BadRequest(
            f"lora_name: {body.lora_name!r} is a name of the model {taken.name}", param="lora_name"
        )
    adapter = await served.engine.load_adapter(body.lora_name, path)
    return PlainTextResponse(f"Success: LoRA adapter '{adapter.name}' added successfully.")


async def unload_adapter(request: Request) -> Response:
    check_admin(request)
    body = decode(_unload_decoder, await body_of(request))
    served = models_of(request).generative(body.model)
    adapter = await served.engine.unload_adapter(body.lora_name)
    return PlainTextResponse(f"Success: LoRA adapter '{adapter.name}' removed successfully.")


def _served(request: Request) -> Served:
    return models_of(request).generative(request.query_params.get("model"))


def _inside(folder: Path | None, asked: str) -> Path:
    """Raises HTTPProblem: no folder is open, or the path leads out of it, by a link."""
    if folder is None:
        raise HTTPProblem(
            403,
            "no folder is open for adapters; `edgellm serve MODEL --lora-dir DIR` opens one",
            param="lora_path",
        )
    folder = folder.resolve()
    try:
        path = (folder / asked).resolve()
    except (OSError, ValueError) as error:  # a NUL, a loop of links
        raise BadRequest(f"lora_path: no path can be so: {error}", param="lora_path") from error
    if not path.is_relative_to(folder):
        raise HTTPProblem(
            403, "lora_path: lies outside the folder of --lora-dir", param="lora_path"
        )
    if path.exists() and not path.is_file():  # to open a pipe could take for ever
        raise BadRequest("lora_path: is no file", param="lora_path")
    return path
