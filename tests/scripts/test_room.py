import subprocess
import sys
from pathlib import Path

import pytest
from scripts_fakes import FakeSources

from scripts.setup import room
from scripts.setup.source_build import n_jobs

ROOT = Path(__file__).parents[2]
BIG_HOST = {"/proc/meminfo": "MemTotal: 264000000 kB\nMemAvailable: 250000000 kB\n"}
V2 = {
    "/proc/self/cgroup": "0::/\n",
    "/sys/fs/cgroup/cpu.max": "200000 100000\n",
    "/sys/fs/cgroup/memory.max": f"{4 << 30}\n",
    "/sys/fs/cgroup/memory.current": f"{1 << 30}\n",
    "/sys/fs/cgroup/memory.stat": f"inactive_file {1 << 29}\n",
}
V1 = {
    "/proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",  # the host's paths
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 << 30}\n",
    "/sys/fs/cgroup/memory/memory.usage_in_bytes": f"{1 << 30}\n",
    "/sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {1 << 29}\n",
}


@pytest.mark.parametrize("group", [V2, V1], ids=["v2", "v1"])
def test_a_container_of_a_big_host_starts_as_many_compilers_as_it_has_room_for(tmp_path, group):
    """docker run --cpus=2 --memory=4g, on 64 cores."""
    found = room.look(FakeSources(tmp_path, files=BIG_HOST | group), n_cores=64)

    assert found == room.Room(2, 7 << 29)
    assert n_jobs("cpu", found.n_cores, found.free_bytes) == 2
    assert n_jobs("cuda", found.n_cores, found.free_bytes) == 1


@pytest.mark.parametrize("group", [{}, {"/proc/self/cgroup": "0::/\n"}])
def test_without_limits_the_machine_is_all_theirs(tmp_path, group):
    sources = FakeSources(tmp_path, files=BIG_HOST | group)

    assert room.look(sources, n_cores=64) == room.Room(64, 250000000 * 1024)


def test_a_part_of_a_core_is_one(tmp_path):
    files = BIG_HOST | V2 | {"/sys/fs/cgroup/cpu.max": "50000 100000"}

    assert room.look(FakeSources(tmp_path, files=files), n_cores=8).n_cores == 1


def test_a_mac_has_no_groups_and_tells_no_free_memory(tmp_path):
    assert room.look(FakeSources(tmp_path, "Darwin"), n_cores=10) == room.Room(10, None)


def test_the_set_up_asks_before_anything_is_installed():
    """Of edgellm it reaches what the standard library alone can load."""
    code = "import sys; import scripts.setup.install; print('msgspec' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert (said.stdout, said.stderr) == ("False\n", "")
