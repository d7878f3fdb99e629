"""`edgellm probe` and `edgellm plan`: what this machine is, and what it would run how."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli import options

if TYPE_CHECKING:
    from edgellm.probe.hardware import Hardware
    from edgellm.probe.sources import Sources

Sysroot = Annotated[
    Path | None,
    typer.Option(
        help="A captured machine instead of this one (scripts/capture_probe.py makes one).",
        metavar="DIR",
    ),
]


def probe(
    as_json: options.AsJSON = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="What each source said, as it said it.")
    ] = False,
    sysroot: Sysroot = None,
) -> None:
    """Show this machine, and what llama.cpp will use of it.

    Processors, memory with its measured bandwidth, accelerators, and why one is not used.
    The first time after a boot the measuring takes about a second.

    \b
      edgellm probe
      edgellm probe --json | jq '.pools[].bandwidth_bytes_s'
      edgellm probe --raw > probe.txt         # to go with a bug report
    """
    import shutil

    from edgellm.cli.output import print_json
    from edgellm.probe.detect import examine
    from edgellm.probe.evidence import Evidence
    from edgellm.probe.report import as_json as hardware_json
    from edgellm.probe.report import as_text, raw_as_text

    evidence = Evidence(_sources(sysroot))
    hardware = examine(evidence)
    if raw:
        print(raw_as_text(evidence.testimonies), end="")
    elif as_json:
        print_json(hardware_json(hardware))
    else:
        print(as_text(hardware, shutil.get_terminal_size((100, 24)).columns), end="")


def plan(
    model: options.ModelArgument,
    as_json: options.AsJSON = False,
    on: Annotated[
        str | None,
        typer.Option(help="Plan for a described machine: rpi5, rtx4090 …", metavar="BOARD"),
    ] = None,
    sysroot: Sysroot = None,
    ctx: options.Context = None,
    n_ctx: options.TotalContext = None,
    parallel: options.Parallel = None,
    use: options.Use = "chat",
    goal: options.Objective = "balanced",
    ctk: options.KVTypeK = None,
    ctv: options.KVTypeV = None,
    ngl: options.GpuLayers = None,
    ubatch: options.MicroBatch = None,
    threads: options.Threads = None,
    flash_attn: options.FlashAttention = "auto",
    kv_unified: options.KVUnified = None,
    reserve: options.Reserve = None,
    offline: options.Offline = False,
) -> None:
    """Show what would run how, before anything is downloaded.

    The file, its context, memory and speed, and the best of what was not chosen.

    A catalog name needs no network; a repository's headers are read by range, not its files.

    \b
      edgellm plan qwen3:8b
      edgellm plan qwen3:30b-a3b --on rtx4090 --goal quality
      edgellm plan unsloth/Qwen3-8B-GGUF --ctx 32768 --json
    """
    from edgellm.cli.output import print_json
    from edgellm.cli.resolve import resolve
    from edgellm.profiles import load_profiles
    from edgellm.selector.choose import choose
    from edgellm.selector.explain import explain, plan_json

    config = options.config_from(offline=offline, reserve=reserve)
    wish = options.goal_from(
        ctx=ctx, n_ctx=n_ctx, parallel=parallel, use=use, objective=goal, ctk=ctk, ctv=ctv,
        ngl=ngl, ubatch=ubatch, threads=threads, flash=flash_attn,
        kv_unified=kv_unified, reserve=config.reserve,
    )  # fmt: skip
    resolved = resolve(model, config, plan_only=True)
    hardware = _hardware(on, sysroot)
    made = choose(hardware, resolved.candidates, wish, load_profiles())
    if as_json:
        print_json(plan_json(made))
    else:
        print(explain(made, hardware), end="")


def _hardware(board: str | None, sysroot: Path | None) -> "Hardware":
    from edgellm.errors import BadRequest
    from edgellm.probe.detect import detect
    from edgellm.profiles import hardware_from_board

    if board and sysroot:
        raise BadRequest("--on and --sysroot name two machines", hint="give one of them")
    return hardware_from_board(board) if board else detect(_sources(sysroot))


def _sources(sysroot: Path | None) -> "Sources":
    from edgellm.errors import StorageError
    from edgellm.probe.sources import SysrootSources, SystemSources

    if sysroot is None:
        return SystemSources()
    if not (sysroot / "files").is_dir():
        raise StorageError(
            f"{sysroot} is no captured machine: it has no folder files/",
            hint="scripts/capture_probe.py DIR makes one",
        )
    return SysrootSources(sysroot)
