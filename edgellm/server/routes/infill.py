"""POST /infill, llama-server's route for editors: what stands between a prefix and a suffix?"""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.types import ASGIApp

from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadRequest
from edgellm.runner.messages import Infill
from edgellm.server.body import Text, decode
from edgellm.server.envelope import text_is_called
from edgellm.server.gateway import body_of, models_of
from edgellm.server.openai.unserved import NULL
from edgellm.server.routes.completion import NativeBody, native_answer

_MAX_FILES = 256


class ExtraFile(msgspec.Struct):
    text: Text
    filename: Annotated[str, Meta(max_length=4096)] = "tmp"


class InfillBody(NativeBody, kw_only=True):
    """Editors send some fields with every request that nothing here heeds: what would end an answer
    early, after so many milliseconds, and llama.cpp's sampler for infill."""

    input_prefix: Text
    input_suffix: Text
    input_extra: Annotated[list[ExtraFile], Meta(max_length=_MAX_FILES)] | None = None
    prompt: Text = ""  # how the middle begins

    def native_params(self) -> GenerateParams:
        """Raises BadRequest."""
        self.t_max_predict_ms = NULL
        if isinstance(self.samplers, list):
            self.samplers = [name for name in self.samplers if name != "infill"]
        return super().native_params()


_decoder = msgspec.json.Decoder(InfillBody)


async def infill(request: Request) -> ASGIApp:
    body = decode(_decoder, await body_of(request))
    if body.n not in (None, 1):
        raise BadRequest("n: there is one answer to it", param="n")
    params = body.native_params()
    served = models_of(request).generative(body.model)
    extra = tuple((one.filename, one.text) for one in body.input_extra or ())
    asked = Infill(0, body.input_prefix, body.input_suffix, extra, body.prompt, params.max_tokens)
    with text_is_called("input_prefix"):
        prompt = await served.engine.infill(asked)
    return native_answer(request, served, body, (prompt,), params, "input_prefix")
