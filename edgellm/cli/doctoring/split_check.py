"""The check of `edgellm doctor` for models that are served: is a split slower than one card alone?

Layers on several cards are computed one card after the other. So for one stream a split takes
Σ bytes / bandwidth over the cards, and the fastest card alone takes all bytes / its bandwidth:
never more, where all of it fits there. A split over like cards costs little and holds more.
"""

from collections.abc import Iterator

from edgellm.cli.doctoring.findings import Finding, Place
from edgellm.probe.hardware import Hardware, MemoryPool
from edgellm.status import ModelStatus, ShareStatus
from edgellm.units import format_bytes

_WORTH_RATIO = 1.05  # less than that is within what a plan can tell


def split(place: Place) -> Finding:
    said = [line for model in place.served for line in _slower(model, place.hardware)]
    if said:
        return Finding("split", "warning", *("; ".join(part) for part in zip(*said, strict=True)))
    n_split = sum(len(_on_cards(model, place.hardware)) > 1 for model in place.served)
    return Finding("split", "ok", f"{n_split} model(s) split" if n_split else "no model is split")


def _slower(model: ModelStatus, hardware: Hardware) -> Iterator[tuple[str, str]]:
    """What is said of it, and what mends it."""
    parts = _on_cards(model, hardware)
    if model.plan is None or len(parts) < 2:
        return
    if sum(share.n_layers for share, _ in parts) < sum(s.n_layers for s in model.plan.shares):
        return  # the processor has some: the cards are full
    needed = sum(share.predicted.total_bytes for share, _ in parts)
    rates = [(pool.bandwidth_bytes_s, share, pool) for share, pool in parts]
    if any(rate is None for rate, _, _ in rates):
        return
    best, share, pool = max(rates, key=lambda one: one[0] or 0.0)
    if needed + share.overhead_bytes > pool.total_bytes or not best:
        return
    split_s = sum(_read_bytes(part) / (rate or best) for rate, part, _ in rates)
    alone_s = sum(_read_bytes(part) for _, part, _ in rates) / best
    if split_s < _WORTH_RATIO * alone_s:
        return
    name = next((d.name for d in hardware.devices if d.id == share.device_id), share.device_id)
    proportions = ",".join("1" if part is share else "0" for part, _ in parts)
    yield (
        f"{model.name} is split over {len(parts)} cards; its {format_bytes(needed)} fit on {name} "
        f"alone, where one stream would be about {split_s / alone_s - 1:.0%} faster",
        f"edgellm serve {model.name} -ts {proportions}",
    )


def _on_cards(model: ModelStatus, hardware: Hardware) -> list[tuple[ShareStatus, MemoryPool]]:
    """Its shares on accelerators with memory of their own, in the plan's order."""
    pools = {pool.id: pool for pool in hardware.pools}
    cards = {d.id: pools[d.pool_id] for d in hardware.accelerators if d.pool_id in pools}
    shares = model.plan.shares if model.plan else ()
    return [(share, cards[share.device_id]) for share in shares if share.device_id in cards]


def _read_bytes(share: ShareStatus) -> int:
    return share.predicted.weight_bytes + share.predicted.kv_bytes
