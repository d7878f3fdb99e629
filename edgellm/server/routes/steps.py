"""GET /edgellm/steps: the flight recorder of every model that is ready. docs/scheduling.md has the
fields."""

import re
import time
from contextlib import suppress

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edgellm.errors import BadRequest, NotServing
from edgellm.runner.messages import Steps
from edgellm.runner.pacing.recorder import StepRecord
from edgellm.server.gateway import json_response, models_of

_MOST = 1000


class ModelSteps(msgspec.Struct, frozen=True):
    model: str
    steps: list[StepRecord]  # oldest first


class Answer(msgspec.Struct, frozen=True):
    models: list[ModelSteps]


async def show_steps(request: Request) -> Response:
    """`?last=N` for the newest N only. A model that is not ready has none."""
    n = _how_many(request.query_params.get("last"))
    told = []
    for served in models_of(request):
        if served.engine.state == "ready":
            with suppress(NotServing):  # it goes this very moment
                told.append(ModelSteps(served.name, _dated(await served.engine.steps(n))))
    return json_response(Answer(told))


def _dated(told: Steps) -> list[StepRecord]:
    """With Unix time for the machine's clock: that one means nothing on another machine."""
    offset_s = time.time() - time.monotonic()
    return [msgspec.structs.replace(one, start_s=one.start_s + offset_s) for one in told.steps]


def _how_many(text: str | None) -> int:
    if text is None:
        return _MOST
    if not (re.fullmatch(r"[0-9]{1,9}", text) and 1 <= int(text) <= _MOST):
        raise BadRequest(f"last={text[:40]!r} is not 1 to {_MOST}", param="last")
    return int(text)
