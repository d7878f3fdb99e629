"""What copying conversations out of the KV memory and back may take of a step. Pure."""

UNNOTICED_RATIO = 0.1  # of what a step takes anyway: for what nobody waits for
AWAITED_RATIO = 0.3  # of the time between two tokens: for what somebody waits for
_SMOOTHING = 0.3  # weight of the newest measurement


def smoothed(old: float | None, new: float) -> float:
    """What copying is believed to take, after it was measured once more."""
    return new if old is None else old + _SMOOTHING * (new - old)
