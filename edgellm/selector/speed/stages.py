"""The stages that a step passes through, one after the other: devices, hops, copies, the disk."""

from collections.abc import Iterator
from functools import reduce

from edgellm.probe.hardware import Device
from edgellm.probe.links import link_bytes_s
from edgellm.selector.plan import Share
from edgellm.selector.speed.rates import Rates, rates_of
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed_profile import (
    LEAST_MEASURED_BYTES,
    BackendFamily,
    Calibration,
    Spread,
)
from edgellm.selector.speed.work import Step, Work, host_experts, main_type, share_work
from edgellm.values import frozen

_F32 = 4
_OFFLOAD_TOKENS = 32  # GGML_OP_OFFLOAD_MIN_BATCH, ggml/src/ggml-cuda/ggml-cuda.cu
_EXACT = Spread(1.0, 1.0)
# How far a calibration may be off, by how near it is: of this build, architecture and type of
# weights; of another architecture; of another build. The last two are engineering judgement. Of
# another type of weights: one Zen 5 core calibrated by Q4_0 was 4 % off with Q4_K_M, 26 and 29 %
# with Q8_0, whose bytes memory holds up; prompts were within 5 %. Of another architecture on the
# CPU: qwen3-0.6b Q4_K_M was 19 % (one core) and 31 % (two, and others busy) too low for llama 1B
# Q4_K_M: its blocks are fewer and larger (all by scripts/bench/calibrated.py).
_NEAR, _SAME_BUILD, _OTHER_BUILD, _OTHER_TYPE = 0.05, 0.12, 0.20, 0.30
_OTHER_BLOCKS = 0.30


def _sum_rounds(n_devices: int) -> int:
    """Of an all-reduce: recursive doubling over the largest power of two. The devices beyond it
    send their part in a round before, and get the sum in one after (ggml/src/ggml-backend-meta.cpp,
    allreduce_fallback). NCCL, where it was built in, takes no more."""
    n_doublings = n_devices.bit_length() - 1
    return n_doublings if n_devices == 1 << n_doublings else n_doublings + 2


@frozen
class Stage:
    time_s: float
    spread: Spread = _EXACT
    device_id: str | None = None  # who computes; None: something between devices
    apart_s: float = 0.0  # the part of it that no calibration scales
    least_s: float = 0.0  # what reading the weights takes at the full rate of the memory

    @property
    def slow_s(self) -> float:
        return self.time_s / self.spread.low

    @property
    def fast_s(self) -> float:
        return max(self.time_s / self.spread.high, min(self.least_s, self.time_s))


def stages_of(setup: Setup, step: Step) -> list[Stage]:
    return list(_Route(setup, step).stages())


