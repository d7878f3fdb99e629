from dataclasses import replace

import pytest

from edgellm.probe import merge
from edgellm.probe.hardware import MemoryPool, Serving
from edgellm.probe.known.catalog import Catalog, DeviceRow
from edgellm.probe.registry import GgmlDevice, Registry
from edgellm.probe.vendors.cards import Card
from edgellm.units import GIB

HOST = MemoryPool("host", "host", 64 * GIB, 60 * GIB, 50e9)
NO_CATALOG = Catalog()


def card(name="RTX 3090", address="0000:01:00.0", vendor="nvidia", **more):
    return Card(vendor, name, address, total_bytes=24 * GIB, free_bytes=23 * GIB, **more)


def ggml(name="CUDA0", description="RTX 3090", registry="CUDA", **more):
    return GgmlDevice(
        **{
            "name": name,
            "description": description,
            "type": "gpu",
            "free_bytes": 22 * GIB,
            "total_bytes": 24 * GIB,
            "registry": registry,
            **more,
        }
    )


def registry(*devices, **features):
    names = tuple(dict.fromkeys(device.registry for device in devices))
    return Registry(devices=devices, registries=(*names, "CPU"), features=features)


def names(pairs):
    return [(p.card and p.card.address, p.ggml and p.ggml.name) for p in pairs]


def place(found, told):
    return merge.place(found, told, HOST, NO_CATALOG)


def test_an_equal_pci_address_makes_two_views_one_card():
    cards = [card(address="0000:01:00.0"), card(address="0000:02:00.0")]
    told = registry(
        ggml("CUDA0", device_id="0000:02:00.0"), ggml("CUDA1", device_id="0000:01:00.0")
    )

    pairs, notes = merge.pair(cards, told)

    assert names(pairs) == [("0000:02:00.0", "CUDA0"), ("0000:01:00.0", "CUDA1")]
    assert notes == []


def test_of_two_backends_on_one_card_llama_cpp_takes_the_first():
    told = registry(
        ggml("CUDA0", device_id="0000:01:00.0"),
        ggml("Vulkan0", registry="Vulkan", device_id="0000:01:00.0"),
    )

    pairs, _ = merge.pair([card()], told)

    assert names(pairs) == [("0000:01:00.0", "CUDA0")]


def test_two_views_on_a_card_that_no_vendor_told_of_are_one_device():
    told = registry(
        ggml("ROCm0", registry="ROCm", device_id="0000:01:00.0"),
        ggml("Vulkan0", registry="Vulkan", device_id="0000:01:00.0"),
    )

    pairs, _ = merge.pair([], told)

    assert names(pairs) == [(None, "ROCm0")]


def test_virtual_devices_of_one_card_count_its_memory_once():
    told = registry(
        ggml("CUDA0", device_id="0000:01:00.0"), ggml("CUDA1", device_id="0000:01:00.0-v1")
    )

    pairs, _ = merge.pair([card()], told)

    assert names(pairs) == [("0000:01:00.0", "CUDA0")]


def test_without_an_address_a_unique_name_joins():
    cards = [card("Arc A770", "0000:03:00.0", "intel"), card("Arc B580", "0000:04:00.0", "intel")]
    told = registry(ggml("SYCL0", "Arc B580", "SYCL"), ggml("SYCL1", "Arc A770", "SYCL"))

    pairs, notes = merge.pair(cards, told)

    assert names(pairs) == [("0000:04:00.0", "SYCL0"), ("0000:03:00.0", "SYCL1")]
    assert notes == []


def test_a_driver_in_parentheses_is_no_part_of_a_name_and_a_suffix_is():
    cards = [card("RX 7600", "0000:03:00.0", "amd"), card("RX 7600 XT", "0000:04:00.0", "amd")]
    told = registry(
        ggml("Vulkan0", "RX 7600 XT (RADV NAVI33)", "Vulkan"),
        ggml("Vulkan1", "RX 7600 (RADV NAVI33)", "Vulkan"),
    )

    pairs, _ = merge.pair(cards, told)

    assert names(pairs) == [("0000:04:00.0", "Vulkan0"), ("0000:03:00.0", "Vulkan1")]


