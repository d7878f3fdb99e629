"""A Raspberry Pi's firmware knows when the supply was too weak or the chip too hot."""

from edgellm.probe.evidence import Evidence

VCGENCMD = ("vcgencmd", "get_throttled")

_FILE = "/sys/devices/platform/soc/soc:firmware/get_throttled"
_TIMEOUT_S = 1.0  # it takes milliseconds
_SINCE_BOOT = 16  # the same bits again, from here on
# Source: Raspberry Pi documentation, vcgencmd get_throttled
_BITS = {
    0: "under-voltage",
    1: "its clock is capped",
    2: "throttled",
    3: "at its soft temperature limit",
}


def alarms(evidence: Evidence) -> tuple[str, ...]:
    """Empty on all other boards."""
    if not (evidence.text("/proc/device-tree/model") or "").startswith("Raspberry Pi"):
        return ()
    bits = _throttled(evidence)
    if bits is None:
        return ()
    now = [word for bit, word in _BITS.items() if bits >> bit & 1]
    before = [word for bit, word in _BITS.items() if bits >> (bit + _SINCE_BOOT) & 1]
    return (*now, *(f"{word} since it was started" for word in before if word not in now))


def _throttled(evidence: Evidence) -> int | None:
    """ "throttled=0xa0002" of the tool; the file has the digits alone."""
    text = evidence.text(_FILE)
    if text is None:
        output = evidence.run(VCGENCMD, _TIMEOUT_S)
        text = output.text.strip().removeprefix("throttled=") if output else ""
    try:
        return int(text, 16)
    except ValueError:
        return None
