"""How long `edgellm plan` takes for a repository of 20 quantizations, beside the network.

    python scripts/bench/plan_hub.py HEADER.gguf [--on BOARD] [--repeats 5]

HEADER.gguf is a real model's file or its header alone. A hub on loopback (tests/hub_server.py)
offers it in twenty quantizations, each with that header's keys and vocabulary, tensor types by the
rules of its mix, and as many bytes as its tensors would have; only their headers are ever sent.
Every run is a program of its own and asks the hub anew. Before the first nothing is cached; the
later ones find the probe's answers and llama.cpp's figures.
"""

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from gguf_files import text
from hub_server import HubServer

from edgellm.models.gguf.header import GGUFHeader
from edgellm.models.known.mix import MIXES, MixFacts, NamedShape, mix_types
from edgellm.models.local import read_header
from edgellm.models.quants import BY_NAME, FILE_TYPES, tensor_bytes
from edgellm.units import MIB

REPO = "org/model-GGUF"
# Publishers' variants of a mix; what they raise is not public, so they stand as the mix itself.
LABELS = {label: label for label in MIXES} | {
    f"{label}_L": f"{label}{more}"
    for label, more in (("Q6_K", ""), ("Q5_K", "_M"), ("Q4_K", "_M"), ("Q2_K", ""))
}
_FILE_TYPE = b"general.file_type"


class Hollow(bytes):
    """A file of `size_bytes` that is zeros behind these bytes."""

    size_bytes: int

    def __len__(self) -> int:
        return self.size_bytes

    def __getitem__(self, part: slice) -> bytes:  # type: ignore[override]
        start, stop, _ = part.indices(self.size_bytes)
        return super().__getitem__(slice(start, stop)).ljust(max(0, stop - start), b"\0")


def quantized(keys: bytes, header: GGUFHeader, mix: str) -> Hollow:
    """`keys`: the file's bytes up to its first tensor's record."""
    named = [NamedShape(tensor.name, tensor.shape) for tensor in header.tensors]
    arch = header.architecture
    heads = header.need_integer(f"{arch}.attention.head_count")
    facts = MixFacts(
        n_layers=header.need_integer(f"{arch}.block_count"),
        n_gqa=heads // (header.integer(f"{arch}.attention.head_count_kv") or heads),
        n_expert=header.integer(f"{arch}.expert_count") or 0,
    )
    records, offset = [], 0
    for tensor, kind in zip(named, mix_types(mix, named, facts), strict=True):
        type_id, n_dims = BY_NAME[kind].id, len(tensor.shape)
        shape = struct.pack(f"<I{n_dims}q", n_dims, *tensor.shape)
        records.append(text(tensor.name) + shape + struct.pack("<IQ", type_id, offset))
        offset += -(-tensor_bytes(type_id, tensor.shape) // header.alignment) * header.alignment
    whole = _labelled(keys, mix) + b"".join(records)
    made = Hollow(whole + bytes(-len(whole) % header.alignment))
    made.size_bytes = bytes.__len__(made) + offset
    return made


def _labelled(keys: bytes, mix: str) -> bytes:
    numbers = {label: number for number, label in FILE_TYPES.items()}
    at = keys.find(_FILE_TYPE)
    if at < 0 or mix not in numbers:
        return keys
    at += len(_FILE_TYPE) + 4  # behind the value's type
    return keys[:at] + struct.pack("<I", numbers[mix]) + keys[at + 4 :]


def keys_of(path: Path, header: GGUFHeader) -> bytes:
    data = path.open("rb").read(header.data_offset)
    return data[: data.index(text(header.tensors[0].name), len(data) // 2)]


def took_s(environment: dict[str, str], on: str | None) -> float:
    words = ["plan", f"hf.co/{REPO}", "--json", *(("--on", on) if on else ())]
    began_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "edgellm", *words], env=environment, capture_output=True, check=False
    )
    seconds = time.perf_counter() - began_s
    if done.returncode:
        sys.exit(done.stderr.decode())
    print(f"  {seconds:.2f} s, {json.loads(done.stdout)['plan']['quant']}", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("header", type=Path)
    parser.add_argument("--on")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    header = read_header(given.header)
    keys = keys_of(given.header, header)
    with HubServer() as hub, tempfile.TemporaryDirectory() as home:
        for label, mix in LABELS.items():
            hub.add(REPO, f"model-{label}.gguf", quantized(keys, header, mix))
        keep = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        environment = {**keep, "HOME": home, "HF_ENDPOINT": hub.endpoint}
        first_s = took_s(environment, given.on)
        n_requests, sent_mib = len(hub.requests), hub.sent_bytes / MIB
        again = [took_s(environment, given.on) for _ in range(given.repeats)]
    print(f"{len(LABELS)} files: {n_requests} requests, {sent_mib:.1f} MiB a plan")
    print(f"first {first_s:.2f} s, again {statistics.median(again):.2f} s")


if __name__ == "__main__":
    main()
