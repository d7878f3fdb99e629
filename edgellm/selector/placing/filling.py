"""How many of a model's layers go into given rooms, and where the runs begin and end.

A room is what a device has for weights and cache: what it may be filled to, less its driver's
context and its compute buffer. How large that buffer is depends on the layers, which depend on
the rooms; so it is assumed to be that of a layout of the same kind, which is one for all
quantizations of a model, and corrected when the layout is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise

from edgellm.probe.hardware import Device
from edgellm.selector.memory.layout import NOTHING_ASIDE, Aside, Layout
from edgellm.selector.memory.load import Load, take
from edgellm.selector.memory.memory import host_weight_bytes
from edgellm.selector.memory.process import process_bytes
from edgellm.selector.memory.shares import Ways
from edgellm.selector.placing.machine import Machine
from edgellm.selector.placing.proportions import layer_counts
from edgellm.values import frozen

_BALANCE_STEPS = 8  # halvings while looking for the fullest common level of equal devices


@frozen
class Arranged:
    """`devices` in llama.cpp's order. `buffers`: theirs and then the host's, as assumed."""

    devices: tuple[Device, ...]
    layout: Layout
    buffers: tuple[int, ...]


@dataclass(slots=True)
class Filling:
    """`order`: the first is filled first and gets the head, so llama.cpp's list is its reverse.
    `corrections`: by device, what its buffer was found to need beyond the assumed."""

    load: Load
    machine: Machine
    order: tuple[Device, ...]
    ways: Ways
    corrections: Mapping[str, int] = field(default_factory=dict)
    _rooms: dict[tuple[bool, bool], list[int]] = field(default_factory=dict)
    _most: int | None = None

    def fits(self, n_layers: int, aside: Aside) -> bool:
        totals, floor = self.load.totals(aside), self.load.n_all - n_layers
        if totals[-1] - totals[floor] > self._without_buffers():
            return False  # and no buffer had to be thought of
        rooms = self._rooms_for(n_layers, aside)
        if not self._has_proportions:  # then what fits to the brim fits at a common level, too
            return take(totals, rooms, self.load.n_all, floor)[-1].start <= floor
        runs = self._in_proportion(n_layers)
        return all(
            not run or totals[run.stop] - totals[run.start] <= room
            for room, run in zip(rooms, runs, strict=True)
        )

    def arranged(self, n_layers: int, aside: Aside) -> Arranged:
        """Devices that got none are left out. What found no room goes to the last device, so that
        the sum can be told."""
        runs, floor = self._runs(n_layers, aside), self.load.n_all - n_layers
        if sum(map(len, runs)) < n_layers:
            last = max((i for i, run in enumerate(runs) if run), default=0)
            runs[last] = range(floor, runs[last].stop)
        *assumed, host = self._assumed(*self._key(n_layers, aside))
        listed = zip(self.order[::-1], runs[::-1], assumed, strict=True)
        used = [(device, run, buffer) for device, run, buffer in listed if run]
        devices = tuple(device for device, _, _ in used)
        layout = self._layout(devices, [run for _, run, _ in used], aside)
        return Arranged(devices, layout, (*(buffer for _, _, buffer in used), host))

    def below(self, i: int, n_layers: int, aside: Aside) -> int:
        """The layer that doesn't find room on the i-th device any more, when it is full; the head
        is one, too. Less than nothing when all do."""
        floor = self.load.n_all - n_layers
        rooms = self._rooms_for(n_layers, aside)
        runs = take(self.load.totals(aside), rooms[: i + 1], self.load.n_all, floor)
        return runs[-1].start - 1 if runs[-1].start > floor else -1

    # ---- runs, in the order of filling, from the head downwards

    @property
    def _has_proportions(self) -> bool:
        """That llama.cpp cuts by, whether the parts fit or not."""
        return bool(self.ways.tensor_split) or self.ways.split_mode != "layer"

    def _runs(self, n_layers: int, aside: Aside) -> list[range]:
        """Together at most n_layers."""
        if self._has_proportions:
            return self._in_proportion(n_layers)
        rooms = self._rooms_for(n_layers, aside)
        return self._greedily(self.load.totals(aside), rooms, n_layers)

    def _greedily(self, totals: Sequence[int], rooms: Sequence[int], n_layers: int) -> list[range]:
        stop = self.load.n_all
        floor = stop - n_layers
        runs: list[range] = []
        with_rooms = zip(self.order, rooms, strict=True)
        for _, equals in groupby(with_rooms, key=lambda d: self.machine.bandwidth_bytes_s(d[0])):
            group = [room for _, room in equals]
            runs += _level(totals, group, stop, floor)
            stop = runs[-1].start
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

    def _rooms_for(self, n_layers: int, aside: Aside) -> list[int]:
        key = self._key(n_layers, aside)
        if key not in self._rooms:
            *buffers, host = self._assumed(*key)
            spec = self.load.spec
            fixed = host + host_weight_bytes(spec, holds_head=False) + process_bytes(spec)
            self._rooms[key] = [
                self._room(device, fixed) - buffer
                for device, buffer in zip(self.order, reversed(buffers), strict=True)
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

    def _key(self, n_layers: int, aside: Aside) -> tuple[bool, bool]:
        return n_layers < self.load.n_all, bool(aside)

    def _assumed(self, host_works: bool, has_experts_aside: bool) -> tuple[int, ...]:
        """The buffers, in llama.cpp's order, of a layout that shares the layers evenly. Where the
        host works, with half of the layers there; experts aside, with all of them. On top comes
        op_offload's copy of the largest tensor, which the first device holds."""
        n, devices = self.load.n_blocks, self.order[::-1]
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


def _level(totals: Sequence[int], rooms: list[int], stop: int, floor: int) -> list[range]:
    """Fill equal devices to the lowest common level that takes all, or to the brim."""
    best = take(totals, rooms, stop, floor)
    if len(rooms) < 2 or best[-1].start > floor or stop == floor:
        return best
    low = (totals[stop] - totals[floor]) / max(1, sum(rooms))
    high = 1.0
    for _ in range(_BALANCE_STEPS):
        level = (low + high) / 2
        tried = take(totals, [int(room * level) for room in rooms], stop, floor)
        if tried[-1].start > floor:
            low = level
        else:
            best, high = tried, level
    return best
