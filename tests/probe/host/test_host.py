import pytest
from probe_fakes import FakeSources, captured

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.host import cgroup, host
from edgellm.probe.sources import NoAnswer
from edgellm.units import GIB, MIB

TWO_CORES_FOUR_THREADS = "\n".join(
    f"processor\t: {n}\nmodel name\t: Some CPU\nphysical id\t: 0\ncore id\t\t: {n % 2}\n"
    "flags\t\t: fpu pni ssse3 avx2 avx avx512_vnni\n"
    for n in range(4)
)
MEMINFO = "MemTotal:       16777216 kB\nMemAvailable:   8388608 kB\nHugePages_Total:       0\n"


def read(files, **more):
    evidence = Evidence(FakeSources({"/proc/meminfo": MEMINFO, **files}, **more))
    return host.read(evidence), evidence


def test_hyperthreads_are_no_cores():
    found, _ = read({"/proc/cpuinfo": TWO_CORES_FOUR_THREADS})

    assert found.cpu.name == "Some CPU"
    assert (found.cpu.n_physical_cores, found.cpu.n_logical_cores) == (2, 4)


def test_only_instruction_sets_that_llama_cpp_has_kernels_for_are_named():
    found, _ = read({"/proc/cpuinfo": TWO_CORES_FOUR_THREADS})

    assert found.cpu.isa == ("sse3", "ssse3", "avx", "avx2", "avx512_vnni")


def test_cores_that_this_process_may_not_use_do_not_count():
    status = "Name:\tpython\nCpus_allowed_list:\t1,3\n"
    found, _ = read({"/proc/cpuinfo": TWO_CORES_FOUR_THREADS, "/proc/self/status": status})

    assert (found.cpu.n_physical_cores, found.cpu.n_logical_cores) == (1, 2)


def test_a_cgroups_cpu_quota_bounds_the_cores():
    files = {"/proc/self/cgroup": "0::/box\n", "/sys/fs/cgroup/box/cpu.max": "50000 100000\n"}
    found, _ = read({"/proc/cpuinfo": TWO_CORES_FOUR_THREADS, **files})

    assert found.cpu.quota_cores == 0.5
    assert found.cpu.n_physical_cores == 1


def test_an_arm_board_is_named_by_its_device_tree_and_its_core_by_its_part_number():
    found = host.read(Evidence(captured("raspberry-pi-5")))

    assert found.cpu.name == "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)"
    assert found.cpu.n_physical_cores == 4
    assert found.cpu.isa == ("neon", "fp16", "dotprod")


def test_risc_v_vectors_are_a_letter_in_isa():
    found, _ = read({"/proc/cpuinfo": "processor\t: 0\nisa\t: rv64imafdcv_zicsr\nuarch\t: x60\n"})

    assert found.cpu.isa == ("rvv",)
    assert found.cpu.name == "x60"


def test_caches_are_those_of_the_first_core():
    found = host.read(Evidence(captured("rtx4090")))

    assert found.cpu.l2_bytes == 1 * MIB
    assert found.cpu.l3_bytes == 32 * MIB


def test_memory_is_the_machines_when_no_cgroup_bounds_it():
    found, _ = read({})

    assert found.pool.total_bytes == 16 * GIB
    assert found.pool.free_bytes == 8 * GIB
    assert found.cgroup_limit_bytes is None


def test_memory_is_the_smaller_of_machine_and_cgroup():
    box = "/sys/fs/cgroup/pod/box"
    found, _ = read(
        {
            "/proc/self/cgroup": "0::/pod/box\n",
            f"{box}/memory.max": "max\n",
            "/sys/fs/cgroup/pod/memory.max": f"{4 * GIB}\n",  # the parent's binds
            "/sys/fs/cgroup/pod/memory.current": f"{3 * GIB}\n",
            "/sys/fs/cgroup/pod/memory.stat": f"anon 1\ninactive_file {GIB}\n",
        }
    )

    assert found.cgroup_limit_bytes == 4 * GIB
    assert found.pool.total_bytes == 4 * GIB
    assert found.pool.free_bytes == 2 * GIB, "3 used of 4, and 1 of those is idle file cache"


