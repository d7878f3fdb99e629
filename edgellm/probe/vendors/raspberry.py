"""A Raspberry Pi's firmware knows when the supply was too weak or the chip too hot."""

from edgellm.probe.asked.evidence import Evidence

VCGENCMD = ("vcgencmd", "get_throttled")
FILES = "/sys/devices/platform/soc*/soc*:firmware/get_throttled"  # soc@107c000000 on a Pi 5

_TIMEOUT_S = 1.0  # it takes milliseconds
_SINCE_BOOT = 16  # the same bits again, from here on
# Source: Raspberry Pi documentation, vcgencmd get_throttled
_BITS = {
    0: "under-voltage",
    1: "its clock is capped",
    2: "throttled",
    3: "at its soft temperature limit",
}


def is_here(evidence: Evidence) -> bool:
    """Whether this machine is a Raspberry Pi."""
    return (evidence.text("/proc/device-tree/model") or "").startswith("Raspberry Pi")


def alarms(evidence: Evidence) -> tuple[str, ...]:
    """Empty on all other boards."""
    told = bits(_said(evidence)) if is_here(evidence) else None
    if told is None:
        return ()
    now = [word for bit, word in _BITS.items() if told >> bit & 1]
    before = [word for bit, word in _BITS.items() if told >> (bit + _SINCE_BOOT) & 1]
    return (*now, *(f"{word} since it was started" for word in before if word not in now))


def bits(said: str) -> int | None:
    """ "throttled=0xa0002" of the tool; the file has the digits alone."""
    try:
        return int(said.strip().removeprefix("throttled="), 16)
    except ValueError:
        return None


def _said(evidence: Evidence) -> str:
    for path in evidence.list(FILES):
        if (text := evidence.text(path)) is not None:
            return text
    output = evidence.run(VCGENCMD, _TIMEOUT_S)
    return output.text if output else ""
