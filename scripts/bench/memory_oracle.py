"""edgellm's memory arithmetic against llama.cpp's own figures, cell by cell.

    python scripts/bench/memory_oracle.py --models FOLDER [--model NAME] [--worst 5] [--json FILE]

FOLDER holds GGUF files, or headers.tar.gz with header-only ones. A cell is one model in one context
on one described machine: 4k/32k/131k tokens × KV f16/q8_0/q4_0 × 1/4/16 sequences, unified and
split × all layers on the devices, half of them, or all with the experts on the CPU × one device,
two of 24 and 12 GiB, four of 24, 24, 16 and 8. Held against each other are weights, KV cache and
compute of each device and of the host. The bound is 1 % of the device's sum or 16 MiB, whichever
is more; the exit code is 1 when a cell is beyond it.

Flash attention is llama.cpp's to decide ("auto"), by whether the device has a kernel for the heads.
Left out: a quantized cache where its blocks don't divide the heads, and files that are no models.
"""

import argparse
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path

from edgellm.errors import EdgellmError
from edgellm.models.local import model_name, read_headers
from edgellm.models.names import shard_names
from edgellm.models.spec import ModelSpec, model_spec
from edgellm.probe.hardware import Backend, Cpu, Device, Hardware, MemoryPool
from edgellm.runner.oracle.oracle import LlamaOracle
from edgellm.selector.memory.layout import layout_of
from edgellm.selector.memory.memory import needs
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.oracle import BufferBytes
from edgellm.selector.placing.proportions import tensor_split
from edgellm.selector.plan import Candidate, Placement, Share
from edgellm.units import GIB, MIB

CONTEXTS = (4_096, 32_768, 131_072)
KV_TYPES = ("f16", "q8_0", "q4_0")
SEQUENCES = ((1, True), (4, True), (4, False), (16, True), (16, False))  # n_seq_max, kv_unified
OFFLOADS = ("full", "half", "experts")
DEVICES_GIB = ((24,), (24, 12), (24, 24, 16, 8))
BOUND_RATIO, BOUND_BYTES = 0.01, 16 * MIB


@dataclass(frozen=True, slots=True)
class Error:
    """Of one device in one cell; positive: the arithmetic says more than llama.cpp."""

    model: str
    cell: str
    device: str
    weight_bytes: int
    kv_bytes: int
    compute_bytes: int
    oracle: BufferBytes

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.kv_bytes + self.compute_bytes

    @property
    def ratio(self) -> float:
        of = self.oracle.weight_bytes + self.oracle.kv_bytes + self.oracle.compute_bytes
        return abs(self.total_bytes) / of if of else 0.0

    @property
    def badness(self) -> float:
        """1 is at the bound: a device must miss both limits to be beyond it."""
        return min(self.ratio / BOUND_RATIO, abs(self.total_bytes) / BOUND_BYTES)

    def line(self) -> str:
        parts = (
            f"W {_mib(self.weight_bytes)}, KV {_mib(self.kv_bytes)}, C {_mib(self.compute_bytes)}"
        )
        return (
            f"{_mib(self.total_bytes):>10} MiB {self.ratio:7.2%}  {self.cell} {self.device}"
            f"  ({parts}; llama.cpp's C {self.oracle.compute_bytes / MIB:.1f})"
        )


def main() -> int:
    args = _arguments()
    worst: list[Error] = []
    dump: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as scratch, LlamaOracle() as oracle:
        for path in _files(Path(args.models), Path(scratch), args.model):
            errors = list(_of_model(path, oracle, args))
            if not errors:
                continue
            errors.sort(key=lambda error: -error.badness)
            worst += errors[: args.worst]
            dump += [asdict(error) | {"total_bytes": error.total_bytes} for error in errors]
            _print_model(errors, args.worst)
    if args.json:
        Path(args.json).write_text(json.dumps(dump, indent=1))
    return _print_worst(worst, len(dump), args.worst)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", required=True, metavar="FOLDER")
    parser.add_argument("--model", default="", help="only files whose name contains this")
    parser.add_argument("--backend", default="cuda", help="of the described devices")
    parser.add_argument("--limit", type=int, help="so many cells of each model, evenly spread")
    parser.add_argument("--worst", type=int, default=3, help="cells shown of each model")
    parser.add_argument("--json", metavar="FILE", help="write every device of every cell here")
    return parser.parse_args()


def _files(folder: Path, scratch: Path, wanted: str) -> Iterator[Path]:
    if (folder / "headers.tar.gz").exists():
        with tarfile.open(folder / "headers.tar.gz") as archive:
            archive.extractall(scratch, filter="data")
    for path in sorted((*scratch.glob("*.gguf"), *folder.glob("*.gguf"))):
        if wanted in path.name and shard_names(path.name)[0] == path.name:
            yield path


