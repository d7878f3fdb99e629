"""The draft model beside a planned one: what context it gets, and what that takes. Pure.

It follows the same conversations, so its context has as many tokens and sequences as the other
one's. It is small: it lies whole on the first accelerator that takes part, or with the CPU. Its
bytes are added up as any model's are, and come off that pool's budget; since they depend on the
plan, the plan is made twice (choose.py).
"""

from dataclasses import replace

from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Hardware
from edgellm.selector.budget import Budgets
from edgellm.selector.layout import Layout
from edgellm.selector.memory import needs
from edgellm.selector.plan import Placement, Plan, Share
from edgellm.selector.shape import context_shape

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
        projector=None,
    )


def draft_bytes(spec: ModelSpec, plan: Plan, hardware: Hardware) -> tuple[int, int]:
    """Of the plan's first accelerator, and of the host."""
    own = draft_plan(plan)
    layout = Layout()
    if own.devices:
        backend = hardware.device(plan.shares[0].device_id).backend
        layout = Layout((backend,), (range(spec.n_layers + 1),))
    *on_device, host = needs(spec, context_shape(own), layout, exact=True)
    sums = [part.weight_bytes + part.kv_bytes + part.compute_bytes for part in (*on_device, host)]
    return (sums[0], sums[1]) if on_device else (0, sums[0])


def draft_budgets(spec: ModelSpec, plan: Plan, hardware: Hardware) -> Budgets:
    """By pool: what is to be left for the draft model of such a plan."""
    taken = dict.fromkeys((share.pool_id for share in plan.shares), 0)
    for share, n_bytes in zip(_carriers(plan), draft_bytes(spec, plan, hardware), strict=True):
        taken[share.pool_id] += n_bytes
    return taken


def with_draft(plan: Plan, spec: ModelSpec, path: str, hardware: Hardware) -> Plan:
    """Its bytes are in no buffer of the model's, so they stand among the overhead."""
    plan = replace(plan, draft=path)
    shares = list(plan.shares)
    for share, n_bytes in zip(_carriers(plan), draft_bytes(spec, plan, hardware), strict=True):
        i = next(i for i, one in enumerate(shares) if one.device_id == share.device_id)
        shares[i] = replace(shares[i], overhead_bytes=shares[i].overhead_bytes + n_bytes)
    return replace(plan, placement=replace(plan.placement, shares=tuple(shares)))


def _carriers(plan: Plan) -> tuple[Share, Share]:
    return plan.shares[0], plan.shares[-1]
