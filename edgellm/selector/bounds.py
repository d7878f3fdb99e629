"""How fast a token could be at best: a bound below which no placement's time lies.

Every active byte is read once, at most at the device's full bandwidth; the fastest device holds
as much as it has room for, what it can't hold is read elsewhere. Of those bytes only a part is
read for a token: a mixture's used experts, and of a layer its weights and not its empty cache. No
placement has to be made for it, so the search can leave out what can't win.
"""

from collections.abc import Sequence

from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Device
from edgellm.selector.load import Load
from edgellm.selector.machine import Machine
from edgellm.selector.speed import active_bytes

_MOST_EFFICIENT = 1.1  # of a nominal bandwidth; no fitted family reaches more than it


def active_weight_bytes(spec: ModelSpec) -> int:
    return sum(active_bytes(spec, layer) for layer in spec.layers) + spec.output_bytes


def least_token_s(load: Load, active: int, machine: Machine, devices: Sequence[Device]) -> float:
    """Seconds for one token of one stream, with `active` bytes of weights to be read for it."""
    fast_first = sorted(devices, key=machine.bandwidth_bytes_s, reverse=True)
    fast_first.append(machine.cpu)
    left = load.run_bytes(0, load.n_all)
    part = min(_expert_part(load.spec), active / left)
    elsewhere, time_s = 0.0, 0.0
    for i, device in enumerate(fast_first):
        is_last = device is fast_first[-1]
        held = left if is_last else min(left, max(0, machine.room_bytes(device)))
        left -= held
        if i:
            elsewhere += held * part
            time_s += held * part / machine.bandwidth_bytes_s(device)
    rest = max(0.0, active - elsewhere)
    time_s += rest / machine.bandwidth_bytes_s(fast_first[0])
    return time_s / _MOST_EFFICIENT


def _expert_part(spec: ModelSpec) -> float:
    return spec.n_expert_used / spec.n_expert if spec.n_expert else 1.0
