"""The kernel's structs, written down here field by field as its header has them: the compiler's
rules of layout (ctypes) and the reader's offsets have to agree."""

import ctypes
from ctypes import c_uint8, c_uint16, c_uint32, c_uint64

import pytest

from edgellm.meter.readers.amd_metrics import Metrics, parse, throttled_since

THERMAL, POWER = 1 << 36, 1 << 0  # of indep_throttle_status: hot spot, package power


def u16(names):
    return [(name, c_uint16) for name in names.split()]


def u32(names):
    return [(name, c_uint32) for name in names.split()]


def layout(*fields, size=None):
    """`size`: where only the beginning is written down."""
    names = [*u16("structure_size"), ("format", c_uint8), ("content", c_uint8)]
    for part in fields:
        names += part if isinstance(part, list) else [part]
    made = type("Layout", (ctypes.Structure,), {"_fields_": names})
    if size is None:
        return made
    rest = ("rest", c_uint8 * (size - ctypes.sizeof(made)))
    return type("Layout", (made,), {"_fields_": [rest]})


ENERGY, CLOCK = ("energy_accumulator", c_uint64), ("system_clock_counter", c_uint64)
INDEP = ("indep_throttle_status", c_uint64)
CLOCKS_1 = u16("gfxclk socclk uclk vclk0 dclk0 vclk1 dclk1")
V1_1 = [
    *u16("edge hotspot mem vrgfx vrsoc vrmem gfx_activity umc_activity mm_activity socket_power"),
    ENERGY, CLOCK, *CLOCKS_1, *((f"current_{n}", kind) for n, kind in CLOCKS_1),
    ("throttle_status", c_uint32), *u16("fan link_width link_speed padding"),
    *u32("gfx_acc mem_acc"), ("hbm", c_uint16 * 4),
]  # fmt: skip
V1_2 = [*V1_1, ("firmware_timestamp", c_uint64)]
V1_3 = [*V1_2, *u16("voltage_soc voltage_gfx voltage_mem padding1"), INDEP]
CARD = u16("temperature mem vrsoc socket_power gfx_activity umc_activity")
RESIDENCIES = u32("accumulation prochot ppt socket_thm vr_thm hbm_thm")
APU_2 = [
    *u16("temperature soc"), ("core", c_uint16 * 8), ("l3", c_uint16 * 2),
    *u16("gfx_activity mm_activity"), CLOCK, *u16("socket_power cpu_power soc_power gfx_power"),
    ("core_power", c_uint16 * 8), ("clocks", c_uint16 * 6), ("current", c_uint16 * 6),
    ("coreclk", c_uint16 * 8), ("l3clk", c_uint16 * 2), ("throttle_status", c_uint32),
    ("fan_pwm", c_uint16), ("padding", c_uint16 * 3),
]  # fmt: skip
AVERAGES = ("averages", c_uint16 * 12)
APU_3 = [
    *u16("temperature soc"), ("core", c_uint16 * 16), *u16("skin gfx_activity vcn_activity"),
    ("ipu_activity", c_uint16 * 8), ("c0_activity", c_uint16 * 16), ("dram_ipu", c_uint16 * 4),
    CLOCK, ("socket_power", c_uint32), ("ipu_power", c_uint16),
    *u32("apu_power gfx_power dgpu_power all_core_power"), ("core_power", c_uint16 * 16),
    *u16("sys_power stapm_limit current_stapm_limit"), ("clocks", c_uint16 * 8),
    ("coreclk", c_uint16 * 16), *u16("core_maxfreq gfx_maxfreq"),
    *u32("prochot spl fppt sppt thm_core thm_gfx thm_soc time_filter"),
]  # fmt: skip

LAYOUTS = {
    (1, 1): layout(V1_1),
    (1, 2): layout(V1_2),
    (1, 3): layout(V1_3),
    (1, 4): layout(CARD, ("vcn", c_uint16 * 4), ENERGY, CLOCK, size=288),
    (1, 5): layout(CARD, ("vcn", c_uint16 * 4), ("jpeg", c_uint16 * 32), ENERGY, CLOCK, size=360),
    (1, 6): layout(CARD, ENERGY, CLOCK, RESIDENCIES, size=1664),
    (1, 7): layout(CARD, ("bandwidth", c_uint64), ENERGY, CLOCK, RESIDENCIES, size=2208),
    (1, 8): layout(CARD, ("bandwidth", c_uint64), ENERGY, CLOCK, RESIDENCIES, size=3360),
    (2, 1): layout(APU_2),
    (2, 2): layout(APU_2, INDEP),
    (2, 3): layout(APU_2, INDEP, AVERAGES),
    (2, 4): layout(APU_2, INDEP, AVERAGES, ("more", c_uint16 * 6)),
    (3, 0): layout(APU_3),
}


