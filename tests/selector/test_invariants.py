"""What must hold for every machine and every goal, over many random ones with a fixed seed."""

from dataclasses import replace
from random import Random

import pytest
import selector_specs as specs
from selector_machines import machine, unified

from edgellm.errors import BadRequest, DoesNotFit
from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose, smaller
from edgellm.selector.memory.budget import pool_budgets
from edgellm.selector.plan import Goal
from edgellm.selector.quality import weight_kld
from edgellm.units import GIB

PROFILES = load_profiles()
MODELS = (
    specs.ladder(),
    specs.ladder(lambda quant: specs.llama_70b(quant)),
    specs.ladder(specs.moe),
    specs.ladder(lambda quant: specs.gemma3_27b(quant)),
    [specs.candidate(specs.lfm2_350m())],
    [specs.candidate(specs.deepseek_v3())],
    [specs.candidate(specs.bert())],
)


def random_machine(random: Random) -> Hardware:
    if random.random() < 0.2:
        return unified(random.choice([8, 16, 64, 192]), random.choice([60, 400]), "vulkan")
    speeds = [None, 100, 360, 936, 936, 1008]
    cards = [
        (random.choice([0.3, 2, 6, 8, 12, 24, 80]), random.choice(speeds))
        for _ in range(random.choice([0, 1, 1, 2, 2, 3, 8]))
    ]
    hardware = machine(
        *cards, ram=random.choice([2, 8, 16, 64, 512]), ram_bandwidth=random.choice([None, 20, 80])
    )
    powered = tuple(
        replace(device, board_power_w=random.choice([None, 75, 250, 450]))
        for device in hardware.accelerators
    )
    return replace(hardware, devices=(*powered, hardware.devices[-1]))


def random_goal(random: Random) -> Goal:
    return Goal(
        use=random.choice(["chat", "batch", "stream", "agent"]),
        objective=random.choice(["speed", "quality", "context", "energy", "balanced"]),
        n_ctx_seq=random.choice([None, None, None, 512, 5000, 40000]),
        n_parallel=random.choice([None, None, 1, 6]),
        kv_type_k=random.choice([None, None, None, "q8_0"]),
        n_gpu_layers=random.choice([None, None, None, 0, 7, -1]),
        n_ubatch=random.choice([None, None, 64]),
        reserve_bytes=random.choice([None, None, GIB]),
        n_cpu_moe=random.choice([None, None, None, 0, 5, 999]),
        tensor_split=random.choice([None, None, None, None, (1.0,), (2.0, 1.0)]),
        op_offload=random.choice([None, None, True, False]),
        min_tok_s=random.choice([None, None, None, 5]),
        min_ctx_seq=random.choice([None, None, None, 500]),
        max_watts=random.choice([None, None, None, 300]),
        allow_disk=random.random() < 0.2,
    )


def plans(seed: int, n: int, **facts):
    random = Random(seed)
    for _ in range(n):
        hardware, goal, candidates = (
            random_machine(random),
            random_goal(random),
            random.choice(MODELS),
        )
        try:
            plan = choose(hardware, candidates, goal, PROFILES, **facts)
            yield hardware, goal, candidates, plan
        except (DoesNotFit, BadRequest):
            continue


@pytest.mark.parametrize("seed", range(4))
def test_every_plan_holds_what_a_plan_promises(seed):
    n_plans = 0
    for hardware, goal, candidates, plan in plans(seed, 60):
        n_plans += 1
        spec = next(row.spec for row in candidates if row.file == plan.file)
        assert_memory(hardware, goal, plan, spec)
        assert_layers(plan, spec)
        assert_pins(goal, plan, spec)
        assert_limits(hardware, goal, plan)
        for speed in (plan.decode_tok_s, plan.prefill_tok_s, plan.batch_tok_s, plan.ttft_s):
            assert speed is None or 0 < speed.p10 <= speed.p50 <= speed.p90
        assert plan.n_seq_max <= plan.n_batch
        assert plan.n_outputs_max >= plan.n_seq_max
        assert plan.reasons
        assert len(plan.pareto) <= 12
    assert n_plans > 15


def assert_memory(hardware: Hardware, goal: Goal, plan, spec) -> None:
    placement = plan.placement
    for pool_id, budget in pool_budgets(hardware, goal.reserve_bytes).items():
        used = sum(share.total_bytes for share in plan.shares if share.pool_id == pool_id)
        if pool_id == hardware.host.id:
            used -= placement.disk_bytes
        assert used <= budget, f"{pool_id} is overfull"
    assert placement.disk_bytes == 0 or goal.allow_disk
    assert placement.disk_bytes <= plan.shares[-1].weight_bytes
    together = sum(share.weight_bytes for share in plan.shares)
    tied = spec.input_bytes if spec.tied_embeddings else 0
    spare = spec.rope_bytes * len(plan.shares)
    assert spec.weight_bytes - tied - spare <= together <= spec.weight_bytes + spare


