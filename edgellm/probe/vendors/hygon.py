"""Hygon's DCUs, by DTK's own rocm-smi.

A ROCm of AMD's has a tool of that name too, so it is only asked where Hygon's kernel module is.
The keys are not AMD's: "vram Total Memory (MiB)", "DCU use (%)", and one that is empty.
"""

import json
from collections.abc import Iterator, Mapping

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.pci import normal_address
from edgellm.probe.vendors.readings import Reading, asked, mib, number

COMMAND = (
    "rocm-smi", "--showproductname", "--showbus", "--showmeminfo", "vram", "--showuse",
    "--showtemp", "--showpower", "--json",
)  # fmt: skip
_MODULES = ("/sys/module/hycu", "/sys/module/hydcu")


def readings(evidence: Evidence) -> tuple[Reading, ...]:
    if not any(evidence.list(module) for module in _MODULES):
        return ()
    return asked(evidence, COMMAND, _parsed)


def _parsed(text: str) -> Iterator[Reading]:
    """A banner may stand before the JSON."""
    try:
        told = json.loads(text[text.index("{") :])
    except ValueError:
        return
    for key, said in told.items() if isinstance(told, dict) else ():
        index = key.removeprefix("card")
        if index.isdecimal() and isinstance(said, dict):
            yield _reading(int(index), {str(k): str(v) for k, v in said.items()})


def _reading(index: int, said: Mapping[str, str]) -> Reading:
    def value(key: str) -> float | None:
        return number(said.get(key, ""), r"^([\d.]+)$")

    busy = value("DCU use (%)")
    return Reading(
        name=said.get("Card Series") or said.get("Card series") or "Hygon DCU",
        index=index,
        address=normal_address(said.get("PCI Bus")),
        total_bytes=mib(value("vram Total Memory (MiB)")),
        used_bytes=mib(value("vram Total Used Memory (MiB)")),
        busy_ratio=None if busy is None else busy / 100,
        temperature_c=value("Temperature (Sensor edge) (C)"),
        memory_temperature_c=value("Temperature (Sensor mem) (C)"),
        power_w=value("Average Graphics Package Power (W)"),
    )
