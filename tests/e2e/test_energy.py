"""Joules from a processor's counter to a client's answer: a real server, on a machine whose files
are ours."""

import contextlib
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from cli_runs import wait_for
from probe_fakes import CAPTURES

pytestmark = [pytest.mark.model, pytest.mark.slow]

RAPL = "sys/class/powercap/intel-rapl:0"
WATTS = 120.0
DRAM_WATTS = 15.0
PRICE = 0.30  # of a kilowatt hour


class Counters:
    """A package whose counter runs at our watts, its cores' (a part of it), and its memory's."""

    def __init__(self, root, begins_before_the_end_j):
        package = root / RAPL
        self.range_uj = int((package / "max_energy_range_uj").read_text())
        self._files = {"package": package / "energy_uj"}
        for n, name in enumerate(("core", "dram")):
            folder = root / RAPL / f"intel-rapl:0:{n}"
            folder.mkdir()
            (folder / "name").write_text(f"{name}\n")
            (folder / "max_energy_range_uj").write_text(f"{self.range_uj}\n")
            self._files[name] = folder / "energy_uj"
            (root / f"sys/class/powercap/intel-rapl:0:{n}").symlink_to(folder)
        self._began_uj = self.range_uj - int(begins_before_the_end_j * 1e6)
        self.spent_j = 0.0  # by package and memory together
        self._running, self._over = threading.Event(), threading.Event()
        self._tell(0.0)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def has_wrapped(self):
        return int(self._files["package"].read_text()) < self._began_uj

    def _tell(self, seconds):
        """As the kernel does: a reader never sees half a number."""
        grown = {"package": WATTS, "core": WATTS / 2, "dram": DRAM_WATTS}
        for name, watts in grown.items():
            file = self._files[name]
            fresh = file.with_name("fresh")
            fresh.write_text(f"{int(self._began_uj + seconds * watts * 1e6) % self.range_uj}\n")
            fresh.replace(file)
        self.spent_j = seconds * (WATTS + DRAM_WATTS)

    def _run(self):
        seconds, last_s = 0.0, time.monotonic()
        while not self._over.wait(0.02):
            now_s = time.monotonic()
            seconds += now_s - last_s if self._running.is_set() else 0.0
            last_s = now_s
            self._tell(seconds)

    @contextlib.contextmanager
    def running(self):
        """Idling long enough for its watts to be known: what idled at none before is forgotten."""
        self._running.set()
        time.sleep(5.0)
        yield
        self._running.clear()
        time.sleep(0.1)

    def end(self):
        self._over.set()
        self._thread.join()


@pytest.fixture
def counters(tmp_path):
    shutil.copytree(CAPTURES / "intel-laptop/files", tmp_path / "root", symlinks=True)
    made = Counters(tmp_path / "root", begins_before_the_end_j=WATTS * 4)
    yield made
    made.end()


class Client:
    def __init__(self, http):
        self._http = http

    def energy(self):
        return self._http.get("/edgellm/status").json()["energy"]

    def is_sampled(self):
        return self._http.get("/edgellm/status").json()["devices"][-1]["used_bytes"] is not None

    def settled(self):
        """When all that was charged in advance is paid back: no request's joules grow any more."""
        before, stop_s = self.energy(), time.monotonic() + 60
        while time.monotonic() < stop_s:
            time.sleep(4.0)
            after = self.energy()
            if after["requests_j"] == before["requests_j"]:
                return after
            before = after
        pytest.fail("what was charged in advance is not paid back")

    def ask(self, n_tokens):
        body = {
            "messages": [{"role": "user", "content": "Tell me a story"}],
            "max_tokens": n_tokens, "temperature": 0,
        }  # fmt: skip
        answer = self._http.post("/v1/chat/completions", json=body).json()
        return answer["usage"]["completion_tokens"], answer["timings"]

    def native_ratio(self, since_s):
        """Of the time from that moment on, what llama.cpp took, by the steps that are kept."""
        [model] = self._http.get("/edgellm/steps").json()["models"]
        steps = [step for step in model["steps"] if step["start_s"] >= since_s]
        native_s = sum(step["ops_s"] + step["decode_s"] + step["sample_s"] for step in steps)
        return native_s / (steps[-1]["start_s"] + steps[-1]["wall_s"] - steps[0]["start_s"])

    def metric(self, name):
        lines = self._http.get("/metrics").text.splitlines()
        [line] = [line for line in lines if line.startswith(name)]
        return float(line.rpartition(" ")[2])


