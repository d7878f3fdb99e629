"""The sensors of each captured machine, and what goes wrong with them."""

import time

import msgspec
import pynvml
import pytest
from probe_fakes import CAPTURES, captured

from edgellm.meter.sensors import sampler_for, sensors_of
from edgellm.probe.detect import detect
from edgellm.probe.sources import NoAnswer, Output


def test_a_machine_gets_the_sensors_of_its_vendors():
    def names(name):
        machine = captured(name)
        return [sensor.name for sensor in sensors_of(detect(machine), machine)]

    assert names("rtx4090") == ["host", "nvml", "amdgpu"]
    assert names("rx7800xt") == ["host", "amdgpu"]
    assert names("raspberry-pi-5") == ["host", "vcgencmd"]


def test_this_machine_is_sampled():
    sampler = sampler_for(detect(measure_bandwidth=False))
    sampler.start()
    stop_s = time.monotonic() + 60
    while not (latest := sampler.latest()) and time.monotonic() < stop_s:
        time.sleep(0.01)
    sampler.stop()

    assert latest[0].device_id == "cpu"
    assert latest[0].total_bytes > 0


ALL = sorted(place.name for place in CAPTURES.iterdir() if place.is_dir())
SPOIL = {
    "absent": lambda text: NoAnswer("absent", "No such file or directory"),
    "denied": lambda text: NoAnswer("denied", "Permission denied"),
    "timed out": lambda text: NoAnswer("timeout", "no answer"),
    "garbage": lambda text: "\x00garbage|||\n1 2 3",
    "empty": lambda text: "",
}


class Spoilt:
    """A captured machine whose programs, and whose files unless they are spared, go wrong."""

    def __init__(self, name, spoil, *, spares_files=False):
        self._machine, self._spoil, self._spares_files = captured(name), spoil, spares_files
        self.system = self._machine.system
        self.list, self.real_path = self._machine.list, self._machine.real_path

    def read_text(self, path):
        answer = self._machine.read_text(path)
        is_spared = self._spares_files or not isinstance(answer, str)
        return answer if is_spared else self._spoil(answer)

    def read_bytes(self, path):
        if self._spares_files:
            return self._machine.read_bytes(path)
        answer = self.read_text(path)
        return answer.encode() if isinstance(answer, str) else answer

    def run(self, argv, timeout_s):
        answer = self._machine.run(argv, timeout_s)
        spoilt = self._spoil(answer.text) if isinstance(answer, Output) else answer
        return Output(spoilt) if isinstance(spoilt, str) else spoilt


def told_of(hardware, sources):
    """By device: the fields that its sensors tell, save those of the processor's own."""
    told = {}
    for sensor in sensors_of(hardware, sources)[1:]:
        try:
            read = sensor.read()
        except (OSError, pynvml.NVMLError):
            continue  # a tool or a library that tells nothing
        for sample in read:
            known = msgspec.to_builtins(sample)
            device_id = known.pop("device_id")
            told[device_id] = {
                field: value
                for field, value in known.items()
                if field != "at_s" and value not in (None, (), [], False)
            }
    return told


@pytest.mark.parametrize("how", SPOIL)
@pytest.mark.parametrize("name", ALL)
def test_whatever_goes_wrong_no_number_is_made_up(name, how):
    told = told_of(detect(captured(name)), Spoilt(name, SPOIL[how]))

    assert all(fields == {} for fields in told.values())


TOOLS = [
    "apple-m3-max", "ascend-310p", "ascend-910b", "biren-br104", "hygon-k100", "iluvatar-bi-v100",
    "metax-c550", "mlu370-x8", "mtt-s80", "raspberry-pi-5", "thead-ppu",
]  # fmt: skip


def cuts(n_pieces):
    return [lambda text, n=n: text[: len(text) * n // n_pieces] for n in range(n_pieces)]


@pytest.mark.parametrize("name", TOOLS)
def test_half_an_answer_and_foreign_words_tell_what_is_certain_and_no_other_number(name):
    hardware = detect(captured(name))
    whole = told_of(hardware, captured(name))
    translated = str.maketrans("eEé", "ééé")
    for spoil in (*cuts(150), lambda text: text.translate(translated)):
        told = told_of(hardware, Spoilt(name, spoil, spares_files=True))
        for device, fields in told.items():
            assert fields.items() <= whole[device].items(), (device, fields, whole[device])
