"""A plan is loaded on the cards it was made for, however ggml counts them today."""

from ctypes import addressof, create_string_buffer
from dataclasses import replace
from types import SimpleNamespace

import pytest
from server.server_fakes import plan

from edgellm.runner.llama.devices import Addresses, as_planned, bound, names_now
from edgellm.runner.llama.load import GGML, LoadError
from edgellm.runner.loadlog import DeviceMemory

ONE, TWO = "0000:01:00.0", "0000:02:00.0"
BOTH = {"CUDA0": ONE, "CUDA1": TWO, "Vulkan0": ONE, "CPU": None}
ONLY_TWO = {"CUDA0": TWO, "Vulkan0": TWO, "CPU": None}


def on(*devices):
    names, known = zip(*devices, strict=True)
    return replace(plan(), devices=names, device_addresses=known)


@pytest.mark.parametrize("here", [BOTH, {"CUDA0": ONE, "CPU": None}])
def test_a_card_that_is_where_it_was_keeps_its_name(here):
    assert names_now(on(("CUDA0", ONE)), here) == ("CUDA0",)


def test_a_card_that_is_counted_anew_is_known_by_its_address():
    assert names_now(on(("CUDA1", TWO)), ONLY_TWO) == ("CUDA0",)
    assert names_now(on(("CUDA0", ONE), ("CUDA1", TWO)), {"CUDA1": ONE, "CUDA0": TWO}) == (
        "CUDA1",
        "CUDA0",
    )


@pytest.mark.parametrize(
    "here", [ONLY_TWO, {"CUDA0": TWO, "Vulkan0": ONE}, {"CUDA0": None}, {"CPU": None}]
)
def test_another_card_or_another_backends_view_is_no_substitute_for_a_lost_one(here):
    with pytest.raises(LoadError, match=f"no device at {ONE}, which was 'CUDA0'") as error:
        names_now(on(("CUDA0", ONE)), here)
    assert error.value.kind == "device"


def test_where_ggml_told_no_address_the_name_has_to_do():
    assert names_now(on(("CANN1", None)), {"CANN0": None}) == ("CANN1",)
    assert names_now(replace(plan(), devices=("CUDA0",)), ONLY_TWO) == ("CUDA0",)


def test_what_a_card_took_is_told_under_its_planned_name():
    planned = on(("CUDA1", TWO), ("CUDA2", ONE))
    loaded = replace(planned, devices=("CUDA0", "CUDA1"))
    took = [
        DeviceMemory(name, n, 0, 0)
        for n, name in enumerate(("CUDA0", "CUDA1", "CUDA0_Split", "CUDA_Host", "CPU"))
    ]

    names = [one.name for one in as_planned(took, planned, loaded)]
    assert names == ["CUDA1", "CUDA2", "CUDA1_Split", "CUDA_Host", "CPU"]


def test_this_ggmls_devices_are_read_and_the_cpu_has_no_address():
    here = Addresses(GGML)
    assert "CPU" in list(here)
    assert len(list(here)) == len(here)
    assert here["CPU"] is None


def ggml_with(devices, asked):
    """ggml as far as it is asked for names and addresses. Whose address: `asked`."""
    texts = [
        (create_string_buffer(name.encode()), where and create_string_buffer(where.encode()))
        for name, where in devices.items()
    ]

    def get_props(device, said):
        name, where = texts[device - 1]
        asked.add(name.value.decode())
        said._obj.device_id = where and addressof(where)

    return SimpleNamespace(
        ggml_backend_dev_count=lambda: len(texts),
        ggml_backend_dev_get=lambda i: i + 1,
        ggml_backend_dev_name=lambda device: addressof(texts[device - 1][0]),
        ggml_backend_dev_get_props=get_props,
    )


@pytest.mark.parametrize(
    ("here", "asked"),
    [
        (BOTH, {"CUDA1"}),
        ({"Vulkan0": TWO, "CUDA0": TWO, "CPU": None}, {"CUDA0"}),
        ({"Vulkan0": TWO, "CUDA0": TWO, "CUDA1": ONE, "CUDA2": ONE}, {"CUDA0", "CUDA1"}),
    ],
    ids=["where it was", "its name is gone", "another has its name"],
)
def test_a_card_that_is_not_needed_is_not_asked_for_its_address(here, asked):
    """CUDA would make a context on it, of some hundred MiB."""
    seen = set()
    (name,) = names_now(on(("CUDA1", TWO)), Addresses(ggml_with(here, seen)))
    assert here[name] == TWO
    assert name.startswith("CUDA")
    assert seen == asked


def test_no_planned_device_is_left_out_in_silence():
    odd = replace(plan(), devices=("CUDA0", "CUDA1"), device_addresses=(ONE,))
    with pytest.raises(ValueError, match="zip"):
        names_now(odd, BOTH)


def test_a_card_that_this_machine_has_not_is_missed_before_anything_is_loaded():
    with pytest.raises(LoadError, match="finds no device at ffff:1f"):
        bound(on(("CUDA0", "ffff:1f:1f.7")))
    assert bound(plan()) is not None
