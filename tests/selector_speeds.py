"""Speeds of described machines, with the profiles as they are."""

from dataclasses import replace

from selector_machines import GB_S, machine

from edgellm.profiles import load_profiles
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import Placement, Range, Share
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import decode_tok_s, prefill_tok_s

SPEED = load_profiles().speed
SHAPE = ContextShape(4096, n_seq_max=1, n_ubatch=512, n_outputs_max=1)


def whole(spec, hardware, **changes) -> Placement:
    """All layers in equal parts on the accelerators."""
    n_all, devices = spec.n_layers + 1, hardware.accelerators
    shares = [
        Share(device.id, device.pool_id, tuple(range(i * n_all // len(devices),
              (i + 1) * n_all // len(devices))), 0, 0, 0)
        for i, device in enumerate(devices)
    ]  # fmt: skip
    return Placement((*shares, Share("cpu", "host", (), 0, 0, 0)), n_all, **changes)


def half(spec, n_host: int, *, experts: int = 0, **changes) -> Placement:
    """The first layers, or the experts of the first, on the host."""
    card = Share("gpu0", "gpu0", tuple(range(n_host, spec.n_layers + 1)), 0, 0, 0)
    expert_layers = tuple(range(n_host, experts))
    host = Share("cpu", "host", tuple(range(n_host)), 10**10, 0, 0, expert_layers=expert_layers)
    placement = Placement((card, host), spec.n_layers + 1 - n_host, n_cpu_moe=experts)
    return replace(placement, **changes)


def decode(spec, hardware, placement=None, profile=SPEED, shape=SHAPE, **changes) -> Range:
    placement = placement or whole(spec, hardware)
    return decode_tok_s(Setup(spec, shape, placement, hardware, profile), **changes)


def prefill(spec, hardware, placement=None, profile=SPEED, shape=SHAPE, **changes) -> Range:
    placement = placement or whole(spec, hardware)
    return prefill_tok_s(Setup(spec, shape, placement, hardware, profile), **changes)


def with_bandwidths(hardware, host_gb_s: float):
    pools = (
        replace(pool, bandwidth_bytes_s=host_gb_s * GB_S) if pool.id == "host" else pool
        for pool in hardware.pools
    )
    return replace(hardware, pools=tuple(pools))


def with_cards(hardware, **facts):
    *cards, cpu = hardware.devices
    return replace(hardware, devices=(*(replace(card, **facts) for card in cards), cpu))


def zen5_core():
    """The machine of the figures below: one core of an EPYC with AVX-512."""
    hardware = with_bandwidths(machine(), 50)
    cpu = replace(hardware.cpu, n_physical_cores=1, isa=("avx2", "avx512f", "avx512_vnni"))
    return replace(hardware, cpu=cpu)


def on_cpu(spec) -> Placement:
    return Placement((Share("cpu", "host", tuple(range(spec.n_layers + 1)), 0, 0, 0),), 0)