@contextlib.contextmanager
def talking_to(live):
    with httpx2.Client(base_url=live.url, trust_env=False, timeout=120) as http:
        yield Client(http)


def until_priced(client):
    """The first readings have nothing to be compared with; who ends before has no number."""
    stop_s = time.monotonic() + 60
    while time.monotonic() < stop_s:
        if "energy_j" in client.ask(100)[1]:
            return
    pytest.fail("no answer was told its joules")


def crowd(client, seconds):
    """Eight clients' answers over so many seconds: on any machine several readings."""
    stop_s = time.monotonic() + seconds

    def asking(n):
        answers = []
        while time.monotonic() < stop_s:
            answers.append(client.ask((20, 120, 40, 60)[(n + len(answers)) % 4]))
        return answers

    with ThreadPoolExecutor(8) as clients:
        return [one for answers in clients.map(asking, range(8)) for one in answers]


def test_what_a_counter_counted_is_told_by_answers_and_idling_and_nothing_is_lost(
    home, tmp_path, counters
):
    server = home.serving(
        "serve", "demo", "--port", "0",
        EDGELLM_SENSORS_ROOT=str(tmp_path / "root"), EDGELLM_ENERGY_PRICE_PER_KWH=str(PRICE),
    )  # fmt: skip
    with server as live, talking_to(live) as client:
        wait_for(client.is_sampled)
        time.sleep(2.0)  # and looked at: what is spent from here on is seen
        with counters.running():
            until_priced(client)
            before = client.settled()
            told_before = client.metric("edgellm_request_energy_joules_total")
            begun_s = time.time()
            answers = crowd(client, seconds=6.0)
            took_s = time.time() - begun_s
            native_s = took_s * client.native_ratio(begun_s)
            after = client.settled()
            idle = client.settled()
        end = client.settled()
        told = client.metric("edgellm_request_energy_joules_total") - told_before
        cost = client.metric("edgellm_energy_cost_total")

    assert counters.has_wrapped
    assert end["total_j"] == pytest.approx(counters.spent_j, rel=0.001)
    assert cost == pytest.approx(end["total_j"] / 3.6e6 * PRICE)

    charged = sum(timings["energy_j"] for _, timings in answers)
    assert charged == pytest.approx(after["requests_j"] - before["requests_j"], rel=0.005)
    watts = WATTS + DRAM_WATTS
    two_readings_j = 2 * watts  # one that is cut at either end
    assert 0.8 * watts * native_s < charged, "what was worked is paid for"
    assert charged < watts * took_s + two_readings_j, "nobody pays for another's second"
    assert told == pytest.approx(charged, rel=0.001)
    for n_tokens, timings in answers:
        assert timings["energy_j_per_token"] == pytest.approx(
            timings["energy_j"] / n_tokens, rel=0.01, abs=1e-3
        )
    assert all(timings["energy_j"] > 0 for _, timings in answers)

    spent_idle = idle["total_j"] - after["total_j"]
    assert spent_idle > (WATTS + DRAM_WATTS) * 1.5
    assert idle["idle_j"] - after["idle_j"] == pytest.approx(spent_idle)


def test_a_machine_without_counters_tells_no_joules(home, tmp_path):
    shutil.copytree(CAPTURES / "cpu-vm/files", tmp_path / "root", symlinks=True)
    server = home.serving(
        "serve", "demo", "--port", "0", EDGELLM_SENSORS_ROOT=str(tmp_path / "root")
    )
    with server as live, talking_to(live) as client:
        wait_for(client.is_sampled)
        time.sleep(1.5)
        _, timings = client.ask(40)
        assert client.energy() is None
    assert "energy_j" not in timings