def test_namesakes_are_joined_in_order_when_there_are_as_many_of_each():
    cards = [card(address="0000:01:00.0"), card(address="0000:02:00.0")]

    pairs, _ = merge.pair(cards, registry(ggml("CUDA0"), ggml("CUDA1")))

    assert names(pairs) == [("0000:01:00.0", "CUDA0"), ("0000:02:00.0", "CUDA1")]


def test_when_the_counts_disagree_nothing_is_guessed_and_no_memory_counts_twice():
    cards = [card(address="0000:01:00.0"), card(address="0000:02:00.0")]
    told = registry(ggml("CUDA0"))  # one is hidden; which, nobody tells

    pairs, notes = merge.pair(cards, told)

    assert names(pairs) == [(None, "CUDA0")]
    assert len(notes) == 2


def test_the_only_cuda_device_is_the_only_nvidia_board():
    jetson = Card("nvidia", "Orin (nvgpu)", None, is_unified=True)
    told = registry(ggml("CUDA0", "Orin", type="igpu", device_id="0000:00:00.0"))

    pairs, _ = merge.pair([jetson], told)

    assert names(pairs) == [(None, "CUDA0")]
    assert pairs[0].card is jetson


def test_another_vendors_card_is_never_joined():
    pairs, _ = merge.pair([card("RX 580", vendor="amd")], registry(ggml("CUDA0")))

    assert names(pairs) == [(None, "CUDA0"), ("0000:01:00.0", None)]


def test_the_vendors_free_memory_goes_before_llama_cpps():
    told = registry(ggml(device_id="0000:01:00.0"))
    placed = place(merge.Pair(card(), told.devices[0]), told)

    assert placed.own_pool == MemoryPool("0000:01:00.0", "dedicated", 24 * GIB, 23 * GIB)


def test_a_card_that_only_llama_cpp_sees_has_the_memory_it_says():
    told = registry(ggml("Vulkan0", "Intel(R) Arc(tm) A770", "Vulkan"))
    placed = place(merge.Pair(None, told.devices[0]), told)

    assert placed.device.id == "Vulkan0"
    assert placed.device.vendor == "intel"
    assert placed.own_pool == MemoryPool("Vulkan0", "dedicated", 24 * GIB, 22 * GIB)


def test_free_memory_above_the_total_is_not_believed():
    device = ggml("Vulkan0", "Intel", "Vulkan", free_bytes=99 * GIB)
    placed = place(merge.Pair(None, device), registry(device))

    assert placed.own_pool.free_bytes == placed.own_pool.total_bytes


def test_an_integrated_gpu_lives_in_the_hosts_memory_and_may_map_a_part():
    device = ggml("Vulkan0", "Intel UHD", "Vulkan", type="igpu", total_bytes=31 * GIB)
    placed = place(merge.Pair(None, device), registry(device))

    assert placed.own_pool is None
    assert placed.device.pool_id == "host"
    assert placed.device.memory_limit_bytes == 31 * GIB
    assert merge.unify(HOST, [placed]).kind == "unified"


def test_an_integrated_gpu_beside_a_card_is_left_alone():
    told = registry(
        ggml("Vulkan0", "RTX 3090", "Vulkan"), ggml("Vulkan1", "Intel UHD", "Vulkan", type="igpu")
    )
    placed = place(merge.Pair(None, told.devices[1]), told)

    assert placed.device.backend == "none"
    assert "integrated" in placed.device.note


def test_the_cpu_in_a_gpus_clothes_is_not_used():
    device = ggml("Vulkan0", "llvmpipe (LLVM 15.0.6, 256 bits)", "Vulkan")
    placed = place(merge.Pair(None, device), registry(device))

    assert placed.device.backend == "none"
    assert placed.own_pool is None


