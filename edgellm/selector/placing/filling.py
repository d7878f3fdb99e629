"""How many of a model's layers go into given rooms, and where the runs begin and end.

A room is what a device has for weights and cache: what it may be filled to, less its driver's
context and its compute buffer. How large that buffer is depends on the layers, which depend on
the rooms; so it is assumed to be that of a layout of the same kind, which is one for all
quantizations of a model, and corrected when the layout is there.

The fastest device is filled first. Where the devices have every layer it gets the head, so it comes
last in llama.cpp's list. Where the host computes, too, it comes first: that is the one to which
llama.cpp takes the host's weights for a long prompt (ggml_backend_sched_backend_id_from_cur asks
the backends in their order).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from typing import TypeVar

from edgellm.probe.hardware import Device
from edgellm.selector.memory.layout import NOTHING_ASIDE, Aside, Layout
from edgellm.selector.memory.load import Load, take
from edgellm.selector.memory.process import process_bytes
from edgellm.selector.memory.shares import Ways
from edgellm.selector.memory.weights import host_weight_bytes
from edgellm.selector.placing.machine import Machine
from edgellm.selector.placing.proportions import layer_counts
from edgellm.values import frozen

_T = TypeVar("_T")
_Key = tuple[bool, bool]  # the host has layers of its own, experts of others
_BALANCE_STEPS = 8  # halvings while looking for the fullest common level of equal devices


@frozen
class Arranged:
    """`devices` in llama.cpp's order. `buffers`: theirs and then the host's, as assumed."""

    devices: tuple[Device, ...]
    layout: Layout
    buffers: tuple[int, ...]


@frozen
class Turns:
    """The devices as they are filled: from the head downwards, or from the lowest layer upwards."""

    devices: tuple[Device, ...]
    upwards: bool = False

    def listed(self, in_turn: Sequence[_T]) -> Sequence[_T]:
        """In llama.cpp's order what is in that of filling, and the other way round."""
        return in_turn if self.upwards else in_turn[::-1]


