"""What an oracle is asked about: machines, placements, contexts, candidates."""

from pathlib import Path

from edgellm.models.known.catalog import find
from edgellm.models.known.shapes import shape_header
from edgellm.models.local import read_headers
from edgellm.models.spec import model_spec
from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import Candidate, Placement, Share
from edgellm.units import GIB

CPU = Cpu("a CPU", 8, 16, ())
HOST = Share("cpu", "host", (), 0, 0, 0)
CPU_ONLY = Placement((HOST,), 0)


def machine(*sizes_gib: int, backend="cuda") -> Hardware:
    devices = [Device(f"d{i}", "?", "?", backend, f"d{i}") for i in range(len(sizes_gib))]
    pools = [
        MemoryPool(f"d{i}", "dedicated", size * GIB, size * GIB) for i, size in enumerate(sizes_gib)
    ]
    host = MemoryPool("host", "host", 64 * GIB, 64 * GIB)
    return Hardware((*devices, Device("cpu", "?", "?", "cpu", "host")), (*pools, host), CPU)


def placement(n_devices: int, **changes) -> Placement:
    shares = tuple(Share(f"d{i}", f"d{i}", (), 0, 0, 0) for i in range(n_devices))
    return Placement((*shares, HOST), **({"n_gpu_layers": 999} | changes))


def shape(n_ctx=4096, n_seq_max=1, **changes) -> ContextShape:
    values = {"n_ubatch": 512, "n_outputs_max": n_seq_max} | changes
    return ContextShape(n_ctx=n_ctx, n_seq_max=n_seq_max, **values)


def candidate(path: Path) -> Candidate:
    headers = read_headers(path)
    spec = model_spec(headers, path.name)
    return Candidate(path.name, path.name, spec.quant, spec, spec.file_bytes, headers=headers)


def of_catalog(name: str, quant: str) -> Candidate:
    header = shape_header(find(name).shape, quant)
    spec = model_spec((header,), name)
    return Candidate(name, name, quant, spec, spec.file_bytes, headers=(header,))
