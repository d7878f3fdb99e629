"""Several devices for real: what a split plan says of each, against what llama.cpp takes there.

    python scripts/bench/multi_device.py --source LLAMA_CPP --model GGUF [--model GGUF ...]

No machine at hand has several cards, so each device is a ggml-rpc server of its own on this
machine's loopback: llama.cpp gives it layers, cache and compute and logs the bytes, as it would of
a card. edgellm never carries that backend (it executes what the network says), so it is
compiled here, into a scratch folder, from LLAMA_CPP: the llama.cpp folder of the source package of
the llama-cpp-python that is installed (`pip download --no-binary :all: llama-cpp-python`, vendor/).

Plans are uneven on purpose: two and three servers, with and without layers and experts that stay
on the CPU. A server has neither pinned memory nor op_offload. Figures are weights/cache/compute in
MiB. Of the host's weights only what the plan counts is held against the log, which tells the mapped
stretch of the file there, other devices' tensors included. The bound is 1 % of a device's sum,
or what llama.cpp's log rounds away (0.005 MiB a figure); the exit code is 1 beyond it.
"""

import argparse
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import llama_cpp
import msgspec

from edgellm.models.local import model_name, read_headers
from edgellm.models.spec import ModelSpec, model_spec
from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool
from edgellm.runner.messages import DeviceMemory
from edgellm.runner.oracle.oracle import LlamaOracle
from edgellm.selector.memory.layout import layout_of
from edgellm.selector.memory.memory import needs
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.oracle import BufferBytes
from edgellm.selector.placing.proportions import tensor_split
from edgellm.selector.plan import Candidate, ExpertPart, Placement, Plan, Share
from edgellm.units import GIB, MIB

N_CTX, N_SEQ, N_UBATCH = 8_192, 2, 512
PARTS = ((2, 1), (1, 3), (4, 2, 1))  # of the layers that leave the CPU, by server
LIBRARY = "libggml-rpc.so"
BOUND_RATIO = 0.01
ROUNDING_BYTES = 0.005 * MIB


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    parts: tuple[int, ...]
    n_host_layers: int
    n_cpu_moe: int
    cut: tuple[int, ...] = ()  # layers of which the CPU has two matrices of the experts