def assert_layers(plan, spec) -> None:
    placement = plan.placement
    layers = [layer for share in plan.shares for layer in share.layers]
    assert layers.count(spec.n_layers) == 1
    assert sorted(layers) == list(range(spec.n_layers + 1)), "a layer is lost or doubled"
    assert placement.n_gpu_layers == sum(len(share.layers) for share in plan.shares[:-1])
    assert all(share.layers for share in plan.shares[:-1]), "an idle device takes part"
    assert len(placement.tensor_split) == len(plan.devices) == len(plan.shares) - 1
    host = plan.shares[-1]
    aside = set(range(placement.n_cpu_moe)) - set(host.layers)
    assert set(host.expert_layers) == aside, "experts are lost or doubled"
    assert not any(share.expert_layers or share.expert_parts for share in plan.shares[:-1])
    assert not placement.no_host or (plan.devices and host.computes)
    cut = [part.layer for part in host.expert_parts]
    assert cut == sorted(set(cut)), "a layer is cut twice"
    assert not {*cut} & {*host.layers, *host.expert_layers}, "experts are counted twice"
    for part in host.expert_parts:
        matrices = set(spec.layers[part.layer].expert_matrices)
        assert set() < set(part.matrices) < matrices, "that is no part"


def assert_pins(goal: Goal, plan, spec) -> None:
    for name in ("n_ctx_seq", "n_parallel", "kv_type_k"):
        pinned = getattr(goal, name)
        assert pinned is None or getattr(plan, name) == pinned
    if goal.n_ubatch and not plan.embedding:
        assert plan.n_ubatch == goal.n_ubatch
    if not plan.devices:
        return
    n_all = spec.n_layers + 1
    if goal.n_gpu_layers is not None:
        wished = n_all if goal.n_gpu_layers < 0 else min(goal.n_gpu_layers, n_all)
        assert plan.placement.n_gpu_layers == wished
    if goal.n_cpu_moe is not None:
        assert plan.placement.n_cpu_moe == min(goal.n_cpu_moe, spec.n_layers)
        assert not plan.placement.expert_parts
    if goal.op_offload is not None:
        assert plan.placement.op_offload == goal.op_offload
    if goal.tensor_split and len(plan.devices) == len(goal.tensor_split) > 1:
        assert plan.placement.tensor_split == goal.tensor_split


def assert_limits(hardware: Hardware, goal: Goal, plan) -> None:
    if goal.min_tok_s and plan.decode_tok_s:
        assert plan.decode_tok_s.p50 >= goal.min_tok_s
    if goal.min_ctx_seq:
        assert plan.n_ctx_seq >= goal.min_ctx_seq
    if goal.max_watts and plan.devices and plan.power_w is not None:
        assert plan.power_w <= goal.max_watts


@pytest.mark.parametrize("seed", range(3))
def test_smaller_plans_shrink_until_there_is_none(seed):
    """Of what the plan before filled: every accelerator's pool, or the host's without any."""
    for hardware, goal, candidates, plan in plans(100 + seed, 12, explained=False):
        steps = 0
        while less := smaller(plan, hardware, candidates, goal, PROFILES):
            steps += 1
            assert steps < 90
            filled = {share.pool_id for share in plan.shares[:-1]} or {hardware.host.id}
            for pool_id in filled:
                assert in_pool(less, pool_id) <= 0.9 * in_pool(plan, pool_id) + 1
            plan = less
            if steps == 6:
                break


def in_pool(plan, pool_id: str) -> int:
    used = sum(share.total_bytes for share in plan.shares if share.pool_id == pool_id)
    return used - (plan.placement.disk_bytes if plan.shares[-1].pool_id == pool_id else 0)


@pytest.mark.parametrize("seed", range(3))
def test_more_memory_never_gives_a_worse_quality(seed):
    """Of the objective "quality"; the others may trade it for a faster device's sake, and a limit
    of watts prefers a board that tells what it draws."""
    random = Random(seed)
    for _ in range(12):
        hardware = random_machine(random)
        candidates = random.choice(MODELS[:4])
        goal = replace(
            random_goal(random), objective="quality", n_gpu_layers=None, n_cpu_moe=None,
            tensor_split=None, allow_disk=False, max_watts=None,
        )  # fmt: skip
        losses = []
        for factor in (1.0, 1.3, 2.0, 4.0):
            try:
                more = grown(hardware, factor)
                plan = choose(more, candidates, goal, PROFILES, explained=False)
            except DoesNotFit:
                losses.append(float("inf"))
                continue
            spec = next(row.spec for row in candidates if row.file == plan.file)
            losses.append(weight_kld(PROFILES.quality, plan.quant, spec))
        assert losses == sorted(losses, reverse=True)


def grown(hardware: Hardware, factor: float) -> Hardware:
    pools = tuple(
        replace(
            pool,
            total_bytes=int(pool.total_bytes * factor),
            free_bytes=int((pool.free_bytes or 0) * factor),
        )
        for pool in hardware.pools
    )
    return replace(hardware, pools=pools)


def test_the_same_question_has_the_same_answer():
    hardware = machine((24, 1000), (12, 360))
    first, second = (choose(hardware, specs.ladder(), Goal(), PROFILES) for _ in range(2))
    assert first == second
