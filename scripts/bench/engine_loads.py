"""The loads that the engine is judged by, edgellm beside llama-server: streams, prefixes, talks.

    python scripts/bench/engine_loads.py streams prefix --llama-server PATH --model q06.gguf

Names are groups, all of them without any. A group has servers of its own, with the context and the
slots that it is about (-np N on both sides), or with --plain those that each side chooses;
everything else is both sides' default, unless --our-flags and --rival-flags say more. pairs.py
compares; the last column is the median of the paired ratio with its 95 % interval. --minutes is
the soak's length, --long and --own the mixed load's. --cold leaves out the pair that warms up.

    streams   2, 3, 4, 8, 16, 32 independent streams, greedy and with the default samplers
    prefix    N clients with S tokens in common and 32 of their own, cold and once more
    tree      one root, 4 branches, 4 leaves each: prompt tokens computed over unique ones
    talks     8 users × 6 turns, context for 4
    mixed     8 streams (of --own tokens before), then a prompt of 4,000 tokens (--long): p99 of
              their gaps, its TTFT
    sweep     the same, llama-server at -b 64, 128, 512, 2048, edgellm at several targets
    schema    8 streams that follow a JSON schema, over 8 free ones
    neighbour one stream while another process takes a whole core, over the same alone
    overhead  what of a step is not native, on edgellm alone
    soak      32 clients on edgellm alone: memory, endings, counted tokens
"""

import argparse
import asyncio
import json
import random
import signal
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from engine_overhead import overhead
from engine_prompts import mixed, prefix
from engine_soak import soak
from engine_streams import neighbour, schema, streams
from engine_talks import talks, tree
from pairs import Load, Pair, compare, server, table

_PREFIXES = ((500, 8), (2000, 8), (2000, 32))
_ALONE = ("overhead", "sweep", "soak")  # groups that no pairs are made of
_RIVAL_BATCHES = (64, 128, 512, 2048)
_OUR_TARGETS_MS = (100, 200, 300, 500, 2000)


@dataclass(frozen=True, slots=True)
class Group:
    loads: tuple[Load, ...]
    n_ctx: int
    n_parallel: int
    our_flags: tuple[str, ...] = ()
    rival_flags: tuple[str, ...] = ()


