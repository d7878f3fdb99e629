"""Apple's GPU, by sysctl and ioreg: it shares the Mac's memory, up to a limit.

The limit comes from Metal (two thirds to five sixths of the memory, by macOS and chip), which
llama.cpp asks; iogpu.wired_limit_mb, where it is set, is exact. Chips of one name may differ in
cores, and then in bandwidth: an M3 Max has 30 or 40. The GPU's family follows from the chip's
generation.
"""

import re

from edgellm.probe.asked.asking import ask
from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.host import host
from edgellm.probe.vendors.cards import Card
from edgellm.units import MIB

IOREG = ("ioreg", "-rc", "AGXAccelerator")

_TIMEOUT_S = 2.0
# Metal's families by the generation of M chips. Source: Apple, Metal feature set tables, 2026
_FAMILIES = {1: "apple7", 2: "apple8", 3: "apple9", 4: "apple9", 5: "apple10"}


def read(evidence: Evidence) -> tuple[Card, ...]:
    if evidence.system != "Darwin":
        return ()
    asking = ask(lambda: evidence.run(IOREG, _TIMEOUT_S))
    told = host.sysctl(evidence)
    name = told.get("machdep.cpu.brand_string", "")
    if not name.startswith("Apple"):  # an Intel Mac
        return ()
    output = asking.result()
    cores = re.search(r'"gpu-core-count"\s*=\s*(\d+)\s', output.text if output else "")
    limit = told.get("iogpu.wired_limit_mb", "")
    return (
        Card(
            "apple",
            name,
            is_unified=True,
            limit_bytes=int(limit) * MIB if limit.isdecimal() and int(limit) else None,
            architecture=_family(name),
            n_gpu_cores=int(cores[1]) if cores else None,
        ),
    )


def _family(chip: str) -> str | None:
    """ "Apple M3 Max" -> "apple9"; None for chips that came after this was written."""
    generation = re.match(r"Apple M(\d+)\b", chip)
    return _FAMILIES.get(int(generation[1])) if generation else None
