"""The fastest that any placement could be: what can't win by this is never placed.

The best case is assumed. The fastest device computes everything, as if it had the room; only what
all of them together have no room for is read elsewhere:

    mixture of experts  the experts of the fewest layers that make enough room are the host's
    other models        each byte is read at the rate of the device that holds it. A layer that
                        leaves takes its cache along, which is nearly empty: so only a part of the
                        bytes that leave is read for each token

A prompt is computed by the fastest device alone, or by all at once if they hold everything.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Device
from edgellm.selector.memory.kv import sliding_cells
from edgellm.selector.memory.load import Load
from edgellm.selector.placing.devices import DeviceSet
from edgellm.selector.placing.machine import Kind, Machine
from edgellm.selector.plan import Placement, Share
from edgellm.selector.power import power_w
from edgellm.selector.search.settings import Setting
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import decode_tok_s, ttft_s
from edgellm.selector.speed.work import active_bytes

_LAYERS_DIFFER = 1.1  # slack: the head has no attention, some layers have a smaller cache
_STEPS = 12  # to which n_cpu_moe is rounded down: each costs a question to the speed model


@dataclass(slots=True)
class Bounds:
    """Of one model on one machine."""

    spec: ModelSpec
    machine: Machine
    _alone: dict[tuple[object, ...], float] = field(default_factory=dict)
    _first: dict[tuple[object, ...], float] = field(default_factory=dict)
    _parts: dict[Load, float] = field(default_factory=dict)
    _bounds: dict[DeviceSet, "Bound"] = field(default_factory=dict)
    _each: tuple[int, ...] = field(init=False)
    _active: int = field(init=False)

    def __post_init__(self) -> None:
        spec = self.spec
        self._each = tuple(active_bytes(spec, layer) for layer in spec.layers)
        self._active = sum(self._each) + spec.output_bytes

    def of(self, devices: DeviceSet, setting: Setting) -> "Bound":
        """`setting` may be any: the cache's type hardly changes how fast a device reads."""
        if devices not in self._bounds:
            self._bounds[devices] = self._bound(devices, setting)
        return self._bounds[devices]

    def _bound(self, devices: DeviceSet, setting: Setting) -> "Bound":
        machine = self.machine
        kinds = {machine.kind(device): device for device in (*devices, machine.cpu)}
        rows = [(max(0, machine.room_bytes(d)), self._bytes_s(d, setting)) for d in devices]
        rows.sort(key=lambda row: -row[1])
        rows.append((1 << 62, self._bytes_s(machine.cpu, setting)))  # the host holds any rest
        ids = [device.id for device in devices] or ["cpu"]
        watts = power_w(machine.hardware, ids)
        told = (device.board_power_w for device in (*devices, machine.cpu))
        least_w = min((one for one in told if one is not None), default=None)
        return Bound(self, tuple(rows), tuple(kinds.items()), watts, least_w)

    def least_token_s(self, load: Load, rooms: Sequence[tuple[int, float]]) -> float:
        """The least seconds for one token of one stream, of a model without experts."""
        (room, fastest), *others = rooms
        total = load.totals()[-1]
        part = self._least_part(load)
        left = total - min(total, room)
        elsewhere, time_s = 0.0, 0.0
        for room, rate in others:
            held = min(left, room)
            left -= held
            elsewhere += held * part
            time_s += held * part / rate
        return time_s + max(0.0, self._active - elsewhere) / fastest

    def fewest_experts(self, load: Load, rooms: Sequence[tuple[int, float]]) -> int:
        """At least so many layers must leave all their experts to the host; rounded down."""
        over = load.totals()[-1] - sum(room for room, _ in rooms[:-1])
        n = bisect_right(load.bulk.experts, over) - 1 if over > 0 else 0
        step = max(1, load.n_blocks // _STEPS)
        return min(n, load.n_blocks) // step * step

    def _least_part(self, load: Load) -> float:
        """How much of a layer's bytes, cache included, one token reads: the least over all layers,
        which is that of the largest cache."""
        if load not in self._parts:
            caches = (after - before for before, after in pairwise(load.kv))
            held = {
                (active, layer.weight_bytes + kv)
                for active, layer, kv in zip(self._each, self.spec.layers, caches, strict=True)
            }
            self._parts[load] = min(active / total for active, total in held if total)
        return self._parts[load]

    def _bytes_s(self, device: Device, setting: Setting) -> float:
        """The most that the device reads; found with all layers on it, since they are alike."""
        whole = self.alone_tok_s(setting, self.machine.kind(device), device, 1)
        return _LAYERS_DIFFER * self._active * whole

    def alone_tok_s(
        self, setting: Setting, kind: Kind, device: Device, n_streams: int, n_cpu_moe: int = 0
    ) -> float:
        """With all on one device but some layers' experts, whether it has the room or not."""
        n_cpu_moe = 0 if device.id == "cpu" else n_cpu_moe
        key = (*kind, *_cache_of(setting), n_streams, n_cpu_moe, self._window(setting))
        if key not in self._alone:
            alone = self._alone_on(device, setting, n_cpu_moe)
            self._alone[key] = decode_tok_s(alone, n_streams=n_streams).p50
        return self._alone[key]

    def alone_first_s(
        self,
        setting: Setting,
        kind: Kind,
        device: Device,
        n_prompt: int,
        n_cpu_moe: int,
        *,
        op_offload: bool,
    ) -> float:
        """Seconds until the first token, of the same placement."""
        n_cpu_moe = 0 if device.id == "cpu" else n_cpu_moe
        more = setting.n_ubatch, n_cpu_moe, op_offload, self._window(setting)
        key = (*kind, *_cache_of(setting), *more)
        if key not in self._first:
            alone = self._alone_on(device, setting, n_cpu_moe, op_offload=op_offload)
            self._first[key] = ttft_s(alone, n_prompt).p50
        return self._first[key]

    def _window(self, setting: Setting) -> float:
        """Cells of a sliding window that each conversation has: a step goes through all."""
        if not self.spec.n_swa:
            return 0.0
        shape = setting.shape
        return sliding_cells(self.spec.n_swa, shape) * shape.n_streams / shape.n_seq_max

    def _alone_on(
        self, device: Device, setting: Setting, n_cpu_moe: int, *, op_offload: bool = True
    ) -> Setup:
        layers = tuple(range(self.spec.n_layers + 1))
        share = Share(device.id, device.pool_id, layers, 0, 0, 0)
        placement = Placement((share,), 0)
        if device.id != "cpu":
            aside = tuple(range(n_cpu_moe))
            host = Share("cpu", self.machine.host_id, (), 0, 0, 0, expert_layers=aside)
            placement = Placement(
                (share, host), len(layers), (1.0,), n_cpu_moe, op_offload=op_offload
            )
        return self.machine.setup(self.spec, setting.shape, placement)


def _cache_of(setting: Setting) -> tuple[object, ...]:
    """What of the cache a step's time depends on: in a pool it looks at others' cells, too."""
    return setting.kv_type_k, setting.kv_type_v, setting.kv_unified


@dataclass(slots=True)
class Bound:
    """What a set of devices reaches at best. `rooms`: (bytes, bytes a second) of each, the fastest
    first, the host last."""

    _bounds: Bounds
    _rooms: tuple[tuple[int, float], ...]
    _kinds: tuple[tuple[Kind, Device], ...]
    power_w: float | None
    least_power_w: float | None  # if only one of them took part

    def most_tok_s(self, load: Load, setting: Setting, n_streams: int = 1) -> float:
        """Tokens of all streams together."""
        if load.bulk.has_experts:
            n_cpu_moe = self._bounds.fewest_experts(load, self._rooms)
            return self.ideal_tok_s(setting, n_streams, n_cpu_moe)
        by_room = n_streams / self._bounds.least_token_s(load, self._rooms)
        return min(by_room, self.ideal_tok_s(setting, n_streams))

    def least_first_s(
        self, load: Load, setting: Setting, n_prompt: int, *, op_offload: bool
    ) -> float:
        """Seconds until the first token of an answer. Accelerators in a row overlap their
        micro-batches, if everything lies on them."""
        bounds = self._bounds
        n_cpu_moe = bounds.fewest_experts(load, self._rooms) if load.bulk.has_experts else 0
        alone_s = min(
            bounds.alone_first_s(setting, kind, device, n_prompt, n_cpu_moe, op_offload=op_offload)
            for kind, device in self._kinds
        )
        n_devices = len(self._rooms) - 1
        room = sum(room for room, _ in self._rooms[:-1])
        if n_devices < 2 or load.totals()[-1] > room:
            return alone_s
        n_chunks = -(-n_prompt // setting.n_ubatch)
        step_s = bounds.machine.speed.step_s
        computing_s = alone_s / n_chunks - step_s
        return step_s + computing_s * (1 + (n_chunks - 1) / n_devices)

    def ideal_tok_s(self, setting: Setting, n_streams: int = 1, n_cpu_moe: int = 0) -> float:
        """The quickest device's, whether it has the room or not."""
        return max(
            self._bounds.alone_tok_s(setting, kind, device, n_streams, n_cpu_moe)
            for kind, device in self._kinds
        )
