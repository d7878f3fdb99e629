"""The choice: which file, in what context, placed how. Facts and a goal in, one Plan out.

Nothing here measures or guesses: `search` tries what `placing` makes room for, by the bytes of
`memory`, the pace of `speed` and the loss of `quality`; it asks llama.cpp where it can. `telling`
says why.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from edgellm.errors import BadRequest, DoesNotFit, ModelNotFound
from edgellm.probe.hardware import Hardware
from edgellm.selector.layouts import Others, other_layouts
from edgellm.selector.memory.beside import beside, projector_path, sight, with_projector
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.memory.leaving import is_kept_in_ram, kept_beside, prefix_ram_bytes
from edgellm.selector.oracle import Oracle
from edgellm.selector.placing.draft import beside_draft, with_draft
from edgellm.selector.placing.head import why_without, with_head, without_head
from edgellm.selector.placing.machine import Machine
from edgellm.selector.plan import Candidate, Goal, Plan, Range
from edgellm.selector.power import placement_power_w
from edgellm.selector.profiles import Profiles
from edgellm.selector.search.checks import check_goal, check_pins
from edgellm.selector.search.confirm import Confirmed, decide_confirmed
from edgellm.selector.search.limited import why_no_head
from edgellm.selector.search.paces import together_tok_s
from edgellm.selector.search.pareto import front
from edgellm.selector.search.question import Question, machine_for
from edgellm.selector.telling.reasons import reasons
from edgellm.selector.telling.rejected import rejected

__all__ = ["Candidate", "choose", "smaller"]

_NO_DRAFT = "without {}: its guesses could not be taken back here"
_UNUSED_HEAD = "its own head for guesses (MTP) is not loaded; --speculate mtp uses it"
_SHRINK_RATIO = 0.1  # less after the first out-of-memory, where it was short; then twice as much


def choose(
    hardware: Hardware,
    candidates: Sequence[Candidate],
    goal: Goal,
    profiles: Profiles,
    oracle: Oracle | None = None,
    *,
    explained: bool = True,
    machine_flags: str = "",
) -> Plan:
    """The best plan. Raises DoesNotFit with the sum, BadRequest for pins that can't be.

    Without `explained` it has no reasons, alternatives, rejected plans and other layout, which take
    half of the time: for those who compare the plans of many models. `machine_flags`: by which the
    command line described the machine; the commands that are hinted at have them.
    """
    check_goal(goal)
    machine = machine_for(hardware, candidates, goal, profiles)
    question = Question.of(
        machine, goal, profiles, only_best=not explained, machine_flags=machine_flags
    )
    return _choose(question, candidates, oracle)


def smaller(
    plan: Plan,
    hardware: Hardware,
    candidates: Sequence[Candidate],
    goal: Goal,
    profiles: Profiles,
    oracle: Oracle | None = None,
    n_before: int = 0,
) -> Plan | None:
    """The plan to try after `plan` ran out of memory: less in the pools that it filled. After
    the first plan a tenth less, then a fifth and two fifths (`n_before` were tried before this
    one) if that can be: nobody wants to wait for ten loads.

    Those are its accelerators', or the host's when it had none; an accelerator that it left out
    stays out, so that one retry after the other comes to an end. Pins stay; None when nothing
    smaller is left. Pass only the candidates that are on this disk to avoid another download.
    """
    for n in range(n_before, -1, -1):  # where so much less can't be, less will do
        budgets = _lessened(plan, hardware, candidates, goal, 1 - _SHRINK_RATIO * 2**n)
        machine = Machine(hardware, budgets, profiles.speed)
        with suppress(DoesNotFit):
            less = _choose(Question.of(machine, goal, profiles), candidates, oracle)
            said = f"the plan before this one ({plan.quant}, {plan.n_ctx} cells) ran out of memory"
            return replace(less, reasons=(said, *less.reasons))
    return None


def _lessened(
    plan: Plan,
    hardware: Hardware,
    candidates: Sequence[Candidate],
    goal: Goal,
    kept_ratio: float,
) -> dict[str, int]:
    """What there is, and of each pool that the plan filled no more than so much of what it took."""
    taken = {pool.id: 0 for pool in hardware.pools}
    for share in plan.shares:
        taken[share.pool_id] += share.total_bytes
    held = beside(hardware, candidates)
    budgets = pool_budgets(hardware, goal.reserve_bytes, held)
    host_is_short = len(plan.shares) == 1
    for pool_id, n_bytes in taken.items():
        if host_is_short or pool_id != hardware.host.id or _shares_host(plan, hardware):
            less_bytes = int(n_bytes * kept_ratio) - held.get(pool_id, 0)
            budgets[pool_id] = min(budgets[pool_id], max(0, less_bytes))
    return budgets


def _choose(question: Question, candidates: Sequence[Candidate], oracle: Oracle | None) -> Plan:
    if not candidates:
        raise ModelNotFound("there is no file to choose from", hint="see edgellm list")
    goal = question.goal
    no_head = why_no_head(question)
    if goal.speculate == "mtp" and not no_head:
        candidates = [with_head(candidate) for candidate in candidates]
    if goal.speculate == "draft" and candidates[0].draft is None:  # they have it in common
        raise BadRequest("no draft model is named", hint="--draft MODEL, or --speculate ngram")
    for candidate in candidates:
        check_pins(goal, candidate.spec, question.accelerators)
    confirmed = decide_confirmed(question, candidates, oracle)
    decision = confirmed.decision
    plan = _plan(confirmed)
    if question.only_best:
        return _with_guesser(plan, decision.chosen.candidate, question, no_head)
    plan = replace(
        plan,
        reasons=(*reasons(confirmed), *sight(decision.chosen.candidate), *kept_beside(plan, goal)),
        rejected=rejected(decision),
        pareto=front(decision.searches, replace(decision.chosen, placement=confirmed.placement)),
    )
    return _with_guesser(plan, decision.chosen.candidate, question, no_head)


def _with_guesser(
    plan: Plan, candidate: Candidate, question: Question, no_head: str | None
) -> Plan:
    """Raises DoesNotFit."""
    draft, goal = candidate.draft, question.goal
    no_head = why_without(candidate.spec) or no_head
    if draft and plan.speculate in ("draft", "mtp"):
        return with_draft(plan, draft, question.machine)
    if plan.speculate == "mtp":
        return without_head(plan, no_head)
    if goal.speculate == "mtp" and draft is None and not plan.embedding:
        return replace(plan, reasons=(*plan.reasons, f"nothing is guessed: {no_head}"))
    if goal.speculate == "ngram" and not (goal.batch_invariant or plan.embedding or no_head):
        return replace(plan, reasons=(*plan.reasons, _UNUSED_HEAD))
    if draft is None:
        return plan
    who = draft.spec.name if draft.is_head else "the draft model"
    return replace(plan, reasons=(*plan.reasons, _NO_DRAFT.format(who)))


def _shares_host(plan: Plan, hardware: Hardware) -> bool:
    """An accelerator of the plan lives in the CPU's memory."""
    return any(share.pool_id == hardware.host.id for share in plan.shares[:-1])


