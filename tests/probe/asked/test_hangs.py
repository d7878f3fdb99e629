import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from probe_fakes import FakeSources

from edgellm.probe import registry
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.asked.hangs import HangSkippingSources
from edgellm.probe.host import host
from edgellm.probe.sources import NoAnswer, Output, capture_name

NPU = ("npu-smi", "info")
BOOT = "/proc/sys/kernel/random/boot_id"
HUNG = NoAnswer("timeout", "npu-smi gave no answer within 4 s")
MIN = 60.0


class Machine(FakeSources):
    """Counts what is started."""

    def __init__(self, answer):
        commands = {"npu-smi info": answer, "registry_child": answer}
        super().__init__({BOOT: "b1\n"}, commands)
        self.asked = []

    @property
    def n_started(self):
        return len(self.asked)

    def run(self, argv, timeout_s):
        self.asked.append(capture_name(argv))
        return super().run(argv, timeout_s)


@pytest.fixture
def ask(tmp_path):
    """Each call is another program's: only the file is between them."""

    def ask(machine, argv=NPU, now_s=0.0, **more):
        return HangSkippingSources(machine, tmp_path, clock=lambda: now_s, **more).run(argv, 4.0)

    return ask


def test_who_hung_is_not_waited_for_again_and_it_is_said_until_when(ask):
    machine = Machine(HUNG)
    first, second = ask(machine), ask(machine, now_s=3 * MIN)

    assert first == HUNG
    assert second == NoAnswer(
        "timeout",
        "npu-smi gave no answer within 4 s, 3 min ago; not asked again for 7 min "
        "(edgellm doctor asks at once)",
    )
    assert machine.n_started == 1


def test_the_fault_of_the_next_probe_says_it(tmp_path):
    for _ in range(2):
        evidence = Evidence(HangSkippingSources(Machine(HUNG), tmp_path))
        assert evidence.run(NPU, 4.0) is None

    assert "not asked again for 10 min" in evidence.faults[0].message


def test_each_further_hang_is_remembered_for_twice_as_long(ask):
    machine = Machine(HUNG)
    for now_s in (0, 9 * MIN, 10 * MIN, 29 * MIN, 30 * MIN, 69 * MIN, 70 * MIN):
        ask(machine, now_s=now_s)

    assert machine.n_started == 4


def test_who_answers_again_is_forgotten(ask):
    machine = Machine(HUNG)
    ask(machine)
    machine.commands["npu-smi info"] = "a table"

    assert ask(machine, now_s=10 * MIN) == Output("a table")
    assert ask(machine, now_s=10 * MIN) == Output("a table")
    machine.commands["npu-smi info"] = HUNG
    ask(machine, now_s=11 * MIN)
    assert "not asked again for 10 min" in ask(machine, now_s=11 * MIN).message


@pytest.mark.parametrize("answer", ["a table", NoAnswer("denied", "no"), NoAnswer("broken", "no")])
def test_only_a_hang_is_remembered(ask, answer):
    machine = Machine(answer)
    ask(machine)
    ask(machine)

    assert machine.n_started == 2


def test_the_doctor_asks_at_once_and_what_he_hears_holds(ask):
    machine = Machine(HUNG)
    ask(machine)
    assert ask(machine, ask_again=True) == HUNG
    machine.commands["npu-smi info"] = "a table"
    ask(machine, ask_again=True)

    assert ask(machine) == Output("a table")


def test_another_boot_and_a_clock_that_went_back_are_another_matter(ask):
    machine = Machine(HUNG)
    ask(machine, now_s=1000.0)
    ask(machine, now_s=10.0)
    machine.files[BOOT] = "b2\n"
    ask(machine, now_s=20.0)

    assert machine.n_started == 3


def mac(boot):
    machine = Machine(HUNG)
    machine.system, machine.files = "Darwin", {}
    machine.commands[capture_name(host.SYSCTL)] = f"kern.bootsessionuuid: {boot}\n"
    return machine


def test_a_mac_says_by_sysctl_which_boot_it_is(tmp_path):
    def asked(machine):
        HangSkippingSources(machine, tmp_path).run(NPU, 4.0)
        return machine.asked.count("npu-smi info")

    assert asked(mac("9D1C")) == 1
    assert asked(mac("9D1C")) == 0, "in the same boot it is left alone"
    assert asked(mac("AAAA")) == 1


@pytest.mark.parametrize("says_none", [FakeSources(), FakeSources(system="Darwin")])
def test_where_nobody_says_which_boot_it_is_a_hang_is_forgotten_with_the_program(
    tmp_path, says_none
):
    says_none.commands["npu-smi info"] = HUNG
    one = HangSkippingSources(says_none, tmp_path)
    one.run(NPU, 4.0)

    assert "not asked again" in one.run(NPU, 4.0).message
    assert HangSkippingSources(says_none, tmp_path).run(NPU, 4.0) == HUNG


def test_two_probes_that_note_at_once_keep_what_the_other_wrote(ask, tmp_path):
    machine = Machine(HUNG)
    machine.commands["brsmi"] = HUNG
    one, other = (HangSkippingSources(machine, tmp_path, clock=lambda: 0.0) for _ in range(2))
    one.run(NPU, 4.0)
    other.run(("brsmi",), 4.0)

    assert "not asked again" in ask(machine).message
    assert "not asked again" in ask(machine, ("brsmi",)).message


def test_many_that_note_at_the_same_moment_lose_nothing(tmp_path):
    names = [f"tool-{n}" for n in range(24)]
    machine = FakeSources({BOOT: "b1"}, dict.fromkeys(names, HUNG))
    probes = [HangSkippingSources(machine, tmp_path, clock=lambda: 0.0) for _ in names]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda probe, name: probe.run((name,), 4.0), probes, names))

    assert sorted(json.loads((tmp_path / "hangs.json").read_text())["hangs"]) == sorted(names)


def test_llama_cpps_own_list_is_asked_every_time(ask):
    machine = Machine(HUNG)
    ask(machine, registry.COMMAND)
    ask(machine, registry.COMMAND)

    assert machine.n_started == 2


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"hangs": 3}), "\x00"])
def test_a_file_of_nonsense_and_a_folder_that_cannot_be_written_cost_nothing(tmp_path, text):
    (tmp_path / "hangs.json").write_text(text)
    assert HangSkippingSources(Machine("a table"), tmp_path).run(NPU, 4.0) == Output("a table")
    blocked = tmp_path / "file"
    blocked.write_text("")

    assert HangSkippingSources(Machine(HUNG), blocked).run(NPU, 4.0) == HUNG
