"""Options that several commands share, so that they mean the same everywhere."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgellm.errors import BadRequest
from edgellm.units import parse_bytes

if TYPE_CHECKING:
    from edgellm.config import Config
    from edgellm.selector.plan import Goal

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A file (./x.gguf), a repository (org/repo[:QUANT]), a catalog name (qwen3:8b), "
        "or demo: the tiny model that ships with edgellm.",
    ),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on.", metavar="ADDRESS")]
Port = Annotated[
    int | None,
    typer.Option(
        help="Port to listen on (8484); 0 takes any free one.", metavar="N", min=0, max=65535
    ),
]
Context = Annotated[
    int | None, typer.Option("--ctx", help="Tokens of one conversation.", metavar="N", min=1)
]
TotalContext = Annotated[
    int | None,
    typer.Option(
        "-c", "--ctx-size", help="Tokens over all conversations together.", metavar="N", min=1
    ),
]
Parallel = Annotated[
    int | None,
    typer.Option("--parallel", "-np", help="Conversations at the same time.", metavar="N", min=1),
]
Use = Annotated[
    str, typer.Option("--use", help="What it is for: chat, batch, stream or agent.", metavar="USE")
]
Objective = Annotated[
    str,
    typer.Option(
        "--goal", help="What counts most: balanced, speed, quality or context.", metavar="GOAL"
    ),
]
KVTypeK = Annotated[
    str | None, typer.Option("-ctk", "--cache-type-k", help="KV cache type of K.", metavar="TYPE")
]
KVTypeV = Annotated[
    str | None, typer.Option("-ctv", "--cache-type-v", help="KV cache type of V.", metavar="TYPE")
]
GpuLayers = Annotated[
    int | None, typer.Option("-ngl", "--gpu-layers", help="Layers on the GPUs.", metavar="N", min=0)
]
MicroBatch = Annotated[
    int | None,
    typer.Option("-ub", "--ubatch-size", help="Micro-batch, tokens.", metavar="N", min=1),
]
Threads = Annotated[
    int | None,
    typer.Option("-t", "--threads", help="CPU threads of the model.", metavar="N", min=1),
]
FlashAttention = Annotated[
    str, typer.Option("-fa", "--flash-attn", help="on, off or auto.", metavar="WHEN")
]
KVUnified = Annotated[
    bool | None,
    typer.Option(
        "--kv-unified/--no-kv-unified",
        help="One pool of KV cells for all conversations, or a stream for each.",
        show_default=False,
    ),
]
Reserve = Annotated[
    str | None, typer.Option("--reserve", help="Memory to leave free: 2GiB.", metavar="SIZE")
]
LimitRate = Annotated[
    str | None, typer.Option(help="The most a download takes: 20MiB/s.", metavar="RATE")
]
Offline = Annotated[bool, typer.Option("--offline", help="No network at all.")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_USES = ("chat", "batch", "stream", "agent")
_OBJECTIVES = ("balanced", "speed", "quality", "context", "energy")
_KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
_WHEN = {"auto": None, "on": True, "off": False}


def config_from(*, offline: bool = False, **flags: Any) -> "Config":
    """Flags over environment over file over defaults; what is None or False was not given."""
    from edgellm.config import load_config

    return load_config(os.environ, {**flags, "offline": offline or None})


def goal_from(
    *,
    ctx: int | None = None,
    n_ctx: int | None = None,
    parallel: int | None = None,
    use: str = "chat",
    objective: str = "balanced",
    ctk: str | None = None,
    ctv: str | None = None,
    ngl: int | None = None,
    ubatch: int | None = None,
    threads: int | None = None,
    flash: str = "auto",
    kv_unified: bool | None = None,
    reserve: str | None = None,
) -> "Goal":
    """Words of the command line to a Goal. Raises BadRequest; the selector checks the numbers."""
    from edgellm.selector.plan import Goal

    _one_of("--use", use, _USES)
    _one_of("--goal", objective, _OBJECTIVES)
    _one_of("--flash-attn", flash, tuple(_WHEN))
    _one_of("--cache-type-k", ctk or "f16", _KV_TYPES)
    _one_of("--cache-type-v", ctv or "f16", _KV_TYPES)
    return Goal(
        n_ctx_seq=ctx,
        n_ctx=n_ctx,
        n_parallel=parallel,
        use=use,  # type: ignore[arg-type]
        objective=objective,  # type: ignore[arg-type]
        reserve_bytes=None if reserve is None else parse_bytes(reserve),
        kv_type_k=ctk,  # type: ignore[arg-type]
        kv_type_v=ctv,  # type: ignore[arg-type]
        n_gpu_layers=ngl,
        n_ubatch=ubatch,
        n_threads=threads,
        flash_attention=_WHEN[flash],
        kv_unified=kv_unified,
    )


def _one_of(flag: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise BadRequest(f"{flag} {word!r} is not known", hint=f"one of {', '.join(words)}")
