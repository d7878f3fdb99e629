"""What is loaded beside the model, on the same devices: the projector that lets it see or hear.

llama.cpp puts a projector whole on the first accelerator that takes part, or in the CPU's memory
where none does (tools/mtmd/clip.cpp clip_ctx). So it comes off that pool's budget before anything
is placed, and counts as a part of that device's share.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from edgellm.models.anatomy.projectors import Modality
from edgellm.probe.hardware import Hardware
from edgellm.selector.memory.budget import Budgets
from edgellm.selector.placing.devices import usable_accelerators
from edgellm.selector.plan import Candidate, Placement
from edgellm.units import format_bytes


def beside(hardware: Hardware, candidates: Sequence[Candidate]) -> Budgets:
    """By pool; the largest of the candidates' projectors, which are nearly always the same one."""
    n_bytes = max((one.projector_bytes for one in candidates), default=0)
    accelerators = usable_accelerators(hardware)
    pool_id = accelerators[0].pool_id if accelerators else hardware.host.id
    return {pool_id: n_bytes}


def with_projector(placement: Placement, candidate: Candidate) -> Placement:
    """Its bytes are in no buffer of the model's, so they stand among the overhead."""
    if not candidate.projector_bytes:
        return placement
    first, *others = placement.shares
    more = first.overhead_bytes + candidate.projector_bytes
    return replace(placement, shares=(replace(first, overhead_bytes=more), *others))


def projector_path(candidate: Candidate) -> str | None:
    """None where there is none, or nobody knows what it takes."""
    projector = candidate.projector
    return projector.path if projector and candidate.projector_bytes else None


def sight(candidate: Candidate) -> tuple[str, ...]:
    """The reason to show."""
    path = projector_path(candidate)
    if path is None:
        return ()
    name, size = path.rpartition("/")[2], format_bytes(candidate.projector_bytes)
    does = _DOES.get(candidate.modalities or (), "sees or hears")
    return (f"it {does} through {name}, which takes {size} beside the model",)


_DOES: Final[dict[tuple[Modality, ...], str]] = {
    ("vision",): "sees pictures",
    ("audio",): "hears sound",
    ("vision", "audio"): "sees pictures and hears sound",
}