@dataclass(slots=True)
class Filling:
    """`order`: who is filled first from the head downwards. `corrections`: by device, what its
    buffer was found to need beyond the assumed."""

    load: Load
    machine: Machine
    order: tuple[Device, ...]
    ways: Ways
    corrections: Mapping[str, int] = field(default_factory=dict)
    _rooms: dict[_Key, list[int]] = field(default_factory=dict)
    _most: int | None = None
    _downwards: Turns = field(init=False)
    _upwards: Turns = field(init=False)  # the fastest first; equal ones as llama.cpp has them

    def __post_init__(self) -> None:
        rate, place = self.machine.bandwidth_bytes_s, self.order.index
        self._downwards = self._upwards = Turns(self.order)
        if len(set(map(rate, self.order))) > 1:
            in_turn = sorted(self.order, key=lambda one: (-rate(one), -place(one)))
            self._upwards = Turns(tuple(in_turn), upwards=True)

    def fits(self, n_layers: int, aside: Aside) -> bool:
        totals, floor = self.load.totals(aside), self.load.n_all - n_layers
        if totals[-1] - totals[floor] > self._without_buffers():
            return False  # and no buffer had to be thought of
        key = self._key(n_layers, aside)
        rooms = self._rooms_for(key)
        if not self._has_proportions:  # then what fits to the brim fits at a common level, too
            upwards = self._turns(key).upwards
            return _n_taken(take(totals, rooms, self.load.n_all, floor, upwards)) == n_layers
        runs = self._in_proportion(n_layers)
        return all(
            not run or totals[run.stop] - totals[run.start] <= room
            for room, run in zip(rooms, runs, strict=True)
        )

    def arranged(self, n_layers: int, aside: Aside) -> Arranged:
        """Devices that got none are left out. What found no room goes to the last device, so that
        the sum can be told."""
        key, n_all = self._key(n_layers, aside), self.load.n_all
        runs, turns = self._runs(n_layers, aside), self._turns(key)
        if _n_taken(runs) < n_layers:
            last = max((i for i, run in enumerate(runs) if run), default=0)
            others = n_layers - _n_taken(runs) + len(runs[last])
            start = n_all - others if turns.upwards else n_all - n_layers
            runs[last] = range(start, start + others)
        *assumed, host = self._assumed(*key)
        in_turn = zip(turns.devices, runs, turns.listed(assumed), strict=True)
        used = turns.listed([row for row in in_turn if row[1]])
        devices = tuple(device for device, _, _ in used)
        layout = self._layout(devices, [run for _, run, _ in used], aside)
        return Arranged(devices, layout, (*(buffer for _, _, buffer in used), host))

    def below(self, i: int, n_layers: int, aside: Aside) -> int:
        """The next layer when the i-th device to be filled is full; the head counts as one.
        Negative when all have found room."""
        floor, stop = self.load.n_all - n_layers, self.load.n_all
        key = self._key(n_layers, aside)
        upwards, rooms = self._turns(key).upwards, self._rooms_for(key)[: i + 1]
        runs = take(self.load.totals(aside), rooms, stop, floor, upwards)
        if upwards:
            return runs[-1].stop if runs[-1].stop < stop else -1
        return runs[-1].start - 1 if runs[-1].start > floor else -1

    # ---- the order of filling, and runs in it

    def _turns(self, key: _Key) -> Turns:
        return self._upwards if any(key) and not self._has_proportions else self._downwards

    @property
    def _has_proportions(self) -> bool:
        """That llama.cpp cuts by, whether the parts fit or not."""
        return bool(self.ways.tensor_split) or self.ways.split_mode != "layer"

    def _runs(self, n_layers: int, aside: Aside) -> list[range]:
        """Together at most n_layers."""
        if self._has_proportions:
            return self._in_proportion(n_layers)
        key, totals = self._key(n_layers, aside), self.load.totals(aside)
        turns, stop = self._turns(key), self.load.n_all
        floor, runs = stop - n_layers, list[range]()
        rooms = zip(turns.devices, self._rooms_for(key), strict=True)
        for _, equals in groupby(rooms, key=lambda row: self.machine.bandwidth_bytes_s(row[0])):
            runs += _level(totals, [room for _, room in equals], stop, floor, turns.upwards)
            floor, stop = (runs[-1].stop, stop) if turns.upwards else (floor, runs[-1].start)
        return runs

    def _in_proportion(self, n_layers: int) -> list[range]:
        split = self.ways.tensor_split or (1.0,) * len(self.order)
        start = self.load.n_all - n_layers
        runs = []
        for count in layer_counts(split, n_layers):
            runs.append(range(start, start + count))
            start += count
        return runs[::-1]

    # ---- rooms, in the order of filling

    def _rooms_for(self, key: _Key) -> list[int]:
        if key not in self._rooms:
            *buffers, host = self._assumed(*key)
            spec = self.load.spec
            fixed = host + host_weight_bytes(spec, holds_head=False) + process_bytes(spec)
            turns = self._turns(key)
            self._rooms[key] = [
                self._room(device, fixed) - buffer
                for device, buffer in zip(turns.devices, turns.listed(buffers), strict=True)
            ]
        return self._rooms[key]

    def _without_buffers(self) -> int:
        if self._most is None:
            self._most = sum(max(0, self._room(device, 0)) for device in self.order)
        return self._most

    def _room(self, device: Device, host_fixed: int) -> int:
        room = self.machine.room_bytes(device)
        if device.pool_id == self.machine.host_id:  # the host's part lies there too
            room = min(room, self.machine.budgets[device.pool_id] - host_fixed)
        corrections = self.corrections.get(device.id, 0)
        return room - corrections - self.machine.overhead_bytes(device)

    def _key(self, n_layers: int, aside: Aside) -> _Key:
        return n_layers < self.load.n_all, bool(aside)

    def _assumed(self, host_works: bool, has_experts_aside: bool) -> tuple[int, ...]:
        """The buffers, in llama.cpp's order, of a layout that shares the layers evenly. Where the
        host works, with half of the layers there; experts aside, with all of them. On top comes
        op_offload's copy of the largest tensor, which the first device holds."""
        key = host_works, has_experts_aside
        n, turns = self.load.n_blocks, self._turns(key)
        devices = turns.listed(turns.devices)
        start = n // 2 if host_works else 0
        step = (n + 1 - start) / len(devices)
        edges = [start + round(step * i) for i in range(len(devices) + 1)]
        runs = [range(a, b) for a, b in pairwise(edges)]
        layout = self._layout(devices, runs, Aside(n) if has_experts_aside else NOTHING_ASIDE)
        if not self.ways.op_offload or not (host_works or has_experts_aside):
            return self.load.buffers(layout)
        first, *others = self.load.buffers(replace(layout, op_offload=False))
        bulk = self.load.bulk
        copy = bulk.largest_expert_bytes if has_experts_aside else bulk.largest_bytes
        return (first + copy, *others)

    def _layout(self, devices: Sequence[Device], runs: Sequence[range], aside: Aside) -> Layout:
        return Layout(
            tuple(device.backend for device in devices),
            tuple(runs),
            aside,
            self.ways.op_offload,
            self.ways.split_mode,
        )


def _level(
    totals: Sequence[int], rooms: list[int], stop: int, floor: int, upwards: bool
) -> list[range]:
    """Fill equal devices to the lowest common level that takes all, or to the brim."""
    best, n_layers = take(totals, rooms, stop, floor, upwards), stop - floor
    if len(rooms) < 2 or _n_taken(best) < n_layers or not n_layers:
        return best
    low = (totals[stop] - totals[floor]) / max(1, sum(rooms))
    high = 1.0
    for _ in range(_BALANCE_STEPS):
        level = (low + high) / 2
        tried = take(totals, [int(room * level) for room in rooms], stop, floor, upwards)
        if _n_taken(tried) < n_layers:
            low = level
        else:
            best, high = tried, level
    return best


def _n_taken(runs: Sequence[range]) -> int:
    return sum(map(len, runs))