def test_no_more_is_free_than_the_cgroup_allows_though_its_use_is_not_readable():
    files = {
        "/proc/self/cgroup": "0::/\n",
        "/sys/fs/cgroup/memory.max": f"{4 * GIB}\n",
        "/sys/fs/cgroup/memory.current": NoAnswer("denied", "Permission denied"),
    }
    found, _ = read(files)

    assert (found.pool.total_bytes, found.pool.free_bytes) == (4 * GIB, 4 * GIB)


def test_a_limit_above_the_machines_memory_changes_nothing():
    found, _ = read(
        {
            "/proc/self/cgroup": "0::/\n",
            "/sys/fs/cgroup/memory.max": f"{64 * GIB}\n",
            "/sys/fs/cgroup/memory.current": f"{GIB}\n",
        }
    )

    assert (found.pool.total_bytes, found.pool.free_bytes) == (16 * GIB, 8 * GIB)


@pytest.mark.parametrize("limit", [str(2 * GIB), "9223372036854771712"])
def test_cgroup_v1_says_no_limit_with_a_huge_number(limit):
    # /docker/abc is the host's path and not there; the mount's root is our group
    group = "/sys/fs/cgroup/memory"
    files = {
        "/proc/self/cgroup": "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
        f"{group}/memory.limit_in_bytes": limit,
        f"{group}/memory.usage_in_bytes": str(GIB),
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    }
    limits = cgroup.read(Evidence(FakeSources(files)))

    assert limits.memory_bytes == (2 * GIB if limit == str(2 * GIB) else None)
    assert limits.cpus is None


def test_a_machine_that_says_nothing_is_one_unknown_core_and_no_exception():
    evidence = Evidence(FakeSources())
    found = host.read(evidence)

    assert found.cpu.n_physical_cores == 1
    assert found.pool.total_bytes == 0
    assert {fault.source for fault in evidence.faults} == {"/proc/cpuinfo", "/proc/meminfo"}


def test_a_denied_file_is_a_fault_with_the_reason():
    _, evidence = read({"/proc/cpuinfo": NoAnswer("denied", "Permission denied")})

    assert ("/proc/cpuinfo", "Permission denied") in [
        (fault.source, fault.message) for fault in evidence.faults
    ]


@pytest.mark.parametrize(
    ("files", "in_wsl", "in_container"),
    [
        ({"/proc/version": "Linux version 5.15.153.1-microsoft-standard-WSL2"}, True, False),
        ({"/.dockerenv": ""}, False, True),
        ({"/run/.containerenv": ""}, False, True),
        ({"/proc/1/cgroup": "5:memory:/kubepods/burstable/pod1\n"}, False, True),
        ({"/proc/1/cgroup": "0::/init.scope\n"}, False, False),
    ],
)
def test_the_kind_of_place_is_told(files, in_wsl, in_container):
    found, _ = read(files)

    assert (found.in_wsl, found.in_container) == (in_wsl, in_container)


def test_a_mac_is_read_by_sysctl_and_vm_stat():
    found = host.read(Evidence(captured("apple-m3-max")))

    assert found.cpu.name == "Apple M3 Max"
    assert found.cpu.n_physical_cores == 16
    assert "i8mm" in found.cpu.isa
    assert "sme" not in found.cpu.isa
    assert found.pool.total_bytes == 64 * GIB
    assert found.pool.free_bytes == 16384 * (500_000 + 900_000 + 100_000 + 20_000)


def test_a_mac_whose_tools_fail_is_unknown():
    evidence = Evidence(FakeSources(system="Darwin", commands={"vm_stat": "nonsense"}))
    found = host.read(evidence)

    assert found.pool.free_bytes is None
    assert {fault.source for fault in evidence.faults} == {"sysctl", "vm_stat"}