def test_a_card_older_than_the_builds_code_is_named_with_the_fix():
    told = registry(ggml(device_id="0000:01:00.0"), CUDA={"ARCHS": "750,890"})
    placed = place(merge.Pair(card(architecture="sm_61"), told.devices[0]), told)

    assert placed.device.backend == "none"
    assert "7.5, the card has 6.1" in placed.device.note
    assert 'CMAKE_ARGS="-D' in placed.device.note
    assert "python -m pip install" in placed.device.note


def test_a_backend_that_is_there_and_lists_nothing_is_told_from_one_that_is_missing():
    there = Registry(devices=(), registries=("CUDA", "CPU"))
    missing = Registry(devices=(), registries=("CPU",))

    assert "CUDA_VISIBLE_DEVICES" in place(merge.Pair(card(), None), there).device.note
    assert "-DGGML_CUDA=on" in place(merge.Pair(card(), None), missing).device.note
    assert "could not be read" in place(merge.Pair(card(), None), None).device.note


def test_a_card_without_a_driver_needs_one_before_it_needs_a_backend():
    seen = Card("nvidia", "NVIDIA device 2684", "0000:01:00.0", has_driver=False)

    assert "`nvidia-smi` must list" in place(merge.Pair(seen, None), registry()).device.note


def test_a_card_that_only_llama_cpp_knows_by_name_has_that_name_and_memory():
    seen = Card("intel", "Intel device e20b", "0000:03:00.0", has_driver=False)
    told = registry(ggml("Vulkan0", "Intel(R) Arc B580", "Vulkan", device_id="0000:03:00.0"))
    [found], _ = merge.pair([seen], told)

    placed = place(found, told)

    assert (placed.device.name, placed.device.note) == ("Intel(R) Arc B580", None)
    assert placed.own_pool.total_bytes == 24 * GIB


def test_a_drivers_figure_far_from_the_known_one_is_a_misread_unit():
    row = DeviceRow(
        name="x", vendor="nvidia", match=("RTX 3090",), bandwidth_gb_s=936, source="", date=""
    )
    known = Catalog(device=(row,))

    def bandwidth(told):
        found = merge.Pair(card(bandwidth_bytes_s=told), None)
        return merge.place(found, None, HOST, known).own_pool.bandwidth_bytes_s

    assert bandwidth(468e9) == 936e9
    assert bandwidth(950e9) == 950e9
    assert bandwidth(None) == 936e9


def test_what_no_sensor_tells_is_taken_from_the_data_sheet_and_a_limit_from_the_driver():
    row = DeviceRow(
        name="x", vendor="nvidia", match=("RTX 3090",), fp16_tflops=71.2, board_power_w=350,
        peer_gb_s=600, source="", date="",
    )  # fmt: skip
    known = Catalog(device=(row,))
    device = merge.place(merge.Pair(card(), None), None, HOST, known).device
    assert (device.fp16_flops_s, device.board_power_w, device.peer_bytes_s) == (
        71.2e12,
        350,
        300e9,
    )
    capped = merge.Pair(card(power_limit_w=250.0), None)
    assert merge.place(capped, None, HOST, known).device.board_power_w == 250.0
    assert place(capped, None).device.fp16_flops_s is None


def npu(index, address, part=None):
    return card(f"Ascend{index}", address, "huawei", index=index, part=part)


def cann(*names):
    return registry(*(ggml(name, "Ascend910B2", "CANN") for name in names))


def test_without_address_and_name_the_number_joins_when_the_counts_agree():
    cards = [npu(1, "0000:01:00.0"), npu(0, "0000:c1:00.0")]

    pairs, notes = merge.pair(cards, cann("CANN0", "CANN1"))

    assert names(pairs) == [("0000:c1:00.0", "CANN0"), ("0000:01:00.0", "CANN1")]
    assert notes == []


