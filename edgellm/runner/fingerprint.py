"""What decides, beside the tokens, what KV cells hold: cells of another are never taken for ours.

A model is known by its size and by samples from all over its files: two that were tuned from the
same one have the same header, and reading all of it would take as long as loading.
"""

import hashlib
from pathlib import Path

from edgellm.models.local import shards
from edgellm.selector.plan import Plan, layout_of

_HEADER_BYTES, _SAMPLE_BYTES, _N_SAMPLES = 1 << 20, 4096, 256


def fingerprint(path: bytes, plan: Plan, n_cells: int, library: str) -> bytes:
    """`n_cells`: over all sequences. With how many these are, it gives llama.cpp's n_ctx_seq, which
    chooses between rotary factors. `library`: whose format a state has."""
    facts = (
        library, plan.kv_type_k, plan.kv_type_v, _attention(plan), plan.kv_unified,
        plan.devices, plan.swa_full, n_cells, plan.batch_invariant,
        None if plan.kv_unified else plan.n_seq_max,  # streams: a state tells of all of them
    )  # fmt: skip
    digest = hashlib.sha256(repr(facts).encode())
    for part in shards(Path(path.decode("utf-8", "surrogateescape"))):
        digest.update(_samples(part))
    return digest.digest()


def _attention(plan: Plan) -> bool | None:
    """What was asked for: where it may be either, cells are taken for the same."""
    layouts = (layout_of(plan), *plan.other_layouts)
    return None if any(one.flash_attention is None for one in layouts) else plan.flash_attention


def _samples(path: Path) -> bytes:
    size = path.stat().st_size
    digest = hashlib.sha256(size.to_bytes(8, "little"))
    with path.open("rb") as file:
        digest.update(file.read(_HEADER_BYTES))
        for i in range(_N_SAMPLES):
            file.seek(size * i // _N_SAMPLES)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.digest()
