"""What edgellm would have chosen, beside published sweeps over the same choice.

    python scripts/bench/decisions.py

Each case is one machine, one model and one context, run by somebody with several placements. The
file, the context and the cache are pinned, the placement is edgellm's. Its speed is read off the
published rows: between two of them on the straight line, beyond them the nearest. A row whose
memory overflowed counts as one that ran out of memory. Files by makers whose mixes aren't public
are stood for by the computable mix that is nearest in size, so their layers differ by a little.

Few such sweeps are published; these are all that name machine, context and several placements,
but for gemma-4-26B-A4B on gfx1030 and Qwen3.8-Flash-Next on an RTX 3090, whose shapes the catalog
lacks, and Mistral-7B on an i7-1165G7's graphics, whose backend of early 2024 is another one today.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from edgellm.models.known import catalog
from edgellm.probe.known.described import hardware_from_devices
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Candidate, Goal, KVType, Plan
from edgellm.units import GIB


@dataclass(frozen=True)
class Sweep:
    """`tok_s`: decode by n_cpu_moe. `overflowed`: those that didn't fit into the card."""

    name: str
    device: str
    ram: str
    model: str
    file_gib: float
    n_ctx: int
    kv_type: KVType
    tok_s: Mapping[int, float]
    source: str
    overflowed: tuple[int, ...] = ()


_GFX1200 = "three public tuning and performance logs"
SWEEPS = (
    Sweep(
        "RX 9060 XT 16 GB, Qwen3.5-35B-A3B, 32k f16", "rocm:16GiB@320", "96GiB@70",
        "qwen3.5:35b-a3b", 18.34, 32768, "f16",
        {8: 40.2, 12: 40.6, 16: 40.2, 20: 34.7, 24: 31.4, 31: 26.1}, _GFX1200,
    ),
    Sweep(
        "RX 9060 XT 16 GB, Qwen3.5-35B-A3B, 32k q8_0", "rocm:16GiB@320", "96GiB@70",
        "qwen3.5:35b-a3b", 18.34, 32768, "q8_0", {12: 40.2, 16: 38.6, 24: 30.8}, _GFX1200,
    ),
    Sweep(
        "RX 9060 XT 16 GB, Qwen3.5-35B-A3B, 128k q8_0", "rocm:16GiB@320", "96GiB@70",
        "qwen3.5:35b-a3b", 18.34, 131072, "q8_0",
        {24: 30.8, 28: 27.2, 31: 25.3, 34: 23.4, 40: 21.3}, _GFX1200,
    ),
    Sweep(
        "RX 9060 XT 16 GB, Qwen3.5-35B-A3B, 128k f16", "rocm:16GiB@320", "96GiB@70",
        "qwen3.5:35b-a3b", 18.34, 131072, "f16", {31: 26.2, 40: 21.5}, _GFX1200,
    ),
    Sweep(
        "RX 9060 XT 16 GB, Qwen3.5-35B-A3B, llama-bench", "rocm:16GiB@320", "96GiB@70",
        "qwen3.5:35b-a3b", 18.34, 2560, "f16",
        {0: 33.8, 8: 44.1, 16: 40.7, 24: 30.4, 31: 25.8, 40: 21.9}, _GFX1200, overflowed=(0,),
    ),
    Sweep(
        "RTX 3060 12 GB, Qwen3.6-35B-A3B, experts or layers", "RTX 3060", "64GiB@80",
        "qwen3.6:35b-a3b", 19.7, 8192, "f16",
        {-20: 30.3, -22: 28.8, -24: 27.4, 40: 43.5},  # -n: n whole layers of 40 on the CPU
        "public notes; a fork's 4-bit cache",
    ),
)  # fmt: skip


def decide(sweep: Sweep) -> Plan:
    hardware = hardware_from_devices((sweep.device,), sweep.ram)
    entry = catalog.find(sweep.model)
    specs = [catalog.spec(entry, quant) for quant in catalog.plannable_quants(entry)]
    spec = min(specs, key=lambda spec: abs(spec.file_bytes - sweep.file_gib * GIB))
    candidate = Candidate(entry.name, f"{spec.quant}.gguf", spec.quant, spec, spec.file_bytes)
    goal = Goal(
        n_ctx_seq=sweep.n_ctx, n_parallel=1, kv_type_k=sweep.kv_type, kv_type_v=sweep.kv_type,
        objective="speed",
    )  # fmt: skip
    return choose(hardware, (candidate,), goal, load_profiles())


def published(sweep: Sweep, chosen: int) -> float:
    """Its decode rate at the chosen number."""
    fits = {n: rate for n, rate in sweep.tok_s.items() if n >= 0 and n not in sweep.overflowed}
    below = max((n for n in fits if n <= chosen), default=min(fits))
    above = min((n for n in fits if n >= chosen), default=max(fits))
    if below == above:
        return fits[below]
    part = (chosen - below) / (above - below)
    return fits[below] + part * (fits[above] - fits[below])


def main() -> None:
    n_good = n_overflowed = 0
    for sweep in SWEEPS:
        plan = decide(sweep)
        placement, n_layers = plan.placement, catalog.find(sweep.model).shape.n_layers
        whole = placement.n_gpu_layers - 1 >= n_layers
        aside = placement.n_cpu_moe + len(placement.expert_parts)  # nobody published cut layers
        chosen = aside if whole else -(n_layers - placement.n_gpu_layers + 1)
        best = max(rate for n, rate in sweep.tok_s.items() if n not in sweep.overflowed)
        rate = published(sweep, chosen) if whole else sweep.tok_s.get(chosen, 0.0)
        overflows = bool(sweep.overflowed) and whole and chosen <= max(sweep.overflowed)
        n_overflowed += overflows
        n_good += not overflows and rate >= 0.9 * best
        print(
            f"{sweep.name}: {plan.quant}, -ncmoe {aside}, "
            f"{placement.n_gpu_layers} layers on the card; published there {rate:.1f} tok/s, "
            f"best {best:.1f}{', out of memory' if overflows else ''} ({sweep.source})"
        )
    print(f"{n_good} of {len(SWEEPS)} within 10 % of the best, {n_overflowed} out of memory")


if __name__ == "__main__":
    main()