class _Route:
    """One step's way through the devices of a setup."""

    def __init__(self, setup: Setup, step: Step) -> None:
        self.spec, self.shape, self.placement = setup.spec, setup.shape, setup.placement
        self.hardware, self.profile, self.step = setup.hardware, setup.profile, step
        *others, self.host = self.placement.shares
        self.accelerators = [share for share in others if share.layers]
        self.in_a_row = self.placement.split_mode == "layer"
        self.is_prompt = step.n_tokens > step.n_seqs
        # What was measured of others says little of its fixed costs, and those are its time.
        self.is_tiny = self.spec.weight_bytes < LEAST_MEASURED_BYTES
        self.host_work = self._work(self.host)
        self.expert_work, self.n_expert_blocks = host_experts(
            self.spec, self.shape, self.host, step
        )

    def stages(self) -> Iterator[Stage]:
        if not self.in_a_row and self.accelerators:
            yield self._side_by_side()
        else:
            for share in self.accelerators:
                yield self._stage(share.device_id, self._work(share))
        if self.host.computes:
            yield from self._host()
        yield from self._hops()
        if self.placement.disk_bytes:
            yield self._disk()

    # ---- devices

    def _stage(self, device_id: str, work: Work, *, wider: Spread = _EXACT) -> Stage:
        device = self.hardware.device(device_id)
        rates = rates_of(device, self.hardware, self.profile)
        time_s = rates.time_s(self.spec, work, self.step, self.shape)
        spread = self._spread(device, rates.family)
        model = self.spec.architecture, main_type(self.spec)
        known = self.profile.calibration(device, *model, prompt=self.is_prompt)
        apart_s = self._apart_s(rates, work)
        if known is not None:
            ratio = known.prefill_ratio if self.is_prompt else known.decode_ratio
            time_s = apart_s + (time_s - apart_s) / (ratio or 1.0)
            spread = spread if self.is_tiny else self._calibrated(known)
        least_s = self._least_s(device, work) if known is None else 0.0
        return Stage(time_s, spread.wider(wider), device_id, apart_s, least_s)

    def _least_s(self, device: Device, work: Work) -> float:
        """Of a card's memory the peak is known; what host memory was measured at it may exceed. A
        tiny model may lie in the chip's cache."""
        pool = self.hardware.pool(device.pool_id)
        if self.is_prompt or self.is_tiny or pool.kind != "dedicated":
            return 0.0
        known = pool.bandwidth_bytes_s
        return (work.dense_bytes + work.expert_bytes) / known if known else 0.0

    def _apart_s(self, rates: Rates, work: Work) -> float:
        """A core's dot products with the cache: how fast they are says nothing about the weights,
        whose bytes memory holds up, nor the other way round. On accelerators both are bytes."""
        if self.is_prompt or rates.family.backend != "cpu":
            return 0.0
        return rates.cache_s(work, self.step, self.shape)

    def _side_by_side(self) -> Stage:
        """Row and tensor split: each device has its part of every matrix, by its layers' number."""
        shares = self.accelerators
        total = reduce(Work.plus, map(self._work, shares))
        n_all = sum(len(share.layers) for share in shares)
        slowest = max(
            (
                self._stage(share.device_id, self._part(total, len(share.layers) / n_all))
                for share in shares
            ),
            key=lambda stage: stage.time_s,
        )
        n_rounds = 2 * (total.blocks + total.moe_blocks) * _sum_rounds(len(shares))
        way_s = self._activation_bytes() / self._peer_bytes_s()
        sync_s = n_rounds * (self.profile.sync_s + way_s)
        spread = slowest.spread.wider(self.profile.split_spread)
        return Stage(slowest.time_s + sync_s, spread, slowest.device_id)

    def _part(self, total: Work, ratio: float) -> Work:
        """Every device launches the kernels of every block."""
        return total.times(ratio)._replace(
            blocks=total.blocks,
            moe_blocks=total.moe_blocks,
            recurrent_blocks=total.recurrent_blocks,
        )

    def _host(self) -> Iterator[Stage]:
        """The CPU's own layers, and the experts that it keeps for others."""
        work, experts = self.host_work, self.expert_work
        wider = self.profile.hybrid_spread if self.accelerators else _EXACT
        lends = self.accelerators and self.placement.op_offload
        if lends and self.step.n_tokens >= _OFFLOAD_TOKENS:
            lent = work.only_weights().plus(experts)
            device_id = self.accelerators[0].device_id
            copied = (lent.dense_bytes + lent.expert_bytes) / self._copy_bytes_s(device_id)
            yield Stage(copied, wider.wider(self.profile.copy_spread))
            yield self._stage(device_id, lent, wider=wider)
            yield self._stage("cpu", work.only_blocks(), wider=wider)
        else:
            yield self._stage("cpu", work.plus(experts), wider=wider)

    def _work(self, share: Share) -> Work:
        return share_work(self.spec, self.shape, self.placement, share, self.step)

    # ---- between them

    def _hops(self) -> Iterator[Stage]:
        if not self.accelerators:
            return
        n_bytes, slowest_bytes_s = self._activation_bytes(), self._slowest_link()
        if self.n_expert_blocks:
            way_s = self.profile.expert_hop_s + 2 * n_bytes / slowest_bytes_s
            yield Stage(self.n_expert_blocks * way_s, self.profile.copy_spread)
        n_devices = len(self.accelerators) if self.in_a_row else 1
        if n_hops := n_devices - 1 + bool(self.host.layers):
            way_s = self.profile.hop_s + n_bytes / slowest_bytes_s
            yield Stage(n_hops * way_s, self.profile.copy_spread)

    def _disk(self) -> Stage:
        """Pages of the file that memory does not hold, as far as a step asks for their weights."""
        work = self.host_work.plus(self.expert_work)
        asked = (work.dense_bytes + work.expert_bytes) / max(1, self.host.weight_bytes)
        n_bytes = self.placement.disk_bytes * min(1.0, asked)
        return Stage(n_bytes / self.profile.disk_bytes_s, self.profile.unknown_spread)

    def _activation_bytes(self) -> int:
        return _F32 * self.spec.n_embd * self.step.n_tokens

    def _slowest_link(self) -> float:
        return min(self._link_bytes_s(share.device_id) for share in self.accelerators)

    def _copy_bytes_s(self, device_id: str) -> float:
        """Weights out of the mapped file: the driver stages pages that it can't pin."""
        return min(self._link_bytes_s(device_id), self.profile.copy_bytes_s)

    def _link_bytes_s(self, device_id: str) -> float:
        """Between the host and a device; one that lives in the host's memory reads it there."""
        device = self.hardware.device(device_id)
        if device.pool_id == self.hardware.host.id:
            return self.hardware.host.bandwidth_bytes_s or self.profile.link_bytes_s
        known = link_bytes_s(device.link)
        return known * self.profile.link_efficiency if known else self.profile.link_bytes_s

    def _peer_bytes_s(self) -> float:
        peers = [self.hardware.device(share.device_id).peer_bytes_s for share in self.accelerators]
        known = [rate for rate in peers if rate]
        # Published for both directions together.
        return min(known) / 2 if len(known) == len(peers) else self._slowest_link()

    # ---- how sure

    def _spread(self, device: Device, family: BackendFamily) -> Spread:
        spread = family.prefill_spread if self.is_prompt else family.spread
        if self.spec.n_expert:
            profile = self.profile
            experts = profile.expert_prefill_spread if self.is_prompt else profile.expert_spread
            spread = spread.wider(experts)
        if self.is_prompt and len(self.accelerators) > 1:
            spread = spread.wider(self.profile.pipeline_spread)
        is_guess = self.hardware.pool(device.pool_id).bandwidth_bytes_s is None
        if self.is_prompt and device.backend != "cpu" and device.fp16_flops_s is None:
            is_guess = True
        is_guess |= self.is_tiny and not self.is_prompt
        return spread.wider(self.profile.unknown_spread) if is_guess else spread

    def _calibrated(self, known: Calibration) -> Spread:
        seen = known.prefill_spread if self.is_prompt else known.decode_spread
        off = _OTHER_BUILD
        if known.build == self.profile.build:
            is_alike = known.architecture == self.spec.architecture
            off = _NEAR if is_alike else _SAME_BUILD
            if known.backend == "cpu" and not is_alike and not self.is_prompt:
                off = _OTHER_BLOCKS
            is_type = known.weight_type in (None, main_type(self.spec))
            if not is_type and not self.is_prompt:
                off = _OTHER_TYPE
        off = max(off, 2 * seen)
        return Spread(1 / (1 + off), 1 + off)
