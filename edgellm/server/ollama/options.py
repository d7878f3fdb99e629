"""`options`: what Ollama's clients say of sampling and length. Names, meaning and defaults of what
is sampled are llama.cpp's, as in every dialect here (docs/sampling.md).

How a model is loaded is not a request's to say here: `num_gpu`, `main_gpu`, `num_thread`,
`num_batch`, `use_mmap`, `use_mlock`, `numa`, `low_vram` and the like are passed over, as they
change no text. So are `num_keep`, since no context is shifted, and what llama.cpp has given up
(`tfs_z`, `penalize_newline`). `num_ctx` is held against the context that is served.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from edgellm.errors import BadRequest
from edgellm.server.body import INT32_MAX, decode, json_value, small_text
from edgellm.server.openai.samplers import Back, Count, Penalty, Ratio, seed_of
from edgellm.server.openai.sampling import StopString, StopStrings

_MAX_BYTES = 16 * 1024


class Options(msgspec.Struct, kw_only=True, frozen=True):
    temperature: Annotated[float, Meta(ge=0, le=10)] | None = None
    top_k: Back | None = None
    top_p: Ratio | None = None
    min_p: Ratio | None = None
    typical_p: Ratio | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    repeat_last_n: Back | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    mirostat: Annotated[int, Meta(ge=0, le=2)] | None = None
    mirostat_tau: Annotated[float, Meta(ge=0, le=100)] | None = None
    mirostat_eta: Ratio | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: StopString | StopStrings | None = None
    num_predict: Annotated[int, Meta(ge=-INT32_MAX, le=INT32_MAX)] | None = None
    num_ctx: Back | None = None
    draft_num_predict: Count | None = None

    def samplers_said(self) -> dict[str, Any]:
        """Fields of SamplingParams."""
        given = {name: getattr(self, name) for name in _SAMPLING}
        given["seed"] = seed_of(self.seed)
        if self.top_k is not None:
            given["top_k"] = max(self.top_k, 0)
        return {name: value for name, value in given.items() if value is not None}

    def max_tokens(self) -> int | None:
        """Below 1 there is no bound, 0 included: Ollama leaves it out where it asks llama-server
        (its llm/llama_server.go, `omitempty`), and its older runners ask for `numPredict > 0`."""
        return self.num_predict if self.num_predict and self.num_predict > 0 else None


_SAMPLING = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "repeat_last_n",
    "presence_penalty", "frequency_penalty", "mirostat", "mirostat_tau", "mirostat_eta",
)  # fmt: skip

_decoder = msgspec.json.Decoder(Options)


def read_options(raw: Raw) -> Options:
    """A whole number may be written as 8192.0, as some clients do. Raises BadRequest that names
    the option."""
    given = json_value(small_text(raw, "options", _MAX_BYTES), "options")
    if given is None:
        return Options()
    if not isinstance(given, dict):
        raise BadRequest("options: must be an object", param="options")
    whole = {name: _as_whole(value) for name, value in given.items()}
    try:
        return decode(_decoder, msgspec.json.encode(whole))
    except BadRequest as error:
        words = f"options.{error}" if error.param else f"options: {error}"
        raise BadRequest(words, param=f"options.{error.param or ''}".rstrip(".")) from error


def context_warning(options: Options, n_ctx_seq: int) -> str | None:
    """Of a client that wants more context than is served. A prompt that is too long for it is
    refused, and none is cut; so the wish alone breaks nothing."""
    if options.num_ctx is None or options.num_ctx <= n_ctx_seq:
        return None
    return (
        f"num_ctx {options.num_ctx} is more than the {n_ctx_seq} tokens that are served; "
        f"edgellm serve MODEL --ctx {options.num_ctx} would serve them"
    )


def _as_whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
