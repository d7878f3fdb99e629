"""The memory modules: kind, speed, and how many channels they fill.

Only root may read the firmware's table (SMBIOS type 17), with dmidecode. But systemd's udev reads
it at boot and copies it to its database, which everyone may read, under keys of its own
(dmi_memory_id.c). Virtual machines and most Arm boards have neither.

A slot's name holds its channel's: "P0 CHANNEL A", "Controller0-ChannelA-DIMM0", "DIMM_A1". Where
it doesn't, the channels are not guessed: two modules may share one.
"""

import re
from collections.abc import Mapping, Sequence

from edgellm.probe.asked.evidence import Evidence
from edgellm.probe.hardware import Dimms

UDEV = "/run/udev/data/+dmi:id"
DMIDECODE = ("dmidecode", "-t", "17")

_TIMEOUT_S = 1.0
_LINE = re.compile(r"E: ?MEMORY_(?P<of>ARRAY|DEVICE_(?P<n>\d+))_(?P<key>\w+)=(?P<value>.*)")
# dmidecode's words → udev's
_WORDS = {
    "Size": "SIZE", "Type": "TYPE", "Locator": "LOCATOR", "Bank Locator": "BANK_LOCATOR",
    "Data Width": "DATA_WIDTH", "Speed": "SPEED_MTS",
    "Configured Memory Speed": "CONFIGURED_SPEED_MTS",
}  # fmt: skip
_BOARD = re.compile(r"\b(?:P|CPU|PROC|NODE|CONTROLLER)[ _]?\d+", re.IGNORECASE)
_CHANNEL = re.compile(r"CHANNEL[ _-]?([A-Z0-9])|DIMM[ _]?([A-P])\d?$", re.IGNORECASE)


def read(evidence: Evidence) -> Dimms | None:
    """None where neither udev's database nor dmidecode lists a module."""
    told = evidence.text(UDEV, keep=_is_asked_for)
    modules, n_slots = _from_udev(told or "")
    if not modules and not told:
        output = evidence.run(DMIDECODE, _TIMEOUT_S, keep=_is_asked_for)
        modules = _from_dmidecode(output.text) if output else []
        n_slots = len(modules) or None
    return _summed([module for module in modules if _is_there(module)], n_slots)


def _is_asked_for(line: str) -> bool:
    """Drops the other keys: serial numbers are among them, and must not be recorded."""
    if match := _LINE.fullmatch(line.strip()):
        return match["key"] in (*_WORDS.values(), "PRESENT", "NUM_DEVICES")
    key = line.partition(":")[0].strip()
    return key in _WORDS or line.strip() == "Memory Device"


def _from_udev(text: str) -> tuple[list[dict[str, str]], int | None]:
    modules: dict[str, dict[str, str]] = {}
    n_slots = None
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match and match["n"]:
            modules.setdefault(match["n"], {})[match["key"]] = match["value"].strip()
        elif match and match["key"] == "NUM_DEVICES" and match["value"].isdecimal():
            n_slots = int(match["value"])
    return list(modules.values()), n_slots or len(modules) or None


def _from_dmidecode(text: str) -> list[dict[str, str]]:
    """ "Memory Device" blocks; sizes and speeds bear units: "16 GB", "5600 MT/s"."""
    modules: list[dict[str, str]] = []
    for line in text.splitlines():
        if line.strip() == "Memory Device":
            modules.append({})
        key, colon, value = line.partition(":")
        if modules and colon and key.strip() in _WORDS:
            modules[-1][_WORDS[key.strip()]] = value.strip()
    return modules


def _is_there(module: Mapping[str, str]) -> bool:
    size = module.get("SIZE", "")
    return module.get("PRESENT") != "0" and size[:1].isdecimal() and _number(size) != 0


def _summed(modules: Sequence[Mapping[str, str]], n_slots: int | None) -> Dimms | None:
    if not modules:
        return None
    speeds = [_number(m.get("CONFIGURED_SPEED_MTS") or m.get("SPEED_MTS")) for m in modules]
    known = [speed for speed in speeds if speed]
    channels = [_channel(module) for module in modules]
    widths = [_number(module.get("DATA_WIDTH")) for module in modules]
    return Dimms(
        kind=modules[0].get("TYPE"),
        n_modules=len(modules),
        n_slots=n_slots,
        n_channels=len(set(channels)) if None not in channels else None,
        transfers_s=min(known) * 1e6 if known else None,  # all run at the slowest one's pace
        channel_bits=next((w for w in widths if w), None) or 64,
    )


def _channel(module: Mapping[str, str]) -> tuple[str, ...] | None:
    """Its name, with the processor or controller that it belongs to."""
    places = [module.get(key, "") for key in ("BANK_LOCATOR", "LOCATOR")]
    board = next((match[0].upper() for p in places if (match := _BOARD.search(p))), "")
    match = next((match for place in places if (match := _CHANNEL.search(place))), None)
    return (board, (match[1] or match[2]).upper()) if match else None


def _number(text: str | None) -> int | None:
    """ "5600 MT/s" -> 5600; "Unknown" -> None"""
    digits = (text or "").partition(" ")[0]
    return int(digits) if digits.isdecimal() else None