def _one_pool(n_ctx_seq: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A conversation may be longer than its part of the cells: one pool for all, on both sides."""
    return ("--kv-unified", "--ctx", str(n_ctx_seq)), ("--kv-unified",)


def _mixed(n_long: int, n_own: int) -> Group:
    n_ctx = 9216 + 8 * max(0, n_own - 256)
    return Group((mixed(n_long, n_own),), n_ctx, 9, *_one_pool(8192))


def main() -> None:
    args = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end with us
    groups, found = _groups(args.long, args.own), list[Pair]()
    chosen = args.groups or [*groups, *_ALONE]
    for name in chosen:
        print(f"── {name}", file=sys.stderr, flush=True)
        if name == "soak":
            soak(_ours(args, Group((), 32768, 16)), args.minutes)
        elif name == "overhead":
            with server(_ours(args, Group((), 4096, 8)), "edgellm") as port:
                overhead(port)
        elif name == "sweep":
            _sweep(args)
        else:
            for group in groups[name]:
                found += _run(args, group, args.pairs)
    if found:
        print(table(found))
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(one) for one in found], indent=1))


def _groups(n_long: int, n_own: int) -> dict[str, tuple[Group, ...]]:
    few, many = (2, 3, 4, 8), (16, 32)
    return {
        "streams": (
            Group(
                tuple(streams(n, greedy=greedy) for n in few for greedy in (True, False)), 8192, 8
            ),
            *(
                Group(tuple(streams(n, greedy=greedy) for greedy in (True, False)), 256 * n, n)
                for n in many
            ),
        ),
        "prefix": tuple(
            Group((prefix(shared, n),), max(8192, n * (shared + 128)), n) for shared, n in _PREFIXES
        ),
        "tree": (Group((tree,), 16384, 16),),
        "talks": (Group((talks,), 4096, 8, *_one_pool(2048)),),
        "mixed": (_mixed(n_long, n_own),),
        "schema": (Group((schema,), 8192, 8),),
        "neighbour": (Group((neighbour,), 4096, 4),),
    }


def _run(args: argparse.Namespace, group: Group, n_pairs: int) -> list[Pair]:
    loads = [(getattr(load, "__name__", "load"), load) for load in group.loads]
    loads = [(name, load) for name, load in loads if args.only in name]
    if not loads:
        return []
    ours, theirs = _ours(args, group), _theirs(args, group)
    with server(ours, "edgellm") as mine, server(theirs, "llama-server") as rival:
        return asyncio.run(compare(loads, mine, rival, n_pairs, warms_up=not args.cold))


def _sweep(args: argparse.Namespace) -> None:
    """Each rival's setting beside the target of ours whose long prompt takes about as long."""
    points: dict[str, tuple[float, float]] = {}
    group = _mixed(args.long, args.own)
    for batch in _RIVAL_BATCHES:
        flags = ("-b", str(batch), "-ub", str(min(batch, 512)))
        with server([*_theirs(args, group), *flags], "llama-server") as port:
            points[f"llama-server -b {batch}"] = asyncio.run(_medians(port, group, args.pairs))
    for target_ms in _OUR_TARGETS_MS:
        with server([*_ours(args, group), "--itl", str(target_ms)], "edgellm") as port:
            points[f"edgellm --itl {target_ms}"] = asyncio.run(_medians(port, group, args.pairs))
    print("| setting | TTFT of the long prompt s | p99 ITL ms |\n|---|---|---|")
    for name, (ttft_s, p99_ms) in points.items():
        print(f"| {name} | {ttft_s:.2f} | {p99_ms:.0f} |")


async def _medians(port: int, group: Group, n: int) -> tuple[float, float]:
    (load,) = group.loads
    runs = [await load(port, random.Random(f"sweep {i}")) for i in range(-1, n)][1:]
    ttft_s, p99_ms = (
        statistics.median(next(v for k, v in run.items() if word in k) for run in runs)
        for word in ("TTFT", "p99")
    )
    return ttft_s, p99_ms


def _ours(args: argparse.Namespace, group: Group) -> list[str]:
    return [
        sys.executable, "-m", "edgellm", "serve", args.model, "--port", "{port}", "--name", "bench",
        "-t", str(args.threads), *_sizes(args, group, group.our_flags), *args.our_flags.split(),
    ]  # fmt: skip


def _theirs(args: argparse.Namespace, group: Group) -> list[str]:
    return [
        args.llama_server, "-m", args.model, "--port", "{port}", "-t", str(args.threads),
        *_sizes(args, group, group.rival_flags), *args.rival_flags.split(),
    ]  # fmt: skip


def _sizes(args: argparse.Namespace, group: Group, more: tuple[str, ...]) -> list[str]:
    if args.plain:
        return []
    return ["-c", str(group.n_ctx), "-np", str(group.n_parallel), *more]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="of those above; all if none")
    parser.add_argument("--llama-server", required=True, metavar="PATH")
    parser.add_argument("--model", required=True, metavar="GGUF")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--long", type=int, default=4000, metavar="TOKENS")
    parser.add_argument("--own", type=int, default=32, metavar="TOKENS")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--plain", action="store_true", help="context and slots as both sides choose them"
    )
    parser.add_argument("--only", default="", help="loads whose name contains this")
    parser.add_argument("--our-flags", default="", help="more flags for edgellm serve")
    parser.add_argument("--rival-flags", default="", help="more flags for llama-server")
    parser.add_argument("--json", metavar="FILE", help="write every single figure here")
    args = parser.parse_args()
    if strange := set(args.groups) - {*_groups(args.long, args.own), *_ALONE}:
        parser.error(f"no such groups: {', '.join(sorted(strange))}")
    return args


if __name__ == "__main__":
    main()
