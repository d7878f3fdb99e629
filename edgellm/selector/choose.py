"""The choice: which file, in what context, placed how. Facts and a goal in, one Plan out.

Nothing here measures or guesses: memory.py adds bytes up, speed.py and quality.py read profiles,
options.py finds what fits, ranking.py says what is better.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgellm.errors import DoesNotFit, ModelNotFound
from edgellm.probe.hardware import Hardware
from edgellm.selector.budget import pool_budgets
from edgellm.selector.options import Miss, Option, explore
from edgellm.selector.plan import Candidate, Goal, Plan
from edgellm.selector.profiles import Profiles
from edgellm.selector.ranking import Rank, rank
from edgellm.selector.reasons import reasons, refusal, rejected
from edgellm.selector.settings import check_goal
from edgellm.selector.split import Machine

__all__ = ["Candidate", "choose", "smaller"]

_SHRINK_RATIO = 0.9  # a plan after an out-of-memory takes a tenth less where it was short


def choose(
    hardware: Hardware, candidates: Sequence[Candidate], goal: Goal, profiles: Profiles
) -> Plan:
    """The best plan. Raises DoesNotFit with the sum, BadRequest for pins that can't be."""
    check_goal(goal)
    budgets = pool_budgets(hardware, goal.reserve_bytes)
    return _choose(Machine(hardware, budgets, profiles.speed), candidates, goal, profiles)


def smaller(
    plan: Plan,
    hardware: Hardware,
    candidates: Sequence[Candidate],
    goal: Goal,
    profiles: Profiles,
) -> Plan | None:
    """The plan to try after `plan` ran out of memory: less in the pools that it filled.

    Those are its accelerators', or the host's when it had none; an accelerator that it left out
    stays out, so that one retry after the other comes to an end. Pins stay; None when nothing
    smaller is left. Pass only the candidates that are on this disk to avoid another download.
    """
    taken = {pool.id: 0 for pool in hardware.pools}
    for share in plan.shares:
        taken[share.pool_id] += share.total_bytes
    budgets = pool_budgets(hardware, goal.reserve_bytes)
    host_is_short = len(plan.shares) == 1
    for pool_id, n_bytes in taken.items():
        if host_is_short or pool_id != hardware.host.id or _shares_host(plan, hardware):
            budgets[pool_id] = min(budgets[pool_id], int(n_bytes * _SHRINK_RATIO))
    try:
        less = _choose(Machine(hardware, budgets, profiles.speed), candidates, goal, profiles)
    except DoesNotFit:
        return None
    said = f"the plan before this one ({plan.quant}, {plan.n_ctx} cells) ran out of memory"
    return replace(less, reasons=(said, *less.reasons))


def _choose(
    machine: Machine, candidates: Sequence[Candidate], goal: Goal, profiles: Profiles
) -> Plan:
    if not candidates:
        raise ModelNotFound("there is no file to choose from", hint="see edgellm list")
    found = [
        attempt
        for candidate in candidates
        for attempt in explore(candidate, machine, goal, profiles)
    ]
    options = [attempt for attempt in found if isinstance(attempt, Option)]
    if not options:
        raise refusal([attempt for attempt in found if isinstance(attempt, Miss)], machine)

    def rank_of(option: Option) -> Rank:
        return rank(option, goal, profiles)

    best = max(options, key=rank_of)
    return replace(
        _plan(best, machine, goal, profiles),
        reasons=reasons(best, len(candidates), machine, goal, profiles),
        rejected=rejected(best, found, machine.hardware, rank_of),
    )


def _shares_host(plan: Plan, hardware: Hardware) -> bool:
    """An accelerator of the plan lives in the CPU's memory."""
    return any(share.pool_id == hardware.host.id for share in plan.shares[:-1])


def _plan(option: Option, machine: Machine, goal: Goal, profiles: Profiles) -> Plan:
    candidate, setting, placement = option.candidate, option.setting, option.placement
    hardware = machine.hardware
    devices = [hardware.device(device_id) for device_id in placement.device_ids]
    return Plan(
        model=candidate.name,
        file=candidate.file,
        quant=candidate.quant,
        placement=placement,
        n_ctx=setting.n_ctx,
        n_ctx_seq=setting.n_ctx_seq,
        n_parallel=setting.n_parallel,
        n_seq_max=setting.n_parallel,
        kv_type_k=setting.kv_type_k,
        kv_type_v=setting.kv_type_v,
        kv_unified=setting.kv_unified,
        n_batch=setting.n_batch,
        n_ubatch=setting.n_ubatch,
        n_outputs_max=setting.n_outputs_max,
        n_threads=goal.n_threads or hardware.cpu.n_physical_cores,
        flash_attention=setting.flash_attention,
        swa_full=False,
        devices=tuple(device.ggml_name or device.id for device in devices),
        embedding=setting.embedding,
        batch_invariant=goal.batch_invariant,
        itl_target_s=None if setting.embedding else profiles.workload(goal.use).itl_target_s,
        decode_tok_s=None if setting.embedding else option.pace.decode,
        prefill_tok_s=option.pace.prefill,
    )
