"""What llama.cpp says it took, told by the plan's shares, so that the two stand side by side.

llama.cpp counts by buffer: "CUDA0" and "CUDA0_Split" are a card's, "MTL0_Mapped" is Metal's; "CPU",
"CPU_REPACK" and "CUDA_Host" (memory that a card can reach) are the host's. The driver's own memory
on a card is in no buffer, so `overhead_bytes` has nothing to be compared with.

A mapped buffer is a stretch of the file, from its first to its last tensor; what lies between and
was copied elsewhere (repacked for the CPU, or sent to a card) is in it a second time, and costs
nothing once its pages are dropped. So a mapped buffer counts as at most the weights that no other
buffer holds.
"""

from collections.abc import Mapping, Sequence

from edgellm.probe.hardware import Hardware
from edgellm.runner.loadlog import DeviceMemory
from edgellm.selector.oracle import BufferBytes
from edgellm.selector.plan import Placement

_MAPPED = "_Mapped"


def measured_shares(
    memory: Sequence[DeviceMemory], placement: Placement, hardware: Hardware
) -> tuple[BufferBytes, ...]:
    """One for each share, in their order; empty when llama.cpp told nothing."""
    if not memory:
        return ()
    owners = _owners(hardware)
    ids = [share.device_id for share in placement.shares]
    weights, kv, compute = (dict.fromkeys(ids, 0) for _ in range(3))
    for part in memory:
        owner = _owner(part.name, owners)
        owner = owner if owner in weights else ids[-1]
        weights[owner] += 0 if part.name.endswith(_MAPPED) else part.model_bytes
        kv[owner] += part.context_bytes
        compute[owner] += part.compute_bytes
    left = sum(share.weight_bytes for share in placement.shares) - sum(weights.values())
    for part in memory:
        if part.name.endswith(_MAPPED):
            held = max(0, min(part.model_bytes, left))
            owner = _owner(part.name, owners)
            weights[owner if owner in weights else ids[-1]] += held
            left -= held
    return tuple(BufferBytes(weights[id], kv[id], compute[id]) for id in ids)


def _owners(hardware: Hardware) -> Mapping[str, str]:
    """ggml's name of a device → ours."""
    return {d.ggml_name: d.id for d in hardware.devices if d.ggml_name}


def _owner(buffer: str, owners: Mapping[str, str]) -> str:
    """ "CUDA0" and "CUDA0_Split" → CUDA0's device; "CUDA_Host" → nobody's, so the host's."""
    return owners.get(buffer) or owners.get(buffer.rpartition("_")[0], "")
