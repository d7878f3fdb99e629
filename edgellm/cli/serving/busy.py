"""Whether others keep this machine busy: what is measured then is no plan's speed."""

import os

from edgellm.probe.hardware import Hardware
from edgellm.values import frozen

_BUSY_RATIO = 1.5  # of the cores, that wait to run: more than a worker of ours would keep busy


@frozen
class Crowd:
    """`load`: how many threads wait to run, over the last minute; `most`: with how many a speed
    still counts."""

    load: float
    most: float


def load() -> float:
    return os.getloadavg()[0]


def crowd(load: float, hardware: Hardware) -> Crowd | None:
    """None: nobody is in the way."""
    most = _BUSY_RATIO * hardware.cpu.n_logical_cores
    return Crowd(load, most) if load > most else None
