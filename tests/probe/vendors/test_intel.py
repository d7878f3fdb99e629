import errno
import json
import struct
import subprocess
import sys
from os.path import normpath

import pytest
from probe_fakes import FakeSources

from edgellm.probe import intel_child
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.sources import NoAnswer, Output
from edgellm.probe.vendors import intel
from edgellm.units import GIB, MIB

DEVICE = "/sys/class/drm/card0/device"
ARC, IGPU = "0000:03:00.0", "0000:00:02.0"


def read(answer, address=ARC, **files):
    given = {"vendor": "0x8086", "device": "0xe20b", **files}
    sources = FakeSources(
        {normpath(f"{DEVICE}/{name}"): text for name, text in given.items()},
        {"intel_child": answer},
    )
    sources.real_path = lambda path: (
        f"/sys/devices/pci0000:00/{address}" if path == DEVICE else "/sys/bus/pci/drivers/xe"
    )
    evidence = Evidence(sources)
    [card] = intel.read(evidence)
    return card, evidence.faults


def regions(address=ARC, **local):
    system = {"kind": "system", "total_bytes": 64 * GIB}
    return [{"address": address, "regions": [system, *([local] if local else [])]}]


def test_a_card_has_memory_of_its_own_and_a_window_to_it():
    bars = "0x0 0xff 0x0\n0x0 0x0 0x0\n0x4000000000 0x400fffffff 0x14220c\n"
    card, faults = read(
        regions(kind="local", total_bytes=12216 * MIB, used_bytes=216 * MIB), resource=bars
    )

    assert (card.total_bytes, card.free_bytes) == (12216 * MIB, 12000 * MIB)
    assert (card.address, card.driver, card.is_unified) == (ARC, "xe", False)
    assert card.visible_bytes == 256 * MIB, "Resizable BAR is off"
    assert card.name == "Intel GPU 8086:e20b"
    assert faults == ()


def test_how_much_is_used_is_roots_to_know():
    card, _ = read(regions(kind="local", total_bytes=12 * GIB, used_bytes=None))

    assert (card.total_bytes, card.free_bytes) == (12 * GIB, None)


def test_an_integrated_one_shares_the_hosts():
    card, _ = read(regions(IGPU), address=IGPU)

    assert card.is_unified
    assert card.total_bytes is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (NoAnswer("timeout", "no answer within 2 s"), "no answer within 2 s"),
        (Output("{", ""), "not understood"),
        (
            [{"address": ARC, "error": "/dev/dri/renderD128: Permission denied: join the group"}],
            "join the group",
        ),
    ],
)
def test_who_may_not_ask_knows_the_card_without_its_memory(answer, message):
    card, faults = read(answer)

    assert (card.address, card.total_bytes, card.is_unified) == (ARC, None, False)
    assert message in faults[0].message


def test_intels_own_driver_tells_the_memory_in_a_file_beside_the_device():
    """The kernel follows the link first: what is above `device` is the PCI bus."""
    size = str(16 * GIB)
    silent = NoAnswer("denied", "join the group render")
    beside, _ = read(silent, **{"../lmem_total_bytes": size})

    assert (beside.total_bytes, beside.is_unified) == (16 * GIB, False)


def test_the_processors_own_is_integrated_even_when_nobody_answers():
    card, _ = read(NoAnswer("denied", "no"), address=IGPU)

    assert card.is_unified


def test_without_an_intel_gpu_no_child_is_started():
    evidence = Evidence(FakeSources({f"{DEVICE}/vendor": "0x10de"}, {"intel_child": []}))

    assert intel.read(evidence) == ()
    assert [said.source for said in evidence.answers] == [f"{DEVICE}/vendor"]


def copy_to(address, data):
    """As the kernel does: into the caller's memory."""
    (intel_child.ctypes.c_char * len(data)).from_address(address)[:] = data


def fake_xe(fd, request, question):
    """The struct of xe_drm.h, filled in as by a B580 for a caller without CAP_PERFMON."""
    assert (fd, request) == (7, 0xC0286440)
    _, query, size, data, _, _ = struct.unpack("=QIIQQQ", question)
    assert query == 1
    region = struct.Struct("=HHIQQQQ6Q")
    told = struct.pack("=II", 2, 0)
    told += region.pack(0, 0, 4096, 64 * GIB, 0, 64 * GIB, 0, *[0] * 6)
    told += region.pack(1, 1, 65536, 12216 * MIB, 0, 256 * MIB, 0, *[0] * 6)
    if size == 0:
        struct.pack_into("=I", question, 12, len(told))
    else:
        assert size == len(told)
        copy_to(data, told)


def test_xes_answer_is_read_as_its_header_says():
    assert intel_child.xe_regions(7, fake_xe) == [
        {"kind": "system", "total_bytes": 64 * GIB, "used_bytes": None},
        {"kind": "local", "total_bytes": 12216 * MIB, "used_bytes": None},
    ]


def i915(told, length=None):
    def ioctl(fd, request, question):
        assert (fd, request) == (7, 0xC0106479)
        n_items, _, items = struct.unpack("=IIQ", question)
        item = (intel_child.ctypes.c_char * 24).from_address(items)
        query, size, _, data = struct.unpack("=QiIQ", item.raw)
        assert (n_items, query) == (1, 4)
        if size == 0:
            item[8:12] = struct.pack("=i", len(told) if length is None else length)
        else:
            copy_to(data, told)

    return ioctl


def test_i915s_answer_is_read_as_its_header_says():
    region = struct.Struct("=HHIQQ8Q")
    told = struct.pack("=I3I", 2, 0, 0, 0)
    told += region.pack(0, 0, 0, 64 * GIB, 64 * GIB, *[0] * 8)
    told += region.pack(1, 0, 0, 16 * GIB, 15 * GIB, *[0] * 8)

    assert intel_child.i915_regions(7, i915(told)) == [
        {"kind": "system", "total_bytes": 64 * GIB, "used_bytes": None},
        {"kind": "local", "total_bytes": 16 * GIB, "used_bytes": GIB},
    ]


def test_a_query_that_i915_lacks_is_an_error_with_its_reason():
    with pytest.raises(OSError, match="Invalid argument"):
        intel_child.i915_regions(7, i915(b"", length=-errno.EINVAL))


def test_the_real_child_answers_with_or_without_an_intel_gpu():
    command = (sys.executable, "-P", "-m", "edgellm.probe.intel_child")
    done = subprocess.run(command, capture_output=True, timeout=20, check=True)

    assert isinstance(json.loads(done.stdout), list)
