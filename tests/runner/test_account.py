from selector_machines import machine, unified

from edgellm.runner.account import measured_shares
from edgellm.runner.loadlog import DeviceMemory
from edgellm.selector.oracle import BufferBytes
from edgellm.selector.plan import Placement, Share


def placed(*weights, layers=()):
    """On gpu0, gpu1 … and the host; each weighs what is said."""
    ids = [*(f"gpu{i}" for i in range(len(weights) - 1)), "cpu"]
    shares = tuple(Share(id, "host", (), n, 0, 0) for id, n in zip(ids, weights, strict=True))
    return Placement(shares, n_gpu_layers=0)


def test_each_buffer_is_its_devices_and_what_is_no_devices_is_the_hosts():
    memory = (
        DeviceMemory("CUDA0", 100, 20, 3),
        DeviceMemory("CUDA1", 200, 40, 6),
        DeviceMemory("CUDA_Host", 0, 0, 7),
        DeviceMemory("CPU", 1000, 300, 30),
    )

    told = measured_shares(memory, placed(100, 200, 1000), machine((8, 1), (8, 1)))

    assert told == (
        BufferBytes(100, 20, 3), BufferBytes(200, 40, 6), BufferBytes(1000, 300, 37)
    )  # fmt: skip


def test_a_card_is_not_taken_for_another_whose_name_begins_alike():
    memory = (DeviceMemory("CUDA1", 1, 0, 0), DeviceMemory("CUDA10", 10, 0, 0))
    eleven = machine(*((8, 1),) * 11)

    told = measured_shares(memory, placed(*(0,) * 12), eleven)

    assert (told[1].weight_bytes, told[10].weight_bytes) == (1, 10)


def test_a_stretch_of_the_file_counts_once_what_was_repacked():
    memory = (
        DeviceMemory("CPU_Mapped", 950, 0, 0),
        DeviceMemory("CPU_REPACK", 900, 0, 0),
        DeviceMemory("CPU", 0, 50, 5),
    )

    assert measured_shares(memory, placed(1000), machine()) == (BufferBytes(1000, 50, 5),)


def test_a_stretch_that_holds_nothing_twice_counts_as_it_is():
    memory = (DeviceMemory("CPU_Mapped", 998, 0, 0),)

    assert measured_shares(memory, placed(1000), machine()) == (BufferBytes(998, 0, 0),)


def test_what_lies_on_a_card_is_not_counted_in_the_hosts_stretch():
    memory = (DeviceMemory("CUDA0", 700, 0, 0), DeviceMemory("CPU_Mapped", 990, 0, 0))

    host = measured_shares(memory, placed(700, 300), machine((8, 1)))[-1]

    assert host.weight_bytes == 300


def test_more_than_was_predicted_is_told_as_it_is():
    memory = (DeviceMemory("CUDA0", 900, 0, 0), DeviceMemory("CPU", 600, 0, 0))

    told = measured_shares(memory, placed(700, 300), machine((8, 1)))

    assert [part.weight_bytes for part in told] == [900, 600]


def test_metal_maps_the_file_for_the_gpu():
    memory = (DeviceMemory("Metal_Mapped", 800, 0, 0), DeviceMemory("CPU_Mapped", 100, 0, 0))

    told = measured_shares(memory, placed(800, 100), unified())

    assert [part.weight_bytes for part in told] == [800, 100]


def test_before_the_load_nothing_is_measured():
    assert measured_shares((), placed(1000), machine()) == ()
