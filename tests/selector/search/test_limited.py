from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine
from selector_specs import headed

from edgellm.errors import DoesNotFit
from edgellm.models.anatomy.tensor_types import TypeShare
from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal, Plan

PROFILES = load_profiles()
NO_LIMITS = replace(PROFILES, backends=type(PROFILES.backends)())


def board(backend: str, name: str, *, size: float = 64, n: int = 1) -> Hardware:
    hardware = machine(*[(size, 400)] * n, backend=backend)
    devices = tuple(replace(one, name=name) if one.id != "cpu" else one for one in hardware.devices)
    return replace(hardware, devices=devices)


ASCEND_910B, ASCEND_310P = board("cann", "Ascend910B3"), board("cann", "Ascend310P3")
MTT_S80 = board("musa", "MTT S80")


def plan_of(hardware: Hardware, *files, profiles=PROFILES, **goal) -> Plan:
    return choose(hardware, [specs.candidate(spec) for spec in files], Goal(**goal), profiles)


def words(plan: Plan) -> str:
    return "\n".join((*plan.reasons, *(row.binding for row in plan.rejected)))


def test_a_file_that_the_backend_has_kernels_for_is_taken_before_one_that_the_cpu_would_compute():
    files = specs.dense(quant="Q4_K_M"), specs.dense(quant="Q8_0")
    assert plan_of(ASCEND_910B, *files, objective="speed", profiles=NO_LIMITS).quant == "Q4_K_M"
    plan = plan_of(ASCEND_910B, *files, objective="speed")
    assert (plan.quant, plan.devices) == ("Q8_0", ("CUDA0",))
    assert "cann backend has no kernel there for Q4_K and Q6_K, 100%" in words(plan)


def test_a_file_that_only_the_cpu_can_multiply_is_the_cpus():
    plan = plan_of(ASCEND_310P, specs.dense(quant="Q8_0"))
    assert plan.devices == ()
    assert "all on the CPU: no accelerator is usable" in plan.reasons
    assert "Ascend310P3 is left out: llama.cpp's cann backend has no kernel" in words(plan)


def test_an_output_matrix_of_another_type_is_little_and_said():
    spec = specs.dense(quant="Q8_0")
    rows = [row for row in spec.types if row.tensor_class != "output"]
    output = next(row for row in spec.types if row.tensor_class == "output")
    spec = replace(spec, types=(*rows, TypeShare("output", "q6_k", output.n_weights)))
    plan = plan_of(ASCEND_910B, spec)
    assert plan.devices == ("CUDA0",)
    assert "Q6_K, 5% of the weights, are multiplied by the CPU" in words(plan)


def test_a_crash_that_somebody_saw_keeps_the_device_out():
    plan = plan_of(ASCEND_310P, specs.moe(quant="F16"), allow_disk=True)
    assert plan.devices == ()
    assert "invalid memory handle on the 310P (ggml-org/llama.cpp#16695" in words(plan)
    recurrent = plan_of(ASCEND_910B, specs.lfm2_350m(quant="Q8_0"))
    assert recurrent.devices == ()
    assert "ggml-org/llama.cpp#21178" in words(recurrent)


def test_experts_have_kernels_of_their_own():
    adreno = board("opencl", "Qualcomm Adreno")
    assert plan_of(adreno, specs.dense(quant="Q4_K_M")).devices == ("CUDA0",)
    plan = plan_of(adreno, specs.moe(quant="Q4_K_M"))
    assert plan.devices == ()
    assert "opencl backend has no kernel there" in words(plan)


def test_without_flash_attention_on_one_device_it_is_off_and_the_cache_unquantized():
    plan = plan_of(MTT_S80, specs.dense())
    assert (plan.devices, plan.flash_attention) == (("CUDA0",), False)
    assert plan.kv_type_v == "f16"
    assert "flash attention is off: llama.cpp has none for MTT S80" in plan.reasons
    assert plan_of(board("musa", "MTT S4000"), specs.dense()).flash_attention is None


def test_a_cache_that_flash_attention_does_not_read_is_not_planned_for_the_device():
    tight = board("cann", "Ascend910B3", size=10)
    files = [specs.dense(quant="Q8_0")]
    assert plan_of(tight, *files, profiles=NO_LIMITS, objective="context").kv_type_k == "q8_0"
    plan = plan_of(tight, *files, objective="context")
    assert (plan.kv_type_k, plan.devices) == ("f16", ("CUDA0",))


