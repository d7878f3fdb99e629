"""GET /props and /slots: what llama-server's clients look at before they ask for anything.

A slot is a place for a sequence that runs. We have as many as run side by side, but no sequence
keeps its own: the rows say how many are busy, and with what.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

import edgellm
from edgellm.chat.messages import GenerateParams
from edgellm.errors import NotServing
from edgellm.server.gateway import json_response, models_of
from edgellm.server.routes.native_completion import settings_of
from edgellm.server.served import Served


class DefaultSettings(msgspec.Struct):
    params: dict[str, Any]
    n_ctx: int


class Modalities(msgspec.Struct):
    vision: bool
    audio: bool
    video: bool = False


class Props(msgspec.Struct):
    """llama-server's names. Of `model_path` only the file's name is told."""

    default_generation_settings: DefaultSettings
    total_slots: int
    model_alias: str
    model_ftype: str
    model_path: str
    modalities: Modalities
    chat_template: str
    bos_token: str
    eos_token: str
    build_info: str
    endpoint_slots: bool = True
    endpoint_props: bool = False  # POST /props
    endpoint_metrics: bool = True
    is_sleeping: bool = False


class NextToken(msgspec.Struct):
    has_next_token: bool
    n_remain: int
    n_decoded: int


class Slot(msgspec.Struct):
    id: int
    n_ctx: int
    speculative: bool = False
    is_processing: bool = False
    id_task: int | UnsetType = UNSET
    n_prompt_tokens: int | UnsetType = UNSET
    n_prompt_tokens_processed: int | UnsetType = UNSET
    next_token: list[NextToken] | UnsetType = UNSET


async def show_props(request: Request) -> Response:
    served = _served(request)
    plan, template = served.engine.plan, served.template
    n_ctx = plan.n_ctx_seq
    params = settings_of(served.defaults.sampled(GenerateParams()), n_ctx, streams=False)
    return json_response(
        Props(
            DefaultSettings(params, n_ctx),
            total_slots=plan.n_parallel,
            model_alias=served.name,
            model_ftype=plan.quant,
            model_path=served.file_name,
            modalities=Modalities(served.takes("vision"), served.takes("audio")),
            chat_template=template.source,
            bos_token=template.bos_token,
            eos_token=template.eos_token,
            build_info=f"edgellm-{edgellm.__version__}",
            is_sleeping=served.engine.state == "sleeping",
        )
    )


async def show_slots(request: Request) -> Response:
    """With `?fail_on_no_slot=1` 503 when all are busy, as load balancers ask."""
    served = _served(request)
    slots = _slots(served)
    if request.query_params.get("fail_on_no_slot") and all(slot.is_processing for slot in slots):
        raise NotServing(f"all {len(slots)} slots are busy")
    return Response(msgspec.json.encode(slots), media_type="application/json")


def _slots(served: Served) -> list[Slot]:
    plan, gauge = served.engine.plan, served.engine.gauge
    running = gauge.sequences[: gauge.n_running] if gauge else ()
    slots = [Slot(i, plan.n_ctx_seq) for i in range(plan.n_parallel)]
    for slot, (request_id, n_prompt, n_computed, n_output) in zip(slots, running, strict=False):
        slot.is_processing, slot.id_task = True, request_id
        slot.n_prompt_tokens = n_prompt
        slot.n_prompt_tokens_processed = min(n_prompt, n_computed)
        slot.next_token = [NextToken(n_output > 0, -1, n_output)]
    return slots


def _served(request: Request) -> Served:
    return models_of(request).any(request.query_params.get("model"))