def main() -> int:
    args = _arguments()
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder, LlamaOracle(Path(folder) / "answers") as oracle:
        build = Path(folder)
        _compile(Path(args.source), build)
        for path in map(Path, args.model):
            headers = read_headers(path)
            spec = model_spec(headers, model_name(path))
            candidate = Candidate(spec.name, path.name, spec.quant, spec, 0, headers=headers)
            for case in _cases(spec):
                worst = max(worst, _run(case, path, candidate, build, oracle))
    print(f"\nthe worst is {worst:.2f} of the bound")
    return int(worst > 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", required=True, metavar="LLAMA_CPP")
    parser.add_argument("--model", required=True, action="append", metavar="GGUF")
    return parser.parse_args()


def _cases(spec: ModelSpec) -> Iterator[Case]:
    for parts in PARTS:
        ratio = ":".join(map(str, parts))
        yield Case(f"{ratio}, all layers", parts, 0, 0)
        yield Case(f"{ratio}, a third on the CPU", parts, spec.n_layers // 3, 0)
        if spec.n_expert:
            half, last = spec.n_layers // 2, spec.n_layers - 1
            yield Case(f"{ratio}, half the experts on the CPU", parts, 0, half)
            yield Case(f"{ratio}, and parts of two layers' more", parts, 0, half - 1, (half, last))


# ---- the servers


def _compile(source: Path, build: Path) -> None:
    """ggml-rpc alone, against the libraries that edgellm itself runs on."""
    ggml = source / "ggml"
    libraries = Path(llama_cpp.__file__).parent / "lib"
    command = [
        "g++", "-O1", "-std=c++17", "-fPIC", "-shared", "-DGGML_SHARED", "-DGGML_BACKEND_SHARED",
        "-DGGML_BACKEND_BUILD", f"-I{ggml}/include", f"-I{ggml}/src", f"-L{libraries}",
        *(str(ggml / "src" / "ggml-rpc" / name) for name in ("ggml-rpc.cpp", "transport.cpp")),
        "-lggml-base", "-o", str(build / LIBRARY),
    ]  # fmt: skip
    subprocess.run(command, check=True)


@contextlib.contextmanager
def _servers(build: Path, count: int) -> Iterator[list[str]]:
    """`count` servers on loopback; their endpoints."""
    ports = [_free_port() for _ in range(count)]
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                _child("rpc_server_child.py"),
                str(build / LIBRARY),
                f"127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for port in ports
    ]
    try:
        for port in ports:
            _wait_for(port)
        yield [f"127.0.0.1:{port}" for port in ports]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no rpc-server listens on port {port}")


# ---- plan and load


def _run(case: Case, path: Path, candidate: Candidate, build: Path, oracle: LlamaOracle) -> float:
    """The worst device, as a part of the bound."""
    hardware = _machine(len(case.parts))
    shape = ContextShape(N_CTX, N_SEQ, N_UBATCH, N_SEQ)
    placement = _placement(candidate.spec, case)
    planned = needs(candidate.spec, shape, layout_of(placement, hardware))
    asked = oracle.measure(candidate, shape, placement, hardware)
    plan = _plan(candidate, placement)
    with _servers(build, len(case.parts)) as endpoints:
        taken = _load(build, path, plan, endpoints)
    print(f"\n{candidate.name}, {case.name}")
    worst = 0.0
    rows = zip(placement.shares, planned, asked or planned, [*endpoints, None], strict=True)
    for share, ours, theirs, endpoint in rows:
        real = _of_device(taken, endpoint)
        if endpoint is None:  # mapped pages: the file from the first of its tensors to the last
            real = replace(real, weight_bytes=min(real.weight_bytes, ours.weight_bytes))
        worst = max(worst, _badness(ours, real))
        print(
            f"  {share.device_id:<5} {len(share.layers):>3} layers  planned {_line(ours)}"
            f"  oracle {_line(theirs) if asked else '–'}  taken {_line(real)}"
        )
    sys.stdout.flush()
    return worst


def _placement(spec: ModelSpec, case: Case) -> Placement:
    n_all = spec.n_layers + 1
    n_gpu, total = n_all - case.n_host_layers, sum(case.parts)
    ends = [
        case.n_host_layers + round(n_gpu * sum(case.parts[:i]) / total)
        for i in range(len(case.parts) + 1)
    ]
    shares = [
        Share(f"rpc{i}", f"rpc{i}", tuple(range(low, high)), 0, 0, 0)
        for i, (low, high) in enumerate(pairwise(ends))
    ]
    experts = tuple(range(case.n_host_layers, case.n_cpu_moe))
    cut = tuple(ExpertPart(il, spec.layers[il].expert_matrices[-2:]) for il in case.cut)
    host = Share(
        "cpu", "host", tuple(range(case.n_host_layers)), 0, 0, 0,
        expert_layers=experts, expert_parts=cut,
    )  # fmt: skip
    counts = [len(share.layers) for share in shares]
    return Placement((*shares, host), n_gpu, tensor_split(counts), case.n_cpu_moe, op_offload=False)


def _machine(count: int) -> Hardware:
    devices = [Device(f"rpc{i}", "?", "ggml-rpc server", "rpc", f"rpc{i}") for i in range(count)]
    pools = [MemoryPool(f"rpc{i}", "dedicated", GIB, GIB) for i in range(count)]
    host = MemoryPool("host", "host", 8 * GIB, 8 * GIB)
    cpu = Device("cpu", "cpu", "?", "cpu", "host")
    return Hardware((*devices, cpu), (*pools, host), Cpu("?", 1, 1, ()))


def _plan(candidate: Candidate, placement: Placement) -> Plan:
    return Plan(
        model=candidate.name, file=candidate.file, quant=candidate.quant, placement=placement,
        n_ctx=N_CTX, n_ctx_seq=N_CTX // N_SEQ, n_parallel=N_SEQ, n_seq_max=N_SEQ,
        kv_type_k="f16", kv_type_v="f16", kv_unified=True, n_batch=2048, n_ubatch=N_UBATCH,
        n_outputs_max=N_SEQ, n_threads=1, flash_attention=None, swa_full=False,
        devices=tuple(f"RPC{i}" for i in range(len(placement.shares) - 1)),
    )  # fmt: skip


def _load(build: Path, path: Path, plan: Plan, endpoints: list[str]) -> list[DeviceMemory]:
    told = subprocess.run(
        [sys.executable, _child("rpc_load_child.py"), str(build / LIBRARY), str(path), *endpoints],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(told.stdout, type=list[DeviceMemory])


def _child(name: str) -> str:
    return str(Path(__file__).with_name(name))


def _of_device(taken: list[DeviceMemory], endpoint: str | None) -> BufferBytes:
    """Of the server at `endpoint`, or of everything that is none."""
    total = [0, 0, 0]
    for buffer in taken:
        is_own = not buffer.name.startswith("RPC") if endpoint is None else endpoint in buffer.name
        if is_own:
            each = (buffer.model_bytes, buffer.context_bytes, buffer.compute_bytes)
            total = [a + b for a, b in zip(total, each, strict=True)]
    return BufferBytes(*total)


def _badness(planned: BufferBytes, taken: BufferBytes) -> float:
    difference, whole = abs(_total(planned) - _total(taken)), _total(taken)
    return difference / max(BOUND_RATIO * whole, 3 * ROUNDING_BYTES)


def _total(part: BufferBytes) -> int:
    return part.weight_bytes + part.kv_bytes + part.compute_bytes


def _line(part: BufferBytes) -> str:
    each = (part.weight_bytes, part.kv_bytes, part.compute_bytes)
    return "/".join(f"{n_bytes / MIB:.2f}" for n_bytes in each)


if __name__ == "__main__":
    sys.exit(main())