def blob(version, **values):
    """As the driver begins: all bits set, then the head, then what the chip tells."""
    kind = LAYOUTS[version]
    made = kind.from_buffer(bytearray(b"\xff" * ctypes.sizeof(kind)))
    made.structure_size, made.format, made.content = ctypes.sizeof(kind), *version
    for name, value in values.items():
        assert hasattr(made, name), name
        setattr(made, name, value)
    return bytes(made)


def told(metrics):
    return (metrics.temperature_c, metrics.memory_c, metrics.power_w, metrics.energy_j)


@pytest.mark.parametrize("version", [(1, 1), (1, 2), (1, 3)])
def test_cards_count_energy_in_ticks_of_a_65536th(version):
    data = blob(version, energy_accumulator=65536 * 1000, edge=55, socket_power=200)

    assert told(parse(data)) == (None, None, None, 1000.0), "hwmon tells the rest"


@pytest.mark.parametrize("version", [(1, n) for n in range(4, 9)])
def test_accelerators_tell_degrees_watts_and_energy(version):
    data = blob(version, temperature=61, mem=48, socket_power=743, energy_accumulator=65536 * 7)

    assert told(parse(data)) == (61.0, 48.0, 743.0, 7.0)


@pytest.mark.parametrize(
    ("version", "power_w"), [((2, 1), None), ((2, 2), None), ((2, 3), None), ((2, 4), 15.5)]
)
def test_apus_tell_hundredths_of_a_degree_and_the_newer_ones_milliwatts(version, power_w):
    data = blob(version, temperature=5475, socket_power=15500)

    assert told(parse(data)) == (54.75, None, power_w, None)


def test_a_strix_tells_milliwatts_that_need_four_bytes():
    assert told(parse(blob((3, 0), temperature=4812, socket_power=118_500))) == (
        48.12, None, 118.5, None,
    )  # fmt: skip


@pytest.mark.parametrize("version", [(1, 3), (2, 2), (2, 3), (2, 4)])
def test_why_it_is_slowed_where_the_bits_mean_the_same_on_every_chip(version):
    def reasons(bits):
        return parse(blob(version, indep_throttle_status=bits)).throttle

    assert reasons(0) == ()
    assert reasons(THERMAL | POWER) == ("thermal", "power_cap")
    assert reasons(1 << 56) == (), "neither heat nor power"


@pytest.mark.parametrize(
    ("version", "field", "reason"),
    [
        *(((1, n), "ppt", "power_cap") for n in (6, 7, 8)),
        *(((1, n), "prochot", "thermal") for n in (6, 7, 8)),
        *(((1, n), "hbm_thm", "thermal") for n in (6, 7, 8)),
        ((3, 0), "prochot", "thermal"),
        ((3, 0), "spl", "power_cap"),
        ((3, 0), "sppt", "power_cap"),
        ((3, 0), "thm_soc", "thermal"),
    ],
)
def test_a_counter_that_runs_is_a_reason(version, field, reason):
    names = "prochot spl fppt sppt thm_core thm_gfx thm_soc"
    if version[0] == 1:
        names = "prochot ppt socket_thm vr_thm hbm_thm"
    still = dict.fromkeys(names.split(), 7)
    before, after = (parse(blob(version, **(still | more))) for more in ({}, {field: 9}))

    assert before.throttle is None
    assert throttled_since(before, before) == ()
    assert throttled_since(before, after) == (reason,)
    assert throttled_since(after, before) == (), "the driver was loaded anew"


@pytest.mark.parametrize("version", LAYOUTS)
def test_what_the_driver_has_not_filled_is_unknown(version):
    assert parse(blob(version)) == Metrics()


@pytest.mark.parametrize("version", LAYOUTS)
def test_half_a_struct_and_one_of_another_size_tell_nothing(version):
    whole = blob(version, **({"temperature": 60} if version >= (1, 4) else {}))
    for cut in range(0, len(whole), 3):
        assert parse(whole[:cut]) == Metrics()
    assert parse(whole + b"\x00") == Metrics()


@pytest.mark.parametrize("version", [(1, 0), (1, 9), (2, 0), (2, 5), (3, 1), (4, 0), (255, 255)])
def test_an_unknown_version_tells_nothing(version):
    data = bytearray(blob((1, 3), energy_accumulator=65536))
    data[2:4] = version

    assert parse(bytes(data)) == Metrics()


@pytest.mark.parametrize("data", [b"", b"\x00", b"garbage", bytes(120), b"\xff" * 120])
def test_garbage_tells_nothing(data):
    assert parse(data) == Metrics()
