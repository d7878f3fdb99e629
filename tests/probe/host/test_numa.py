import pytest
from probe_fakes import FakeSources

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import NumaNode
from edgellm.probe.host import cpu, numa

NODES = "/sys/devices/system/node"


def evidence(files):
    return Evidence(FakeSources(files))


def test_each_node_tells_its_cores_its_memory_and_how_far_the_others_are():
    found = numa.nodes(
        evidence(
            {
                f"{NODES}/node1/cpulist": "4-7",
                f"{NODES}/node1/distance": "21 10",
                f"{NODES}/node0/cpulist": "0-3",
                f"{NODES}/node0/distance": "10 21",
                f"{NODES}/node0/meminfo": "Node 0 MemTotal:       7039192 kB\nNode 0 MemFree: 1 kB",
                f"{NODES}/online": "0-1",
            }
        )
    )

    assert found == (
        NumaNode(0, 4, 7039192 * 1024, (10, 21)),
        NumaNode(1, 4, None, (21, 10)),
    )


def test_garbage_in_a_node_costs_its_own_fields():
    found = numa.nodes(
        evidence({f"{NODES}/node0/cpulist": "what?", f"{NODES}/node0/distance": "near far"})
    )

    assert found == (NumaNode(0, 0, None, ()),)


def test_intels_two_kinds_are_told_by_their_monitoring_units():
    files = {"/sys/devices/cpu_core/cpus": "0-3", "/sys/devices/cpu_atom/cpus": "4-7"}

    assert numa.fast_cpus(evidence(files), range(8)) == {0, 1, 2, 3}
    assert numa.fast_cpus(evidence(files), range(4, 8)) is None, "only slow ones are allowed"


def test_arms_kinds_are_told_by_their_capacity():
    folder = "/sys/devices/system/cpu"
    capacities = [250, 250, 800, 1024]
    files = {f"{folder}/cpu{n}/cpu_capacity": str(c) for n, c in enumerate(capacities)}

    assert numa.fast_cpus(evidence(files), range(4)) == {2, 3}


def test_where_all_cores_are_alike_none_is_called_fast():
    folder = "/sys/devices/system/cpu"
    alike = {f"{folder}/cpu{n}/cpu_capacity": "1024" for n in range(4)}

    assert numa.fast_cpus(evidence(alike), range(4)) is None
    assert numa.fast_cpus(evidence({}), range(4)) is None


def hybrid():
    """Two fast cores of two threads, two slow ones."""
    blocks = []
    for n in range(6):
        core = n // 2 if n < 4 else n
        blocks.append(f"processor : {n}\nphysical id : 0\ncore id : {core}\nflags : avx2\n")
    return {
        "/proc/cpuinfo": "\n".join(blocks),
        "/sys/devices/cpu_core/cpus": "0-3",
        "/sys/devices/cpu_atom/cpus": "4-5",
    }


def test_two_threads_of_a_fast_core_are_one_fast_core():
    found = cpu.read_linux(evidence(hybrid()), quota_cores=None)

    assert (found.n_physical_cores, found.n_fast_cores) == (4, 2)


@pytest.mark.parametrize(
    ("quota", "n_cores", "n_fast"),
    [(8.0, 4, 2), (3.0, 3, 2), (2.5, 3, 2), (2.0, 2, None), (1.0, 1, None), (0.1, 1, None)],
)
def test_a_containers_quota_bounds_the_fast_cores_too(quota, n_cores, n_fast):
    """Where no more run at once than there are fast ones, the kernel lets those run."""
    found = cpu.read_linux(evidence(hybrid()), quota_cores=quota)

    assert (found.n_physical_cores, found.n_fast_cores) == (n_cores, n_fast)