def _plan(confirmed: Confirmed) -> Plan:
    chosen, question = confirmed.decision.chosen, confirmed.decision.question
    candidate, setting, placement = chosen.candidate, chosen.setting, confirmed.placement
    goal, hardware = question.goal, question.machine.hardware
    devices = [hardware.device(device_id) for device_id in placement.device_ids]
    plan = Plan(
        model=candidate.name,
        file=candidate.file,
        quant=candidate.quant,
        placement=with_projector(placement, candidate),
        n_ctx=setting.n_ctx,
        n_ctx_seq=setting.n_ctx_seq,
        n_parallel=setting.n_parallel,
        n_seq_max=setting.n_seq_max,
        kv_type_k=setting.kv_type_k,
        kv_type_v=setting.kv_type_v,
        kv_unified=setting.kv_unified,
        n_batch=setting.n_batch,
        n_ubatch=setting.n_ubatch,
        n_outputs_max=setting.n_outputs_max,
        n_threads=goal.n_threads or hardware.cpu.n_fast_cores or hardware.cpu.n_physical_cores,
        flash_attention=setting.flash_attention,
        swa_full=False,
        devices=tuple(device.ggml_name or device.id for device in devices),
        device_addresses=tuple(device.ggml_address for device in devices),
        embedding=setting.embedding,
        pooling=candidate.spec.pooling if setting.embedding else None,
        batch_invariant=goal.batch_invariant,
        n_rs_seq=setting.n_rollback,
        speculate=goal.speculate if setting.n_draft else "off",
        projector=projector_path(candidate),
        projector_bytes=candidate.projector_bytes,
        modalities=candidate.modalities,
        prefill_tok_s=confirmed.decision.winner.prefill_tok_s(chosen),
        power_w=placement_power_w(hardware, placement),
        bytes_from=confirmed.bytes_from,
    )
    return plan if setting.embedding else _generating(plan, confirmed)


def _generating(plan: Plan, confirmed: Confirmed) -> Plan:
    """What only a model that writes has: conversations that are kept, and a pace."""
    chosen, question = confirmed.decision.chosen, confirmed.decision.question
    candidate, setting, goal = chosen.candidate, chosen.setting, question.goal
    workload = question.profiles.workload(goal.use)
    machine = beside_draft(question.machine, candidate, setting.shape, chosen.devices)
    is_kept = is_kept_in_ram(candidate.spec, setting.shape, plan.placement, setting.n_scratch)
    others, ram_bytes = Others(), 0
    if is_kept and not question.only_best:
        others = other_layouts(confirmed.decision.winner, chosen)
    if is_kept:
        ram_bytes = prefix_ram_bytes(goal, plan.placement, machine, others.most_bytes)
    return replace(
        plan,
        other_layouts=others.layouts if ram_bytes else (),
        layout_bytes=others.most_bytes if ram_bytes else 0,
        prefix_ram_bytes=ram_bytes,
        prefix_disk=goal.prefix_disk if is_kept else None,
        prefix_disk_bytes=goal.prefix_disk_bytes,
        itl_target_s=goal.itl_target_s or workload.itl_target_s,
        decode_tok_s=chosen.pace.decode,
        batch_tok_s=_batch(confirmed),
        ttft_s=chosen.pace.ttft_s,
    )


def _batch(confirmed: Confirmed) -> Range | None:
    chosen, question = confirmed.decision.chosen, confirmed.decision.question
    if chosen.setting.n_parallel < 2:
        return None
    return chosen.pace.batch or together_tok_s(
        question, chosen.candidate.spec, chosen.setting, confirmed.placement
    )
