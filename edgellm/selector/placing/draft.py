"""The draft model beside a planned one: what context it gets, and what that takes. Pure.

It follows the same conversations, so its context has as many tokens and sequences as the other
one's. It is small: it lies whole on the first accelerator that takes part, or with the CPU. Its
bytes are added up as any model's are; what a setting would make it take comes off the budgets
before the other model is placed in that setting. A model's own head is planned as one (head.py).
"""

from dataclasses import replace
from functools import cache

from edgellm.errors import DoesNotFit
from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Backend
from edgellm.selector.memory.layout import Layout
from edgellm.selector.memory.memory import needs
from edgellm.selector.memory.shape import ContextShape, context_shape
from edgellm.selector.placing.devices import DeviceSet
from edgellm.selector.placing.head import state_bytes
from edgellm.selector.placing.machine import Machine
from edgellm.selector.plan import Candidate, DraftFile, Placement, Plan
from edgellm.units import format_bytes

_N_BATCH = 512  # rows of one call: more of a conversation is never caught up with at once
_ALL_LAYERS = 999


def draft_plan(plan: Plan) -> Plan:
    """What the runner loads. One pool of cells in any case: a fork then is a tag."""
    return replace(
        plan,
        file=plan.draft or "",
        placement=Placement((), _ALL_LAYERS if plan.devices else 0),
        devices=plan.devices[:1],
        kv_type_k="f16",
        kv_type_v="f16",
        kv_unified=True,
        n_batch=max(_N_BATCH, plan.n_seq_max),
        n_ubatch=min(_N_BATCH, plan.n_ubatch),
        n_outputs_max=plan.n_seq_max,
        n_rs_seq=0,
        batch_invariant=False,
        speculate="off",
        draft=None,
        draft_bytes=0,
        projector=None,
        projector_bytes=0,
        modalities=None,
    )


def draft_shape(shape: ContextShape) -> ContextShape:
    """Of the context that `draft_plan` asks for, beside one of this shape."""
    return replace(
        shape,
        n_ubatch=min(_N_BATCH, shape.n_ubatch),
        n_outputs_max=shape.n_seq_max,
        kv_type_k="f16",
        kv_type_v="f16",
        kv_unified=True,
        n_rs_seq=0,
    )


@cache
def draft_bytes(spec: ModelSpec, shape: ContextShape, backend: Backend | None) -> tuple[int, int]:
    """Of the accelerator, if there is one, and of the host, beside a context of this shape."""
    layout = Layout((backend,), (range(spec.n_layers + 1),)) if backend else Layout()
    parts = needs(spec, draft_shape(shape), layout, exact=True)
    sums = [part.weight_bytes + part.kv_bytes + part.compute_bytes for part in parts]
    return (sums[0], sums[1]) if backend else (0, sums[0])


def _bytes_of(draft: DraftFile, shape: ContextShape, backend: Backend | None) -> tuple[int, int]:
    on_device, on_host = draft_bytes(draft.spec, shape, backend)
    return on_device, on_host + (state_bytes(draft.spec, shape) if draft.is_head else 0)


def _place(draft: DraftFile) -> int:
    """Among the accelerators: a head lies with the last layer."""
    return -1 if draft.is_head else 0


def beside_draft(
    machine: Machine, candidate: Candidate, shape: ContextShape, devices: DeviceSet
) -> Machine:
    """What the draft model of the candidate leaves, should it have this context."""
    if candidate.draft is None:
        return machine
    device = devices[_place(candidate.draft)] if devices else None
    on_device, on_host = _bytes_of(candidate.draft, shape, device.backend if device else None)
    budgets = dict(machine.budgets)
    budgets[machine.host_id] = max(0, budgets[machine.host_id] - on_host)
    if device:
        budgets[device.pool_id] = max(0, budgets[device.pool_id] - on_device)
    return Machine(machine.hardware, budgets, machine.speed, machine.margins)


def with_draft(plan: Plan, draft: DraftFile, machine: Machine) -> Plan:
    """Its bytes are in no buffer of the model's, so they stand among the overhead. Raises
    DoesNotFit where the device that was to have it was left out in the end."""
    *others, host = plan.shares
    backend = None
    if others:
        at = _place(draft)
        backend = machine.hardware.device(others[at].device_id).backend
    on_device, on_host = _bytes_of(draft, context_shape(plan), backend)
    if others:
        more = others[at].overhead_bytes + on_device
        others[at] = replace(others[at], overhead_bytes=more)
    shares = [*others, replace(host, overhead_bytes=host.overhead_bytes + on_host)]
    if short := machine.without_margins().shortfall(shares, plan.placement.disk_bytes):
        who, flag = ("head", "--speculate mtp") if draft.is_head else ("draft model", "--draft")
        raise DoesNotFit(
            f"{plan.model} and its {who} together lack {format_bytes(short.missing_bytes)}",
            hint=f"leave {flag} out, or ask for less --ctx",
        )
    said = f"{draft.spec.name} guesses for it, and takes {format_bytes(on_device + on_host)}"
    return replace(
        plan,
        placement=replace(plan.placement, shares=tuple(shares)),
        draft=draft.path or None,
        draft_bytes=on_device + on_host,
        reasons=(*plan.reasons, said),
    )
