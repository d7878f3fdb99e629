"""Options that several commands share, so that they mean the same everywhere."""

from typing import Annotated

import typer

from edgellm.errors import BadRequest
from edgellm.selector.plan import Goal
from edgellm.units import parse_bytes

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A file (./x.gguf), a repository (org/repo[:QUANT]) or a catalog name (qwen3:8b).",
    ),
]
Context = Annotated[
    int | None, typer.Option("--ctx", help="Tokens of one conversation.", metavar="N")
]
TotalContext = Annotated[
    int | None,
    typer.Option("-c", "--ctx-size", help="Tokens over all conversations together.", metavar="N"),
]
Parallel = Annotated[
    int | None,
    typer.Option("--parallel", "-np", help="Conversations at the same time.", metavar="N"),
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
    int | None, typer.Option("-ngl", "--gpu-layers", help="Layers on the GPUs.", metavar="N")
]
MicroBatch = Annotated[
    int | None, typer.Option("-ub", "--ubatch-size", help="Micro-batch, tokens.", metavar="N")
]
Threads = Annotated[
    int | None, typer.Option("-t", "--threads", help="CPU threads of the model.", metavar="N")
]
FlashAttention = Annotated[
    str, typer.Option("-fa", "--flash-attn", help="on, off or auto.", metavar="WHEN")
]
Reserve = Annotated[
    str | None, typer.Option("--reserve", help="Memory to leave free: 2GiB.", metavar="SIZE")
]
Offline = Annotated[
    bool | None, typer.Option("--offline", help="No network at all.", show_default=False)
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_USES = ("chat", "batch", "stream", "agent")
_OBJECTIVES = ("balanced", "speed", "quality", "context", "energy")
_WHEN = {"auto": None, "on": True, "off": False}


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
    reserve: str | None = None,
) -> Goal:
    """Words of the command line to a Goal. Raises BadRequest; the selector checks the numbers."""
    _one_of("--use", use, _USES)
    _one_of("--goal", objective, _OBJECTIVES)
    _one_of("--flash-attn", flash, tuple(_WHEN))
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
    )


def _one_of(flag: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise BadRequest(f"{flag} {word!r} is not known", hint=f"one of {', '.join(words)}")
