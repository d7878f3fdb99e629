"""What something is believed to take, after one more measurement. Pure."""

_NEWEST = 0.3  # weight of the newest measurement


def smoothed(old: float | None, new: float) -> float:
    return new if old is None else old + _NEWEST * (new - old)
