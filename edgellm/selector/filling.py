"""How many of a model's layers go into given rooms, and where the runs begin and end.

A room is what a device has for weights and cache: what it may be filled to, less its driver's
context and its compute buffer. How large that buffer is depends on the layers, which depend on
the rooms; so it is taken from a layout of the same kind, and corrected when the sum was wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from edgellm.probe.hardware import Device
from edgellm.selector.layout import Layout
from edgellm.selector.load import Load
from edgellm.selector.machine import Machine, Shortfall
from edgellm.selector.memory import compute_bytes, host_weight_bytes
from edgellm.selector.proportions import layer_counts
from edgellm.selector.shares import Ways

_BALANCE_STEPS = 8  # halvings while looking for the fullest common level of equal devices


@dataclass(slots=True)
class Filling:
    """`order`: the first is filled first and gets the head, so llama.cpp's list is its reverse."""

    load: Load
    machine: Machine
    order: tuple[Device, ...]
    ways: Ways
    _buffers: dict[tuple[bool, bool], dict[str, int]] = field(default_factory=dict)
    _corrections: dict[str, int] = field(default_factory=dict)

    def fits(self, n_layers: int, n_cpu_moe: int) -> bool:
        rooms = self._rooms(n_layers < self.load.n_all, n_cpu_moe)
        runs = self._runs(rooms, n_layers, n_cpu_moe)
        return sum(map(len, runs)) == n_layers and all(
            not run or self.load.run_bytes(run.start, run.stop, n_cpu_moe) <= rooms[device.id]
            for device, run in zip(self.order, runs, strict=True)
        )

    def layout(self, n_layers: int, n_cpu_moe: int) -> tuple[tuple[Device, ...], Layout]:
        """Devices that got none are left out. What found no room goes to the last device, so that
        the sum can be told."""
        rooms = self._rooms(n_layers < self.load.n_all, n_cpu_moe)
        runs = self._runs(rooms, n_layers, n_cpu_moe)
        floor = self.load.n_all - n_layers
        if sum(map(len, runs)) < n_layers:
            last = max((i for i, run in enumerate(runs) if run), default=0)
            runs[last] = range(floor, runs[last].stop)
        used = [(device, run) for device, run in zip(self.order, runs, strict=True) if run]
        devices = tuple(device for device, _ in reversed(used))
        return devices, self._layout(devices, [run for _, run in reversed(used)], n_cpu_moe)

    def correct(self, short: Shortfall) -> bool:
        """Take out of its devices' rooms what they were found to need beyond them. False: the
        host alone is short."""
        found = False
        for share in short.shares[:-1]:
            room = self.machine.room_bytes(self.machine.hardware.device(share.device_id))
            if share.total_bytes > room:
                more = share.total_bytes - room
                self._corrections[share.device_id] = (
                    self._corrections.get(share.device_id, 0) + more
                )
                found = True
        return found

    def _layout(self, devices: Sequence[Device], runs: Sequence[range], n_moe: int) -> Layout:
        return Layout(
            tuple(device.backend for device in devices),
            tuple(runs),
            n_moe,
            self.ways.op_offload,
            self.ways.split_mode,
        )

    def _runs(self, rooms: dict[str, int], n_layers: int, n_cpu_moe: int) -> list[range]:
        """In the order of filling, from the head downwards; together at most n_layers."""
        if self.ways.tensor_split or self.ways.split_mode != "layer":
            return self._in_proportion(n_layers)
        return self._greedily(rooms, n_layers, n_cpu_moe)

    def _greedily(self, rooms: dict[str, int], n_layers: int, n_cpu_moe: int) -> list[range]:
        stop = self.load.n_all
        floor = stop - n_layers
        runs: list[range] = []
        for _, equals in groupby(self.order, key=self.machine.bandwidth_bytes_s):
            group = [rooms[device.id] for device in equals]
            runs += self._level(group, stop, floor, n_cpu_moe)
            stop = runs[-1].start
        return runs

    def _level(self, rooms: list[int], stop: int, floor: int, n_cpu_moe: int) -> list[range]:
        """Fill equal devices to the lowest common level that takes all, or to the brim."""
        best = self.load.take(rooms, stop, floor, n_cpu_moe)
        if len(rooms) < 2 or best[-1].start > floor or stop == floor:
            return best
        low = self.load.run_bytes(floor, stop, n_cpu_moe) / max(1, sum(rooms))
        high = 1.0
        for _ in range(_BALANCE_STEPS):
            level = (low + high) / 2
            tried = self.load.take([int(room * level) for room in rooms], stop, floor, n_cpu_moe)
            if tried[-1].start > floor:
                low = level
            else:
                best, high = tried, level
        return best

    def _in_proportion(self, n_layers: int) -> list[range]:
        """As llama.cpp cuts them, whether they fit or not."""
        split = self.ways.tensor_split or (1.0,) * len(self.order)
        start = self.load.n_all - n_layers
        runs = []
        for count in layer_counts(split, n_layers):
            runs.append(range(start, start + count))
            start += count
        return runs[::-1]

    # ---- rooms

    def _rooms(self, host_works: bool, n_cpu_moe: int) -> dict[str, int]:
        key = (host_works, n_cpu_moe > 0)
        if key not in self._buffers:
            self._buffers[key] = self._assumed_buffers(*key)
        return {
            device_id: room - self._corrections.get(device_id, 0)
            for device_id, room in self._buffers[key].items()
        }

    def _assumed_buffers(self, host_works: bool, has_experts_aside: bool) -> dict[str, int]:
        """Rooms, with the buffers of a layout that shares the layers evenly. Where the host works,
        with half of the layers there; experts aside, with all of them."""
        load, devices = self.load, self.order[::-1]
        start = load.n_blocks // 2 if host_works else 0
        step = (load.n_all - start) / len(devices)
        edges = [start + round(step * i) for i in range(len(devices) + 1)]
        runs = [range(a, b) for a, b in pairwise(edges)]
        n_moe = load.n_blocks if has_experts_aside else 0
        *buffers, host = compute_bytes(load.spec, load.shape, self._layout(devices, runs, n_moe))
        fixed = host + host_weight_bytes(load.spec, holds_head=False)
        return {
            device.id: self._room(device, fixed) - buffer
            for device, buffer in zip(devices, buffers, strict=True)
        }

    def _room(self, device: Device, host_fixed: int) -> int:
        room = self.machine.room_bytes(device)
        if device.pool_id == self.machine.hardware.host.id:  # the host's part lies there too
            room = min(room, self.machine.budgets[device.pool_id] - host_fixed)
        return room - self.machine.overhead_bytes(device)
