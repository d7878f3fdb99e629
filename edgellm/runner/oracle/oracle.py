"""llama.cpp as the judge of its own memory, on machines that may not exist.

`LlamaOracle` is selector.oracle's Oracle: it writes the candidate's headers as skeleton files, asks
llama.cpp about them in a child process, and keeps the answers. Cheap to make: nothing is started,
written or read before the first question, or before one is expected.

Not asked, since virtual devices can't stand in for them: `--split-mode row` and `tensor`, and
candidates without headers. Then, and whenever llama.cpp gives no answer, it is None.
"""

import hashlib
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec
import platformdirs

from edgellm.models.gguf.skeleton import skeleton, write_skeletons
from edgellm.models.quants import BY_NAME
from edgellm.probe.hardware import Hardware
from edgellm.runner.build import llama_build
from edgellm.runner.oracle.cache import Answer, OracleCache
from edgellm.runner.oracle.messages import DescribedDevice, Question
from edgellm.runner.oracle.process import OracleProcess
from edgellm.selector.memory.compute import output_bytes
from edgellm.selector.memory.layout import HOST_ONLY
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.memory.weights import weight_bytes
from edgellm.selector.oracle import BufferBytes
from edgellm.selector.plan import Candidate, Placement

_AUTO, _OFF = -1, 0  # enum llama_flash_attn_type, llama.h
_MOST_FAULTS: Final = 2  # deaths over one header before it is let be
_ANY_SIZE: Final = 1 << 36  # of a device whose size decides nothing


@dataclass(slots=True)
class _Model:
    digest: str
    path: Path | None = None  # None until it is written
    faults: int = 0


class LlamaOracle:
    """`folder` keeps the answers; the user's cache folder when not said."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._cache: OracleCache | None = None
        self._process = OracleProcess()
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._models: dict[int, tuple[Candidate, _Model]] = {}
        self._turn = threading.Lock()  # a gateway plans in several threads

    def measure(
        self, candidate: Candidate, shape: ContextShape, placement: Placement, hardware: Hardware
    ) -> tuple[BufferBytes, ...] | None:
        if not candidate.headers or placement.split_mode != "layer":
            return None
        question = ask(candidate.spec.n_layers, shape, placement, hardware)
        with self._turn:
            model = self._model(candidate)
            rows = self._kept().get(model.digest, question)
            rows = rows or self._ask(candidate, model, question)
        if rows is None or len(rows) != len(placement.shares):
            return None
        return _with_output(candidate, shape, rows)

    def expect(self, candidate: Candidate) -> None:
        """A question about it will come: where it was never asked about, the child comes up
        meanwhile."""
        if not candidate.headers:
            return
        with self._turn:
            if not self._kept().knows(self._model(candidate).digest):
                self._process.start()

    def close(self) -> None:
        with self._turn:
            self._process.close()
            scratch, self._scratch = self._scratch, None
            self._models.clear()
            if scratch:
                scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _model(self, candidate: Candidate) -> _Model:
        """By identity: a search asks about the same candidate again and again, and hashing its
        headers takes a millisecond. The candidate is kept, so its id is not given away."""
        known = self._models.get(id(candidate))
        if known is None:
            digest = hashlib.sha256()
            for header in candidate.headers:
                digest.update(skeleton(header, candidate.spec.n_vocab))
            known = candidate, _Model(digest.hexdigest()[:32])
            self._models[id(candidate)] = known
        return known[1]

    def _kept(self) -> OracleCache:
        if self._cache is None:
            folder = self._folder or platformdirs.user_cache_path("edgellm") / "oracle"
            self._cache = OracleCache(folder, llama_build())
        return self._cache

    def _ask(self, candidate: Candidate, model: _Model, question: Question) -> Answer | None:
        if model.faults >= _MOST_FAULTS:
            return None
        try:
            path = self._written(candidate, model)
        except OSError:
            model.faults = _MOST_FAULTS  # no room, or a file system without sparse files
            return None
        answer = self._process.ask(_at(question, path))
        if answer is None:
            model.faults += 1
            return None
        if answer.rows:
            self._kept().put(model.digest, question, answer.rows)
        return answer.rows or None

    def _written(self, candidate: Candidate, model: _Model) -> Path:
        if model.path is None:
            if self._scratch is None:
                self._scratch = tempfile.TemporaryDirectory(prefix="edgellm-oracle-")
            folder = Path(self._scratch.name) / model.digest
            folder.mkdir(exist_ok=True)
            model.path = write_skeletons(candidate.headers, candidate.spec.n_vocab, folder)
        return model.path


def ask(n_layers: int, shape: ContextShape, placement: Placement, hardware: Hardware) -> Question:
    """The question without the path: what the answer depends on, and nothing else."""
    described = tuple(_described(placement, hardware))
    return Question(
        path="",
        devices=described,
        n_layers=n_layers,
        n_gpu_layers=placement.n_gpu_layers,
        tensor_split=placement.tensor_split if len(described) > 1 else (),
        n_cpu_moe=min(placement.n_cpu_moe, n_layers),
        expert_parts=placement.expert_parts,
        no_host=placement.no_host,
        op_offload=placement.op_offload,
        n_ctx=shape.n_ctx,
        n_batch=shape.n_batch,
        n_ubatch=shape.n_ubatch,
        n_seq_max=shape.n_seq_max,
        n_outputs_max=0 if shape.embedding else shape.n_outputs_max,
        n_rs_seq=shape.n_rs_seq,
        type_k=BY_NAME[shape.kv_type_k].id,
        type_v=BY_NAME[shape.kv_type_v].id,
        flash_attention=_AUTO if shape.flash_attention else _OFF,
        kv_unified=shape.kv_unified,
        swa_full=shape.swa_full,
        embeddings=shape.embedding,
    )


def _described(placement: Placement, hardware: Hardware) -> list[DescribedDevice]:
    """Sizes only where llama.cpp splits by them, so that one answer serves many machines."""
    by_size = len(placement.shares) > 2 and not placement.tensor_split
    described = []
    for device_id in placement.device_ids:
        device = hardware.device(device_id)
        pool = hardware.pool(device.pool_id)
        free = pool.total_bytes if pool.free_bytes is None else pool.free_bytes
        sizes = (pool.total_bytes, free) if by_size else (_ANY_SIZE, _ANY_SIZE)
        described.append(DescribedDevice(device.backend, *sizes))
    return described


def _with_output(
    candidate: Candidate, shape: ContextShape, rows: Answer
) -> tuple[BufferBytes, ...]:
    """llama.cpp's breakdown leaves its output buffer out; the log's lines leave out weights."""
    *devices, host = rows
    output = output_bytes(candidate.spec, shape)
    host_weights = host.weight_bytes
    if host_weights is None:
        (host_weights,) = weight_bytes(candidate.spec, HOST_ONLY)
    return (
        *(BufferBytes(row.weight_bytes or 0, row.kv_bytes, row.compute_bytes) for row in devices),
        BufferBytes(host_weights, host.kv_bytes, host.compute_bytes + output),
    )


def _at(question: Question, path: Path) -> Question:
    return msgspec.structs.replace(question, path=str(path))
