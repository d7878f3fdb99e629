import pytest
from probe_fakes import CAPTURES, FakeSources, captured

from edgellm.meter.readers.host import HostSensor
from edgellm.meter.readers.raspberry import Board, FirmwareSensor, rails_w
from edgellm.meter.sensors import sensors_of
from edgellm.probe.detect import detect
from edgellm.probe.sources import NoAnswer, Output

PI5 = (CAPTURES / "raspberry-pi-5" / "commands" / "vcgencmd pmic_read_adc.out").read_text()
PI4 = Output('error=1 error_msg="Command not registered"\n')
FILE = "/sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
MODEL = {"/proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\x00"}
# volts × amperes, rail by rail, in the order of the table
WATTS = (
    0.10247270 * 3.71091200 + 0.10832820 * 3.30910500 + 0.15712470 * 1.80073100
    + 0.00585558 * 1.10439400 + 0.24105470 * 1.10805800 + 0.31424950 * 0.80402850
    + 1.42880000 * 0.90659250 + 0.00006105 * 3.31867800 + 0.00354090 * 0.79882700
    + 0.02002440 * 5.07860000
)  # fmt: skip


def firmware(rails=PI5, throttled="throttled=0x0\n", **files):
    commands = {"vcgencmd pmic_read_adc": rails, "vcgencmd get_throttled": throttled}
    return FirmwareSensor(FakeSources(MODEL | files, commands))


def read(sensor):
    """What it knows after a reading, and what it complains of."""
    try:
        assert sensor.read() == (), "the sample is the host sensor's"
    except OSError as error:
        return sensor.board, str(error)
    return sensor.board, None


def test_a_pi_5s_power_is_the_sum_of_its_rails():
    board, fault = read(firmware())

    assert board.power_w == pytest.approx(WATTS)
    assert 2.7 < WATTS < 3.0
    assert (board.throttle, fault) == ((), None)


def test_the_processors_sample_takes_it_and_nobody_waits_for_the_program():
    machine = captured("raspberry-pi-5")
    host, board = sensors_of(detect(machine), machine)
    [before] = host.read()
    board.read()
    [after] = host.read()

    assert (before.power_w, before.sees_throttle) == (None, False)
    assert after.power_w == pytest.approx(WATTS)
    assert (after.throttle, after.temperature_c) == (("hardware",), 48.3)
    assert after.energy_j is None, "it is no counter"


def test_a_counter_of_the_processors_own_goes_before_it():
    rapl = "/sys/class/powercap/intel-rapl:0"
    sources = FakeSources(
        MODEL
        | {"/proc/meminfo": "MemTotal: 8388608 kB\n", f"{rapl}/name": "package-0"}
        | {f"{rapl}/energy_uj": "1000000"},
        {"vcgencmd pmic_read_adc": PI5},
    )
    board = FirmwareSensor(sources)
    host = HostSensor(sources, board)
    read(board)
    host.read()

    assert host.read()[0].power_w == 0.0


def test_an_earlier_pi_has_no_rails_and_is_asked_for_them_once():
    asked = []

    class Pi4(FakeSources):
        def run(self, argv, timeout_s):
            asked.append(argv[1])
            return super().run(argv, timeout_s)

    commands = {"vcgencmd pmic_read_adc": PI4, "vcgencmd get_throttled": "throttled=0x8"}
    sensor = FirmwareSensor(Pi4(MODEL, commands))
    first, second = read(sensor), read(sensor)

    assert [(board.power_w, board.throttle, fault) for board, fault in (first, second)] == [
        (None, ("thermal",), None)
    ] * 2
    assert asked.count("pmic_read_adc") == 1


@pytest.mark.parametrize(
    ("rails", "fault"),
    [
        (NoAnswer("absent", "No such file or directory"), None),
        (NoAnswer("denied", "Permission denied"), "Permission denied"),
        (NoAnswer("timeout", "vcgencmd gave no answer within 1 s"), "no answer within 1 s"),
        (Output("", "VCHI initialization failed\n", 255), "VCHI initialization failed"),
        ("\x00\x7f{{ ]|||", "not understood"),
        ("", "not understood"),
        (PI5.replace(".", ","), "not understood"),
        (PI5.replace("VDD_CORE_V", "VDD_CORE"), "not understood"),
        (PI5.replace("V volt", "V 伏").replace("A current", "A 安"), "not understood"),
    ],
)
def test_whatever_goes_wrong_no_watt_is_made_up_and_the_rest_is_told(rails, fault):
    board, said = read(firmware(rails, "throttled=0x1"))

    assert (board.power_w, board.throttle) == (None, ("power_brake",))
    assert said is None if fault is None else fault in said


def test_half_a_table_is_no_smaller_power():
    whole = PI5[: PI5.index("EXT5V")]
    n_known = 0
    for cut in range(len(PI5)):
        watts = rails_w(PI5[:cut])
        assert watts is None or (cut >= len(whole.rstrip()) and watts == pytest.approx(WATTS))
        n_known += watts is not None

    assert 0 < n_known < 100


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [("0", ()), ("1", ("power_brake",)), ("c", ("hardware", "thermal")), ("50000", ())],
)
@pytest.mark.parametrize("path", [FILE, "/sys/devices/platform/soc/soc:firmware/get_throttled"])
def test_the_kernels_file_tells_what_slows_it_now(path, bits, reasons):
    board, fault = read(firmware(throttled=NoAnswer("denied", "no"), **{path: f"{bits}\n"}))

    assert (board.throttle, fault) == (reasons, None)


@pytest.mark.parametrize(
    ("said", "throttle"),
    [
        ("throttled=0xa0002\n", ("hardware",)),
        ("VCHI initialization failed", None),
        ("", None),
        (NoAnswer("absent", "no"), None),
    ],
)
def test_where_there_is_no_file_the_program_is_asked(said, throttle):
    assert read(firmware(throttled=said))[0].throttle == throttle


def test_what_is_old_is_unknown():
    now_s = [0.0]
    sources = FakeSources(MODEL, {"vcgencmd pmic_read_adc": PI5})
    sensor = FirmwareSensor(sources, clock=lambda: now_s[0])
    assert sensor.board == Board()
    sensor.read()
    now_s[0] = 5.0
    assert sensor.board.power_w == pytest.approx(WATTS)
    now_s[0] = 7.0

    assert sensor.board == Board()
