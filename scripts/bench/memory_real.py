"""What a plan says of memory, against real loads on this machine's CPU through edgellm's worker.

    python scripts/bench/memory_real.py MODEL.gguf [MODEL.gguf ...] [--ctx 2048]

Each model is planned for the CPU alone, loaded, given a context full of tokens, and looked at.

weights, KV, compute: as llama.cpp logs its buffers, bound 1 %. A mapped buffer is the stretch of
the file from its first to its last tensor; where the CPU's kernels got repacked copies, what they
copied lies in that stretch a second time, so of a stretch counts at most what no copy holds
("repacked" in the table, the file itself being the bound). compute is with the outputs as many as
they get, though room for most of them is made when they are first asked for (runner/loadlog.py).

RSS: the process's resident memory after the context was full, beside the plan's sum on the host,
its own overhead included, and the repacked copies; bound 3 %, or 4 MiB for files of a few MiB. The
file's pages under copies can be dropped by the kernel, so the plan does not count the copies.
The exit code is 1 when a figure is beyond its bound.
"""

import argparse
import asyncio
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgellm.chat.messages import GenerateParams
from edgellm.errors import EdgellmError
from edgellm.models.local import model_name, read_headers
from edgellm.models.spec import ModelSpec, model_spec
from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool
from edgellm.profiles import load_profiles
from edgellm.runner.account import measured_shares
from edgellm.runner.loadlog import DeviceMemory
from edgellm.runner.supervisor import Supervisor
from edgellm.selector.choose import choose
from edgellm.selector.plan import Candidate, Goal, Plan
from edgellm.units import GIB, KIB, MIB

BOUND_RATIO, RSS_BOUND_RATIO = 0.01, 0.03
ROUNDING_BYTES = 0.006 * MIB  # llama.cpp logs hundredths of a MiB
RSS_BOUND_BYTES = 4 * MIB
N_TOKENS_LEFT = 8


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    planned_bytes: float
    taken_bytes: float
    bound_ratio: float
    bound_bytes: float

    @property
    def badness(self) -> float:
        """1 is at the bound: both limits must be missed to be beyond it."""
        off = abs(self.planned_bytes - self.taken_bytes)
        return min(off / self.bound_bytes, off / (self.bound_ratio * max(1, self.taken_bytes)))

    def text(self) -> str:
        off = self.planned_bytes / self.taken_bytes - 1 if self.taken_bytes else 0.0
        planned, taken = self.planned_bytes / MIB, self.taken_bytes / MIB
        return f"{self.name} {planned:.1f}/{taken:.1f} ({off:+.1%})"


def main() -> int:
    args = _arguments()
    worst = 0.0
    print("planned/taken, MiB")
    for path in map(Path, args.model):
        try:
            name, figures = _figures(path, args.ctx)
        except EdgellmError as error:
            print(f"{path.name}: {error}")
            worst = math.inf
            continue
        worst = max(worst, *(figure.badness for figure in figures))
        print(f"{name:<44}", "  ".join(figure.text() for figure in figures), flush=True)
    print(f"the worst is {worst:.2f} of its bound")
    return int(worst > 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--ctx", type=int, default=2048, metavar="TOKENS")
    return parser.parse_args()


def _this_cpu() -> Hardware:
    """Without its accelerators, and with room for everything: the sums are what is looked at."""
    device = Device("cpu", "?", "this CPU", "cpu", "host", ggml_name="CPU")
    pool = MemoryPool("host", "host", 1024 * GIB, 1024 * GIB, 20e9)
    return Hardware((device,), (pool,), Cpu("?", 2, 2, ()))


def _figures(path: Path, n_ctx: int) -> tuple[str, list[Figure]]:
    """Raises EdgellmError for what is no model, or doesn't load."""
    headers = read_headers(path)
    spec = model_spec(headers, model_name(path))
    candidate = Candidate(spec.name, str(path), spec.quant, spec, spec.file_bytes, headers=headers)
    n_parallel = None if spec.is_embedding else 1  # several texts make a batch
    goal = Goal(n_ctx_seq=min(n_ctx, spec.n_ctx_train), n_parallel=n_parallel)
    plan = choose(_this_cpu(), [candidate], goal, load_profiles())
    memory, rss_bytes = asyncio.run(_loaded(path, spec, plan))
    name = f"{spec.name} ({spec.architecture}, {spec.quant})"
    return name, list(_compared(spec, plan, memory, rss_bytes))


async def _loaded(path: Path, spec: ModelSpec, plan: Plan) -> tuple[tuple[DeviceMemory, ...], int]:
    """What llama.cpp logged, and what the process takes when the context is full."""
    supervisor = Supervisor(str(path), plan)
    await supervisor.start()
    try:
        await _fill(supervisor, spec, plan)
        assert supervisor.ready is not None
        assert supervisor.pid is not None
        return supervisor.ready.memory, _rss_bytes(supervisor.pid)
    finally:
        await supervisor.stop()


async def _fill(supervisor: Supervisor, spec: ModelSpec, plan: Plan) -> None:
    n = plan.n_ctx_seq - N_TOKENS_LEFT
    ids = tuple(3 + i % min(400, spec.n_vocab - 10) for i in range(n))
    if plan.embedding:
        await supervisor.embed((ids,) * (plan.n_batch // n))
        return
    async for _ in supervisor.generate(ids, GenerateParams(max_tokens=N_TOKENS_LEFT // 2)):
        pass


def _compared(
    spec: ModelSpec, plan: Plan, memory: tuple[DeviceMemory, ...], rss_bytes: int
) -> Iterator[Figure]:
    planned = plan.shares[-1]
    (taken,) = measured_shares(memory, plan.placement, _this_cpu())
    copies = sum(row.model_bytes for row in memory if row.name == "CPU_REPACK")
    stretch = sum(row.model_bytes for row in memory if row.name.endswith("_Mapped"))
    assert stretch <= spec.file_bytes
    held = taken.weight_bytes if copies else sum(row.model_bytes for row in memory)
    name = "weights, repacked" if copies else "weights"
    yield Figure(name, planned.weight_bytes, held, BOUND_RATIO, ROUNDING_BYTES)
    yield Figure("KV", planned.kv_bytes, taken.kv_bytes, BOUND_RATIO, ROUNDING_BYTES)
    yield Figure(
        "compute",
        planned.compute_bytes,
        taken.compute_bytes,
        BOUND_RATIO,
        ROUNDING_BYTES * plan.n_outputs_max / plan.n_seq_max,  # outputs are logged as at load
    )
    yield Figure(
        "RSS", planned.total_bytes + copies, rss_bytes, RSS_BOUND_RATIO, RSS_BOUND_BYTES
    )  # fmt: skip


def _rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIB
    raise RuntimeError("this system does not tell a process's memory")


if __name__ == "__main__":
    sys.exit(main())