def test_a_number_joins_nothing_when_one_card_is_hidden():
    cards = [npu(0, "0000:01:00.0"), npu(1, "0000:c1:00.0"), npu(2, "0000:c2:00.0")]

    pairs, notes = merge.pair(cards, cann("CANN0", "CANN1"))

    assert names(pairs) == [(None, "CANN0"), (None, "CANN1")]
    assert len(notes) == 3


def test_two_chips_of_one_address_have_an_id_each():
    told = cann("CANN0", "CANN1")
    pairs, _ = merge.pair([npu(0, "0000:01:00.0", 0), npu(1, "0000:01:00.0", 1)], told)

    assert [place(pair, told).device.id for pair in pairs] == ["0000:01:00.0", "0000:01:00.0/1"]


def test_each_accelerator_names_the_backend_that_serves_it_and_how_to_get_it():
    bare = Registry(devices=(), registries=("CPU",))

    def serving(vendor, **more):
        return place(merge.Pair(card(vendor=vendor, **more), None), bare).device.serving

    assert serving("amd", architecture="gfx1101").backend == "ROCm"
    assert "-DGPU_TARGETS=gfx1101" in serving("amd", architecture="gfx1101").command
    assert "set_env.sh" in serving("huawei").command
    assert "MUSA SDK" in serving("moorethreads").command
    assert "DTK" in serving("hygon").command
    assert serving("nvidia").in_build is False
    assert serving("biren") is None
    told = registry(ggml(device_id="0000:01:00.0"))
    assert place(merge.Pair(card(), told.devices[0]), told).device.serving == Serving(
        "CUDA", True, None
    )


def test_what_a_backend_complains_of_stands_in_the_reason():
    words = "ggml_cuda_init: failed to initialize CUDA: driver version is insufficient"
    told = Registry(devices=(), registries=("CUDA", "CPU"), complaints=(words,))

    assert words in place(merge.Pair(card(), None), told).device.note


def test_an_apu_of_which_rocm_sees_the_carve_out_only_is_told_of_vulkan():
    apu = Card("amd", "890M", "0000:c1:00.0", is_unified=True, limit_bytes=20 * GIB)
    few = ggml("ROCm0", "890M", "ROCm", type="igpu", total_bytes=4 * GIB, free_bytes=4 * GIB)
    all_ = ggml("ROCm0", "890M", "ROCm", type="igpu", total_bytes=20 * GIB)

    assert "GGML_VULKAN=on" in place(merge.Pair(apu, few), registry(few)).device.note
    assert place(merge.Pair(apu, all_), registry(all_)).device.note is None


@pytest.mark.parametrize("nonsense", [-1, 2**64 - 1, 10**26])
def test_a_size_that_can_not_be_is_not_told_and_ggmls_word_is_taken(nonsense):
    told = registry(ggml(device_id="0000:01:00.0"))
    odd = replace(card(), total_bytes=nonsense, free_bytes=nonsense)
    placed = place(merge.Pair(odd, told.devices[0]), told)

    assert (placed.own_pool.total_bytes, placed.own_pool.free_bytes) == (24 * GIB, 22 * GIB)
    odd = replace(card(), free_bytes=nonsense)
    assert place(merge.Pair(odd, told.devices[0]), told).own_pool.free_bytes is None


def test_a_card_never_has_more_free_than_it_has():
    told = registry(ggml())
    odd = replace(card(), free_bytes=25 * GIB)

    assert place(merge.Pair(odd, told.devices[0]), told).own_pool.free_bytes == 24 * GIB


@pytest.mark.parametrize("nonsense_w", [65535.0, 1.8e19])
def test_a_limit_that_can_not_be_is_not_told(nonsense_w):
    odd = replace(card(), limit_bytes=-1, is_unified=True, power_limit_w=nonsense_w)
    device = place(merge.Pair(odd, None), registry()).device

    assert (device.memory_limit_bytes, device.board_power_w) == (None, None)
