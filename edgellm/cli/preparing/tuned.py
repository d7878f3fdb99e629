"""What `edgellm tune` found, kept for the machine, the file, the llama.cpp and the use that it
holds for: what is fastest goes by how long prompts are, and how many conversations there are.

One small file for each; whatever of them changes makes another name, and the old file is no longer
found. Nothing here decides: `serve` takes what was measured, and a flag goes before it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import platformdirs

from edgellm.errors import StorageError
from edgellm.files import write_whole
from edgellm.models.gguf.header import GGUFHeader
from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.runner.build import llama_build
from edgellm.selector.knobs import Knobs
from edgellm.selector.plan import Goal, Plan, Use
from edgellm.selector.search.settings import wished_parallel


@dataclass(frozen=True, slots=True)
class Served:
    """What a model is there for."""

    use: Use
    n_parallel: int  # as wished for, whatever memory allows

    @classmethod
    def of(cls, spec: ModelSpec, goal: Goal) -> "Served":
        workload = load_profiles().workload(goal.use)
        return cls(goal.use, wished_parallel(spec, goal, workload))


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    quant: str
    date: str
    served: Served
    best: Knobs
    start: Knobs  # as the selector had chosen it
    decode_tok_s: float
    prefill_tok_s: float
    gain_ratio: float  # of a typical request's time
    scatter_ratio: float  # of comparisons around their median

    def sentence(self, used: Sequence[str]) -> str | None:
        """`used`: the settings that the plan has from here. They were measured together, so the
        gain is told of all only. None: flags went before each."""
        moved = {name: getattr(self.best, name) for name in used}
        settings = replace(self.start, **moved)
        changes = ", ".join(settings.changes(self.start))
        if not changes:
            return None
        measured = f"measured by edgellm tune --use {self.served.use} on {self.date}: {changes}"
        if settings != self.best:
            return measured
        return f"{measured}: a request takes {self.gain_ratio:.0%} less time"


def find(
    hardware: Hardware,
    headers: Sequence[GGUFHeader],
    served: Served,
    folder: Path | None = None,
) -> Tuned | None:
    """None where nothing was measured, or the chosen plan was already the fastest."""
    path = _path(hardware, headers, served, folder)
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Tuned)
    except (OSError, msgspec.MsgspecError):  # none, or another version's
        return None
    return kept if kept.best != kept.start else None


def keep(
    tuned: Tuned, hardware: Hardware, headers: Sequence[GGUFHeader], folder: Path | None = None
) -> Path:
    """Whole or not at all. Raises StorageError, which tells what was fastest: it took minutes."""
    path = _path(hardware, headers, tuned.served, folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.format(msgspec.json.encode(tuned), indent=2))
    except OSError as error:
        changes = ", ".join(tuned.best.changes(tuned.start)) or "the plan as it is"
        raise StorageError(
            f"what was measured can't be kept in {path.parent}: {error.strerror or error}",
            hint=f"make room for it and tune again; the fastest was {changes}",
        ) from error
    return path


def goal_with(tuned: Tuned, goal: Goal) -> Goal:
    """What was measured, where the user said nothing of it."""
    best, changed = tuned.best, {}
    for name in ("n_threads", "n_ubatch", "flash_attention"):
        if getattr(best, name) != getattr(tuned.start, name) and getattr(goal, name) is None:
            changed[name] = getattr(best, name)
    if best.tensor_split != tuned.start.tensor_split and goal.tensor_split is None:
        changed["tensor_split"] = best.tensor_split
    return replace(goal, **changed, tuned=tuple(changed))


def with_batch(tuned: Tuned, plan: Plan) -> Plan:
    """The batch is no wish that a goal can hold; it costs no memory but its rows."""
    if tuned.best.n_batch == tuned.start.n_batch or plan.embedding:
        return plan
    return replace(plan, n_batch=max(tuned.best.n_batch, plan.n_ubatch, plan.n_seq_max))


def _path(
    hardware: Hardware, headers: Sequence[GGUFHeader], served: Served, folder: Path | None
) -> Path:
    folder = folder or platformdirs.user_cache_path("edgellm") / "tuned"
    return folder / f"{_digest(hardware, headers, served)}.json"


def _digest(hardware: Hardware, headers: Sequence[GGUFHeader], served: Served) -> str:
    """By the tensors' names, types and places: of the same model, no two files have those alike."""
    cpu = hardware.cpu
    digest = hashlib.sha256(llama_build().encode())
    digest.update(repr((served.use, served.n_parallel)).encode())
    digest.update(repr((cpu.name, cpu.n_physical_cores, cpu.n_logical_cores)).encode())
    for device in hardware.devices:
        digest.update(repr((device.id, device.name, device.backend)).encode())
    for header in headers:
        digest.update(repr((header.text("general.name"), header.data_offset)).encode())
        for tensor in header.tensors:
            digest.update(repr((tensor.name, tensor.n_bytes, tensor.offset)).encode())
    return digest.hexdigest()[:32]
