import datetime

import pytest

from edgellm.models.quants import BY_NAME
from edgellm.probe.hardware import Device
from edgellm.probe.known.limits import Limits, backend_limits, load


def device(backend, name="a card", architecture=None):
    return Device("0", "x", name, backend, "0", architecture=architecture)


def test_every_row_names_its_source_and_date_and_only_types_that_exist():
    for row in load().backend:
        assert row.source, row.backend
        datetime.date.fromisoformat(row.date)
        named = (*(row.weights or ()), *(row.experts or ()), *row.not_weights, *(row.kv or ()))
        assert set(named) <= set(BY_NAME), row.match
        assert all(fault.source and fault.reason for fault in row.fault)


def test_a_row_of_a_single_device_stands_before_its_backends():
    seen = set()
    for row in load().backend:
        assert row.backend not in seen, f"{row.match} of {row.backend} can never be reached"
        if not row.match:
            seen.add(row.backend)


def test_k_quants_run_on_the_cpu_of_an_ascend():
    limits = backend_limits(device("cann", "Ascend910B2"))

    assert limits.on_the_cpu(weights=("q4_k", "q6_k", "f16")) == ("q4_k", "q6_k")
    assert limits.on_the_cpu(weights=("q4_0", "q8_0", "bf16")) == ()
    assert limits.on_the_cpu(experts=("bf16",)) == ("bf16",)
    assert "Q4_0 and Q8_0" in limits.note


def test_a_310p_multiplies_no_quantized_type_and_crashes_on_moe():
    limits = backend_limits(device("cann", "Ascend310P3"))

    assert limits.on_the_cpu(weights=("q8_0",)) == ("q8_0",)
    assert not limits.flash_attention
    assert "16695" in limits.fault("moe").source
    assert backend_limits(device("cann", "910B3")).fault("moe") is None


@pytest.mark.parametrize(
    ("backend", "name", "k", "v", "taken"),
    [
        ("cann", "Ascend910B2", "q8_0", None, False),
        ("cann", "Ascend310P3", "f16", None, True),  # the plain attention, without flash
        ("musa", "MTT S80", "q8_0", "q8_0", False),
        ("musa", "MTT S80", "q8_0", "f16", True),
        ("musa", "MTT S4000", "q8_0", None, True),
        ("metal", "Apple M3", "q8_0", "q8_0", True),
        ("metal", "Apple M3", "q8_0", "f16", False),
        ("cuda", "RTX 4090", "q4_0", "f16", True),
        ("cpu", "CPU", "q4_1", None, True),
    ],
)
def test_which_caches_attention_reads(backend, name, k, v, taken):
    assert backend_limits(device(backend, name)).takes_kv(k, v) is taken


def test_flash_attention_begins_with_the_second_generation_of_moore_threads():
    assert not backend_limits(device("musa", "MTT S80")).flash_attention
    assert backend_limits(device("musa", "MTT S4000")).flash_attention
    assert backend_limits(device("musa", "MTT S4000")).on_the_cpu(experts=("q2_k", "q3_k")) == (
        "q2_k",
    )


def test_mtp_with_flash_attention_is_a_fault_of_orin_only():
    assert backend_limits(device("cuda", "Orin")).fault("mtp with flash attention")
    assert backend_limits(device("cuda", "RTX 4090")).faults == ()


def test_what_nobody_has_looked_at_has_no_limits():
    assert backend_limits(device("cpu")) == Limits()
