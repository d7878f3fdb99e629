import http.server
import socket
import threading
import time

import pytest

from scripts.setup.machine import Amd, Machine, Nvidia
from scripts.setup.wheels import NoWheel, Wheel, index_base, kinds, wheel, why_silent

FLAGS = frozenset(("avx2", "fma", "f16c", "bmi2"))
LINUX = Machine("Linux", "x86_64", cpu_flags=FLAGS)


def nvidia(driver, *capabilities):
    cards = Nvidia((), driver, tuple(sorted(capabilities)))
    return Machine("Linux", "x86_64", nvidia=cards, cpu_flags=FLAGS)


@pytest.mark.parametrize(
    ("driver", "capabilities", "tag"),
    [
        ((12, 4), [(8, 6)], "cu124"),
        ((12, 9), [(8, 9)], "cu125"),  # the newest 12 that is published
        ((13, 0), [(8, 9)], "cu130"),
        ((13, 3), [(12, 0)], "cu132"),
        ((13, 1), [(7, 5), (12, 0)], "cu130"),
        ((13, 3), [(6, 1), (8, 6)], "cu125"),  # the lowest decides: CUDA 13 has no code for 6.1
        ((12, 0), [(8, 6)], "cu118"),
        ((11, 8), [(6, 0), (8, 9)], "cu118"),
    ],
)
def test_cuda_wheels_follow_the_driver_and_the_lowest_capability(driver, capabilities, tag):
    assert wheel(nvidia(driver, *capabilities), "cuda") == Wheel(tag)


@pytest.mark.parametrize(
    ("driver", "capabilities", "why"),
    [
        ((12, 4), [(5, 2), (8, 6)], "a card has 5.2"),
        ((11, 4), [(8, 6)], "the driver is for CUDA 11.4"),
        ((12, 0), [(9, 0)], "the driver is for CUDA 12.0"),
        ((12, 4), [], "does not tell"),
        (None, [(8, 6)], "does not tell"),
    ],
)
def test_cards_without_a_cuda_wheel_are_told_why(driver, capabilities, why):
    answer = wheel(nvidia(driver, *capabilities), "cuda")
    assert isinstance(answer, NoWheel)
    assert why in answer.why


@pytest.mark.parametrize(
    ("rocm", "targets", "expected"),
    [
        ((7, 2), ("gfx1101",), Wheel("rocm72")),
        ((6, 4), ("gfx1101",), NoWheel("upstream's is for ROCm 7.2, here is 6.4")),
        ((7, 2), ("gfx803", "gfx1101"), NoWheel("upstream's has no code for gfx803")),
        (None, ("gfx1101",), NoWheel("there is no ROCm in /opt/rocm")),
    ],
)
def test_rocm_wheels_need_its_release_and_a_known_target(rocm, targets, expected):
    machine = Machine("Linux", "x86_64", amd=Amd(targets, rocm), gpu_vendors=("AMD",))
    assert wheel(machine, "rocm") == expected


def test_a_cpu_without_avx2_gets_no_wheel():
    old = Machine("Linux", "x86_64", cpu_flags=frozenset(("sse4_2",)))
    assert wheel(LINUX, "cpu") == Wheel("cpu")
    assert wheel(old, "cpu") == NoWheel("upstream's need a CPU with avx2, bmi2, f16c, fma")


def test_other_systems_have_the_wheels_that_are_published_for_them():
    assert wheel(Machine("Linux", "aarch64"), "cpu") == Wheel("cpu")
    assert wheel(Machine("Darwin", "arm64"), "metal") == Wheel("metal")
    assert isinstance(wheel(Machine("Darwin", "x86_64"), "metal"), NoWheel)
    jetson = Machine("Linux", "aarch64", nvidia=Nvidia((), (12, 6), ((8, 7),)))
    assert isinstance(wheel(jetson, "cuda"), NoWheel)


def test_the_best_backend_comes_first_and_the_cpu_last():
    card = Nvidia((), (12, 4), ((8, 6),))
    with_vulkan = Machine("Linux", "x86_64", nvidia=card, has_vulkan_loader=True)
    assert kinds(with_vulkan) == ("cuda", "vulkan", "cpu")
    radeon = Machine(
        "Linux", "x86_64", amd=Amd((), None), gpu_vendors=("AMD",), has_vulkan_loader=True
    )
    assert kinds(radeon) == ("rocm", "vulkan", "cpu")
    assert kinds(Machine("Darwin", "arm64")) == ("metal", "cpu")
    # A loader alone is no GPU: on a virtual machine it would find llvmpipe.
    assert kinds(Machine("Linux", "x86_64", has_vulkan_loader=True)) == ("cpu",)


def test_the_index_can_be_another_or_none():
    assert index_base(None) == index_base("") == "https://abetlen.github.io/llama-cpp-python/whl"
    assert index_base("http://mirror.lan/whl/") == "http://mirror.lan/whl"
    assert index_base("none") is None


def test_an_index_that_never_answers_costs_its_limit():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began_s = time.monotonic()
        silence = why_silent(f"http://127.0.0.1:{silent.getsockname()[1]}/cpu/", limit_s=0.5)
        assert time.monotonic() - began_s < 4.5, "the usual limit is five"
    assert silence
    assert not silence.reached


def test_the_limit_holds_though_bytes_keep_coming():
    """Every byte restarts a socket's time-out; the limit is on the whole."""
    with socket.create_server(("127.0.0.1", 0)) as drip:

        def answer():
            connection, _ = drip.accept()
            with connection:
                for _ in range(400):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return
                    time.sleep(0.1)

        threading.Thread(target=answer, daemon=True).start()
        began_s = time.monotonic()
        silence = why_silent(f"http://127.0.0.1:{drip.getsockname()[1]}/cpu/", limit_s=1.0)
        assert time.monotonic() - began_s < 20, "bytes come for forty"
    assert silence
    assert silence.message == "no answer within 1 s"


def test_a_page_that_is_missing_is_told_from_an_index_that_is():
    class Index(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path.startswith("/cpu/") else 404)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        assert why_silent(f"{base}/cpu/llama-cpp-python/") is None
        missing = why_silent(f"{base}/cu999/llama-cpp-python/")
        server.shutdown()
    assert missing
    assert missing.reached
    gone = why_silent(f"{base}/cpu/llama-cpp-python/")
    assert gone
    assert not gone.reached


def test_who_tells_it_names_the_backend_so_the_reason_does_not():
    assert wheel(Machine("Linux", "riscv64"), "cpu") == NoWheel(
        "none is published for Linux riscv64"
    )