def _of_model(path: Path, oracle: LlamaOracle, args: argparse.Namespace) -> Iterator[Error]:
    try:
        headers = read_headers(path)
        spec = model_spec(headers, model_name(path))
    except EdgellmError:
        return  # a projector, an adapter
    candidate = Candidate(spec.name, path.name, spec.quant, spec, spec.file_bytes, headers=headers)
    cells = list(_cells(spec, args.backend))
    step = max(1, len(cells) // args.limit) if args.limit else 1
    for name, shape, placement, hardware in cells[::step]:
        measured = oracle.measure(candidate, shape, placement, hardware)
        if measured is None:
            print(f"{spec.name}: llama.cpp gives no answer for {name}", file=sys.stderr)
            continue
        ours = needs(spec, shape, layout_of(placement, hardware), exact=True)
        for share, mine, theirs in zip(placement.shares, ours, measured, strict=True):
            yield Error(
                spec.name,
                name,
                share.device_id,
                mine.weight_bytes - theirs.weight_bytes,
                mine.kv_bytes - theirs.kv_bytes,
                mine.compute_bytes - theirs.compute_bytes,
                theirs,
            )


def _cells(
    spec: ModelSpec, backend: Backend
) -> Iterator[tuple[str, ContextShape, Placement, Hardware]]:
    offloads = OFFLOADS if any(layer.expert_bytes for layer in spec.layers) else OFFLOADS[:2]
    every = product(CONTEXTS, KV_TYPES, SEQUENCES, offloads, DEVICES_GIB)
    for n_ctx, kv, (n_seq, unified), offload, sizes in every:
        if kv != "f16" and not _takes_blocks(spec):
            continue
        shape = ContextShape(
            n_ctx=n_ctx, n_seq_max=n_seq, n_ubatch=512, n_outputs_max=n_seq,
            kv_type_k=kv, kv_type_v=kv, kv_unified=unified, embedding=spec.is_embedding,
        )  # fmt: skip
        layout = "unified" if unified else "split"
        name = f"{n_ctx // 1024}k {kv} {n_seq} {layout}, {offload}, {len(sizes)} devices"
        yield name, shape, _placement(spec, offload, sizes), _machine(sizes, backend)


def _takes_blocks(spec: ModelSpec) -> bool:
    """Blocks of 32 have to divide the heads."""
    heads = (size for layer in spec.layers for size in (layer.head_dim_k, layer.head_dim_v))
    return all(size % 32 == 0 for size in heads)


def _placement(spec: ModelSpec, offload: str, sizes: tuple[int, ...]) -> Placement:
    n_all = spec.n_layers + 1
    n_gpu = n_all // 2 if offload == "half" else n_all
    bounds = [round(n_gpu * sum(sizes[:i]) / sum(sizes)) for i in range(len(sizes) + 1)]
    start = n_all - n_gpu
    shares = [
        Share(f"d{i}", f"d{i}", tuple(range(start + low, start + high)), 0, 0, 0)
        for i, (low, high) in enumerate(pairwise(bounds))
        if high > low
    ]
    counts = [len(share.layers) for share in shares]
    host = Share("cpu", "host", tuple(range(start)), 0, 0, 0)
    n_cpu_moe = spec.n_layers if offload == "experts" else 0
    return Placement((*shares, host), n_gpu, tensor_split(counts), n_cpu_moe)


def _machine(sizes: tuple[int, ...], backend: Backend) -> Hardware:
    devices = tuple(Device(f"d{i}", "?", "?", backend, f"d{i}") for i in range(len(sizes)))
    pools = tuple(
        MemoryPool(f"d{i}", "dedicated", size * GIB, size * GIB) for i, size in enumerate(sizes)
    )
    host = MemoryPool("host", "host", 64 * GIB, 64 * GIB)
    return Hardware(
        (*devices, Device("cpu", "?", "?", "cpu", "host")), (*pools, host), Cpu("?", 8, 16, ())
    )


def _print_model(errors: list[Error], worst: int) -> None:
    beyond = sum(error.badness > 1 for error in errors)
    print(f"\n{errors[0].model}: {len(errors)} devices in cells, {beyond} beyond the bound")
    for error in errors[:worst]:
        print("  " + error.line())
    sys.stdout.flush()


def _print_worst(worst: list[Error], n_devices: int, shown: int) -> int:
    worst.sort(key=lambda error: -error.badness)
    print(f"\nthe worst of {n_devices:,} devices in cells:")
    for error in worst[:shown]:
        print(f"  {error.model}\n  " + error.line())
    return int(any(error.badness > 1 for error in worst))


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / MIB:+.1f}"


if __name__ == "__main__":
    sys.exit(main())
