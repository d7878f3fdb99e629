from dataclasses import replace

import pytest

from edgellm.meter.guardrails import FREE, Ceilings, Guardrails
from edgellm.meter.sample import Sample
from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool


def hot(temperature_c, device_id="gpu"):
    return Sample(device_id, 0.0, temperature_c=temperature_c)


def drawing(*watts):
    return [Sample(f"gpu{i}", 0.0, power_w=power_w) for i, power_w in enumerate(watts)]


def test_below_the_margin_everybody_is_let_in():
    assert Guardrails(Ceilings(temperature_c=85.0)).look([hot(79.9)]) == FREE


def test_within_the_margin_the_pause_grows():
    rails = Guardrails(Ceilings(temperature_c=85.0))
    pauses = [rails.look([hot(t)]).pause_s for t in (80.0, 81.0, 82.5, 84.0)]

    assert pauses == pytest.approx([0.0, 0.4, 1.0, 1.6])
    assert rails.look([hot(84.0)]).reason == "gpu has 84 °C, the ceiling is 85 °C"


def test_at_the_ceiling_nobody_is_let_in_until_it_is_cool_again():
    rails = Guardrails(Ceilings(temperature_c=85.0))
    pauses = [rails.look([hot(t)]).pause_s for t in (85.0, 83.0, 81.0, 80.0, 82.5)]

    assert pauses == [None, None, None, 0.0, 1.0]


def test_the_hottest_device_decides():
    rails = Guardrails(Ceilings(temperature_c=85.0))
    assert rails.look([hot(60.0), hot(90.0, "gpu1")]).reason.startswith("gpu1 has 90 °C")


def test_cards_on_one_power_supply_are_added_up():
    rails = Guardrails(Ceilings(power_w=1000.0))

    assert rails.look(drawing(300, 300, 300)) == FREE
    assert rails.look(drawing(320, 320, 320)).pause_s == pytest.approx(1.2)
    held = rails.look(drawing(350, 350, 350))
    assert (held.pause_s, held.reason) == (None, "the boards draw 1050 W, the ceiling is 1000 W")
    assert rails.look(drawing(300, 300, 290)) == FREE


def test_an_apu_whose_socket_is_metered_twice_is_counted_once():
    """Its GPU's sensor is the socket's, which the processor's own counter has, too."""
    pool = MemoryPool("host", "unified", 64 << 30, None)
    devices = (
        Device("0000:c1:00.0", "amd", "Radeon 8060S", "vulkan", "host"),
        Device("cpu", "cpu", "Ryzen", "cpu", "host"),
    )
    apu = Hardware(devices, (pool,), Cpu("Ryzen", 16, 32, ()))
    socket = Sample("0000:c1:00.0", 0.0, power_w=60.0)
    package = Sample("cpu", 0.0, power_w=62.0, energy_j=1000.0)
    rails = Guardrails(Ceilings(power_w=100.0), apu)

    assert rails.look([socket, package]) == FREE
    assert rails.look([socket, replace(package, power_w=101.0)]).reason == (
        "the boards draw 101 W, the ceiling is 100 W"
    )
    assert Guardrails(Ceilings(power_w=55.0), apu).look([socket]).pause_s is None, "RAPL is root's"


def test_what_no_sensor_tells_holds_nobody_up():
    rails = Guardrails(Ceilings(temperature_c=85.0, power_w=1000.0))
    assert rails.look([Sample("cpu", 0.0)]) == FREE
    assert rails.look([]) == FREE


def test_without_ceilings_nothing_is_too_hot():
    assert Guardrails(Ceilings()).look([hot(120.0), *drawing(5000)]) == FREE
    assert not Ceilings().is_set