def test_unequal_types_of_cache_are_read_without_flash_attention():
    apple = board("metal", "Apple M3 Max")
    assert plan_of(apple, specs.dense(), kv_type_k="q8_0", kv_type_v="q8_0").devices
    plan = plan_of(apple, specs.dense(), kv_type_k="q8_0", kv_type_v="f16")
    assert (plan.devices, plan.flash_attention) == (("CUDA0",), False)


@pytest.mark.parametrize(
    ("hardware", "pins", "said"),
    [
        (ASCEND_310P, {"n_gpu_layers": 99}, "MoE models ended with an invalid memory handle"),
        (board("cann", "Ascend310P3", n=2), {"tensor_split": (1.0, 1.0)}, "MoE models ended"),
    ],
)
def test_what_is_pinned_to_a_device_that_can_not_run_it_is_refused_with_the_reason(
    hardware, pins, said
):
    with pytest.raises(DoesNotFit, match=said) as raised:
        plan_of(hardware, specs.moe(), **pins)
    assert "-ngl" in (raised.value.hint or "")


def test_a_cache_that_is_pinned_and_that_no_layer_could_read_there_is_refused():
    pins = {"kv_type_k": "q8_0", "kv_type_v": "q8_0", "n_gpu_layers": 99}
    with pytest.raises(DoesNotFit, match="needs flash attention, which it does not have"):
        plan_of(MTT_S80, specs.dense(), **pins)
    with pytest.raises(DoesNotFit, match="its flash attention does not read a cache of q8_0"):
        plan_of(ASCEND_910B, specs.dense(quant="Q8_0"), **pins)


def test_what_was_asked_of_the_context_is_named_where_it_costs_the_device():
    plan = plan_of(MTT_S80, specs.dense(), flash_attention=True)
    assert plan.devices == ()
    assert "all on the CPU: no accelerator is usable" in plan.reasons
    assert "MTT S80 is left out: it has no flash attention, and that is asked for" in plan.reasons
    both = words(plan_of(ASCEND_910B, specs.dense(), kv_type_k="q8_0", kv_type_v="q8_0"))
    assert "no kernel there for Q4_K" in both
    assert "does not read a cache of q8_0 and q8_0" in both


def test_no_room_but_on_a_device_that_can_not_run_it_says_so():
    small = replace(ASCEND_310P, pools=(ASCEND_310P.pools[0], *machine(ram=8).pools))
    with pytest.raises(DoesNotFit) as raised:
        plan_of(small, specs.moe())
    assert "it can't run on Ascend310P3: MoE models ended" in (raised.value.hint or "")


def test_a_head_that_crashed_on_a_backend_does_not_guess_there():
    plan = plan_of(ASCEND_910B, headed(), speculate="mtp", allow_disk=True)
    assert plan.speculate == "ngram"
    assert any("guesses are looked up: a draft by MTP crashed" in one for one in plan.reasons)


def test_a_head_and_flash_attention_are_not_planned_together_where_that_aborted():
    orin = board("cuda", "Orin")
    plan = plan_of(orin, headed(), speculate="mtp", n_gpu_layers=-1)
    assert (plan.speculate, plan.flash_attention) == ("mtp", False)
    assert any("flash attention is off: a draft by MTP" in one for one in plan.reasons)
    assert plan_of(orin, headed(), n_gpu_layers=-1).flash_attention is None


@pytest.mark.parametrize("pins", [{"flash_attention": True}, {"kv_type_v": "q8_0"}])
def test_who_insists_on_flash_attention_there_has_no_head(pins):
    plan = plan_of(board("cuda", "Orin"), headed(), speculate="mtp", n_gpu_layers=-1, **pins)
    assert (plan.speculate, plan.devices) == ("ngram", ("CUDA0",))
    assert any("ggml-org/llama.cpp#24457" in one for one in plan.reasons)


def test_a_backend_that_no_row_names_has_no_limits():
    plan = plan_of(board("vulkan", "Card 0"), *[specs.dense(quant=q) for q in ("Q4_K_M", "Q8_0")])
    assert plan.devices == ("CUDA0",)
    assert "no kernel" not in words(plan)


def test_who_cannot_is_named_once_where_a_plan_was_not_chosen():
    pins = {"kv_type_k": "q4_0", "kv_type_v": "q4_0"}
    rows = [row.binding for row in plan_of(MTT_S80, specs.dense(), **pins).rejected]
    (row,) = [row for row in rows if "flash attention" in row]
    assert row.startswith("MTT S80: a cache of q4_0 and q4_0 needs flash attention")
