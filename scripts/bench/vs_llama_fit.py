"""edgellm's plans beside llama.cpp's own `--fit`, on the same described machines.

    python scripts/bench/vs_llama_fit.py [--only NAME] [--json FILE]

llama.cpp's side is `common_fit_params` of the installed llama.cpp, called on virtual devices with
llama-server's defaults: four sequences in a unified cache, the context left to it, 1024 MiB of
margin on every device, at least 4096 tokens; the quantization is the one that `llama-server -hf`
takes when none is named (Q4_K_M). edgellm plans twice: the same job (that file, those sequences,
that context), and freely (every quantization that the catalog knows, its own context). The
memory is llama.cpp's count in each case and the speed one model's: edgellm's. Where fit leaves
part of a layer to another device than the layer's, the whole layer counts as its device's; what it
leaves to the CPU is counted matrix by matrix.

What the table can't say is how right the speeds are; that is a matter of the speed model's own
figures.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
from llama_fit_child import FitAnswer, FitQuestion

from edgellm.errors import DoesNotFit
from edgellm.models.gguf.skeleton import write_skeletons
from edgellm.models.known import catalog
from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Hardware
from edgellm.probe.known.boards import hardware_from_board
from edgellm.probe.known.described import hardware_from_devices
from edgellm.profiles import load_profiles
from edgellm.runner.oracle.messages import DescribedDevice
from edgellm.runner.oracle.oracle import LlamaOracle, ask
from edgellm.selector.choose import choose
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.placing.proportions import layer_counts
from edgellm.selector.plan import Candidate, ExpertPart, Goal, Placement, Plan, Share
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import decode_tok_s, prefill_tok_s
from edgellm.units import GIB, format_bytes

N_PARALLEL = 4  # llama-server's default
DEFAULT_QUANT = "Q4_K_M"  # common/download.cpp
_OVERRIDE = re.compile(
    r"blk\\\.(\d+)\\\.ffn_\(?([a-z_|]+)\)?"
)  # common/fit.cpp get_overflow_pattern

# model; a board of profiles/boards, or devices and RAM as on the command line
CASES = (
    ("gpt-oss:120b", "2x3090"),
    ("llama3.3:70b", "2x3090"),
    ("qwen3:235b-a22b", "RTX 4090", "128GiB@80"),
    ("qwen3:235b-a22b", "2x RTX 3090", "128GiB@51"),
    ("gpt-oss:120b", "RTX 4090", "96GiB@80"),
    ("gpt-oss:20b", "rtx3060"),
    ("qwen3:30b-a3b", "rtx3060"),
    ("qwen3-coder:30b", "t4"),
    ("qwen3:32b", "rtx4090"),
    ("gemma3:27b", "rtx3090"),
    ("llama3.1:8b", "gtx1070"),
    ("qwen3:14b", "3060+gtx1070"),
    ("llama3.3:70b", "m3-max-64"),
    ("deepseek-r1:671b", "8xh100"),
)


@dataclass(frozen=True, slots=True)
class Choice:
    who: str
    quant: str
    kv: str
    n_ctx: int
    placement: str
    decode_tok_s: float | None
    prefill_tok_s: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    model: str
    machine: str
    choices: tuple[Choice, ...]
    fit_s: float


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose model or machine contains this")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    cases = []
    with LlamaOracle() as oracle:
        for name, machine, *ram in CASES:
            if args.only in f"{name} {machine}":
                cases.append(_case(name, machine, ram[0] if ram else None, oracle))
                _print(cases[-1])
    _print_summary(cases)
    if args.json:
        Path(args.json).write_text(json.dumps([asdict(case) for case in cases], indent=1))
    return 0


def _case(name: str, machine: str, ram: str | None, oracle: LlamaOracle) -> Case:
    hardware = hardware_from_devices([machine], ram) if ram else hardware_from_board(machine)
    candidates = tuple(_candidates(name))
    named = next((c for c in candidates if c.quant == DEFAULT_QUANT), candidates[0])
    fitted, fit_s = _fit(named, hardware)
    same = Goal(n_ctx=fitted.n_ctx, n_parallel=N_PARALLEL, kv_unified=True)
    free = Goal(n_parallel=N_PARALLEL)
    choices = (
        fitted,
        _ours("edgellm, same job", hardware, (named,), same, oracle),
        _ours("edgellm, free", hardware, candidates, free, oracle),
    )
    return Case(name, f"{machine} + {ram}" if ram else machine, choices, fit_s)


def _candidates(name: str) -> Iterator[Candidate]:
    entry = catalog.find(name)
    for quant in catalog.plannable_quants(entry):
        header, spec = catalog.model(entry, quant)
        yield Candidate(name, f"{name}-{quant}", quant, spec, spec.file_bytes, headers=(header,))


# ---- llama.cpp's choice


def _fit(candidate: Candidate, hardware: Hardware) -> tuple[Choice, float]:
    answer = _ask_fit(candidate, hardware)
    spec = candidate.spec
    placement = _placement(answer, spec, hardware)
    shape = _shape(answer.n_ctx)
    setup = Setup(spec, shape, placement, hardware, load_profiles().speed)
    host_bytes = sum(part or 0 for part in msgspec.structs.astuple(answer.rows[-1]))
    free = hardware.host.free_bytes or hardware.host.total_bytes
    note = "" if answer.status == 0 else "fit reports a failure"
    if host_bytes > free:
        note = f"does not run: {format_bytes(host_bytes)} on the host, {format_bytes(free)} free"
    return Choice(
        "llama.cpp --fit",
        candidate.quant,
        "f16",
        answer.n_ctx,
        _told(placement, spec),
        decode_tok_s(setup).p50,
        prefill_tok_s(setup).p50,
        note,
    ), answer.seconds


def _ask_fit(candidate: Candidate, hardware: Hardware) -> FitAnswer:
    described = [
        _described(device.pool_id, device.backend, hardware) for device in hardware.accelerators
    ]
    question = ask(0, _shape(0), Placement((_HOST,), -1), hardware)
    with tempfile.TemporaryDirectory() as folder:
        path = write_skeletons(candidate.headers, candidate.spec.n_vocab, Path(folder))
        question = msgspec.structs.replace(
            question, path=str(path), devices=tuple(described), n_batch=2048
        )
        child = Path(__file__).with_name("llama_fit_child.py")
        told = subprocess.run(
            [sys.executable, str(child)],
            input=msgspec.json.encode(FitQuestion(question)),
            capture_output=True,
            check=True,
        )
    return msgspec.json.decode(told.stdout, type=FitAnswer)


_HOST = Share("cpu", "host", (), 0, 0, 0)


def _shape(n_ctx: int) -> ContextShape:
    return ContextShape(n_ctx=n_ctx, n_seq_max=N_PARALLEL, n_ubatch=512, n_outputs_max=N_PARALLEL)


def _described(pool_id: str, backend: str, hardware: Hardware) -> DescribedDevice:
    pool = hardware.pool(pool_id)
    return DescribedDevice(backend, pool.total_bytes, pool.free_bytes or pool.total_bytes)


def _placement(answer: FitAnswer, spec: ModelSpec, hardware: Hardware) -> Placement:
    n_all, devices = spec.n_layers + 1, hardware.accelerators
    n_gpu = n_all if answer.n_gpu_layers < 0 else answer.n_gpu_layers
    split = answer.layers if any(answer.layers) else [_free(d.pool_id, hardware) for d in devices]
    whole, parts = _on_host(answer, spec)
    shares, start = [], n_all - n_gpu
    low = start
    for device, count, row in zip(devices, layer_counts(split, n_gpu), answer.rows, strict=False):
        layers = tuple(range(low, low + count))
        shares.append(
            Share(
                device.id,
                device.pool_id,
                layers,
                *(part or 0 for part in msgspec.structs.astuple(row)),
            )
        )
        low += count
    sizes = (part or 0 for part in msgspec.structs.astuple(answer.rows[-1]))
    host = Share("cpu", hardware.host.id, tuple(range(start)), *sizes, 0, whole, parts)
    return Placement((*shares, host), n_gpu, tuple(split), len(whole))


def _on_host(answer: FitAnswer, spec: ModelSpec) -> tuple[tuple[int, ...], tuple[ExpertPart, ...]]:
    """Layers whose experts the CPU has, and those of which it has some matrices."""
    whole, parts = [], []
    for pattern, device in answer.overrides:
        found = _OVERRIDE.match(pattern)
        if not found:
            raise ValueError(f"llama.cpp's fit names tensors as nobody knows: {pattern}")
        layer, named = int(found[1]), found[2].split("|")
        if device >= 0 or layer >= spec.n_layers:
            continue  # another device's; fit counts the head, which has none
        matrices = tuple(m for m in spec.layers[layer].expert_matrices if m in named)
        if matrices == spec.layers[layer].expert_matrices:
            whole.append(layer)
        else:
            parts.append(ExpertPart(layer, matrices))
    return tuple(sorted(whole)), tuple(parts)


def _free(pool_id: str, hardware: Hardware) -> float:
    pool = hardware.pool(pool_id)
    return float(pool.free_bytes or pool.total_bytes)


# ---- ours


def _ours(
    who: str,
    hardware: Hardware,
    candidates: tuple[Candidate, ...],
    goal: Goal,
    oracle: LlamaOracle,
) -> Choice:
    try:
        plan = choose(hardware, candidates, goal, load_profiles(), oracle)
    except DoesNotFit as error:
        return Choice(who, candidates[0].quant, "", goal.n_ctx or 0, "", None, None, str(error))
    spec = next(c.spec for c in candidates if c.quant == plan.quant)
    return Choice(
        who,
        plan.quant,
        plan.kv_type_k,
        plan.n_ctx,
        _told(plan.placement, spec),
        plan.decode_tok_s.p50 if plan.decode_tok_s else None,
        plan.prefill_tok_s.p50 if plan.prefill_tok_s else None,
        _memory(plan),
    )


def _memory(plan: Plan) -> str:
    *devices, host = plan.shares
    parts = [f"{share.total_bytes / GIB:.1f}" for share in devices]
    return f"{' + '.join(parts) or '–'} GiB on devices, {host.total_bytes / GIB:.1f} on the host"


def _told(placement: Placement, spec: ModelSpec) -> str:
    *devices, host = placement.shares
    counts = "+".join(str(len(share.layers)) for share in devices)
    text = f"{counts or 'no'} of {spec.n_layers + 1} layers"
    if host.expert_layers:
        text += f", experts of {len(host.expert_layers)} on the CPU"
    for part in host.expert_parts:
        text += f", {' and '.join(part.matrices)} of layer {part.layer}"
    return text


# ---- printing


def _print(case: Case) -> None:
    print(f"\n{case.model} on {case.machine}   (--fit took {case.fit_s:.1f} s)")
    for choice in case.choices:
        decode, prefill = (
            "–" if rate is None else f"{rate:,.1f}"
            for rate in (choice.decode_tok_s, choice.prefill_tok_s)
        )
        print(
            f"  {choice.who:<18} {choice.quant:<7} {choice.kv:<5} {choice.n_ctx:>8,} tokens"
            f" {decode:>7} tok/s {prefill:>8} prefill  {choice.placement}  {choice.note}"
        )
    sys.stdout.flush()


def _print_summary(cases: list[Case]) -> None:
    """A speed counts as different from 1 % on, as another's plan counts only when it runs."""
    same = [(case.choices[0], case.choices[1]) for case in cases]
    ratios = [_ratio(ours, theirs) for theirs, ours in same]
    print(
        f"\n{len(cases)} cases, the same job: edgellm's plan is faster in "
        f"{sum(ratio > 1.01 for ratio in ratios)}, slower in "
        f"{sum(ratio < 0.99 for ratio in ratios)}; "
        f"--fit's does not run in {sum(bool(theirs.note) for theirs, _ in same)}"
    )
    longer = sum(case.choices[2].n_ctx > case.choices[0].n_ctx for case in cases)
    print(f"freely: a longer context in {longer}")


def _ratio(ours: Choice, theirs: Choice) -> float:
    if theirs.note or not theirs.decode_tok_s:
        return float("inf") if ours.decode_tok_s else 1.0
    return (ours.decode_tok_s or 0.0) / theirs.decode_tok_s


if __name__ == "__main__":
    sys.exit(main())
