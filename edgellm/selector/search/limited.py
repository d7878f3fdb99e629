"""What a device's backend in llama.cpp cannot do for a model, and what the plan makes of it. Pure.

    a fault       what ends the process there: the device is left out
    weights       types without a kernel stay in the host's memory, and the CPU multiplies them:
                  the device is left out where they are much, and it is said where they are little
    cache         types that its flash attention doesn't read: the device has no such cache
    attention     off on a device that has none, or none for this pair of types

The limits themselves are profiles/backends.toml's (probe/known/limits.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from edgellm.models.anatomy.tensor_types import EXPERT_CLASSES, TypeShare
from edgellm.models.quants import BY_NAME
from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Device
from edgellm.probe.known.limits import Feature, Limits
from edgellm.selector.placing.devices import DeviceSet
from edgellm.selector.plan import Candidate, Goal
from edgellm.selector.search.question import Question
from edgellm.selector.search.settings import Setting
from edgellm.values import frozen

# More than an output matrix of another type (a Q4_0 file's is Q6_K, a tenth of an 8 B model).
_MOST_ASIDE_RATIO = 0.25
_HEAD_FAULT: Feature = "mtp with flash attention"


@frozen
class Barred:
    """Why a device can't take part."""

    sentence: str


@dataclass(slots=True)
class Limited:
    """One candidate on the devices of one machine."""

    question: Question
    candidate: Candidate
    _bars: dict[str, str | None] = field(default_factory=dict)

    def why_not(self, device: Device) -> str | None:
        """What keeps it off the device, in whatever context."""
        if device.id not in self._bars:
            self._bars[device.id] = _bar(self.candidate.spec, device, self._limits(device))
        return self._bars[device.id]

    def fitted(self, setting: Setting, devices: DeviceSet) -> Setting | Barred:
        """The context as these devices can have it."""
        for device in devices:
            limits = self._limits(device)
            if why := self.why_not(device) or _why_no_cache(setting, limits):
                return Barred(f"{device.name}: {why}")
            if not _attends(setting, limits):
                setting = replace(setting, flash_attention=False)
        return setting

    def whys_not(self, setting: Setting, device: Device) -> tuple[str, ...]:
        """What keeps it off the device: the file, and what was asked for of its context."""
        goal = self.question.goal
        pins = goal.kv_type_k or goal.kv_type_v or goal.flash_attention
        cache = _why_no_cache(setting, self._limits(device)) if pins else None
        return tuple(why for why in (self.why_not(device), cache) if why)

    def notes(self, devices: DeviceSet) -> Iterator[str]:
        """Of devices that take part: what is done otherwise than elsewhere."""
        for device in devices:
            limits = self._limits(device)
            types, ratio = _aside(self.candidate.spec, limits)
            if types:
                yield (
                    f"{_listed(types)}, {ratio:.0%} of the weights, are multiplied by the CPU: "
                    f"llama.cpp's {device.backend} backend has no kernel for them on "
                    f"{device.name}; the predicted speed does not count that"
                )
            if self._has_head and (fault := limits.fault(_HEAD_FAULT)):
                yield f"flash attention is off: {fault.reason} ({fault.source})"
            elif not limits.flash_attention:
                yield f"flash attention is off: llama.cpp has none for {device.name}"

    @property
    def _has_head(self) -> bool:
        return self.candidate.draft is not None and self.candidate.draft.is_head

    def _limits(self, device: Device) -> Limits:
        """With the head's fault taken for what it comes to."""
        limits = self.question.limits[device.id]
        if self._has_head and limits.fault(_HEAD_FAULT):
            return replace(limits, flash_attention=False)
        return limits


def why_no_head(question: Question) -> str | None:
    """What keeps a model's own head for guesses (MTP) from running on this machine."""
    for device in question.accelerators:
        limits = question.limits[device.id]
        fault = limits.fault("mtp")
        if fault is None and _insists_on_flash(question.goal):
            fault = limits.fault(_HEAD_FAULT)
        if fault is not None:
            return f"{fault.reason} ({fault.source})"
    return None


def _insists_on_flash(goal: Goal) -> bool:
    kv_type_v = goal.kv_type_v or goal.kv_type_k
    return goal.flash_attention is True or (kv_type_v is not None and BY_NAME[kv_type_v].block > 1)


def _why_no_cache(setting: Setting, limits: Limits) -> str | None:
    """None: as it is, or without flash attention."""
    insists = setting.flash_attention is True
    if _attends(setting, limits) or (not insists and _attends_plainly(setting, limits)):
        return None
    if insists and not limits.flash_attention:
        return "it has no flash attention, and that is asked for"
    cache = f"a cache of {setting.kv_type_k} and {setting.kv_type_v}"
    if limits.flash_attention:
        return f"its flash attention does not read {cache}"
    return f"{cache} needs flash attention, which it does not have"


def _attends(setting: Setting, limits: Limits) -> bool:
    """As it is."""
    if setting.flash_attention is False:
        return True
    return limits.flash_attention and limits.takes_kv(setting.kv_type_k, setting.kv_type_v)


def _attends_plainly(setting: Setting, limits: Limits) -> bool:
    """Without flash attention, which then is off on every device."""
    return replace(limits, flash_attention=False).takes_kv(setting.kv_type_k, setting.kv_type_v)


def _bar(spec: ModelSpec, device: Device, limits: Limits) -> str | None:
    for feature in _features(spec):
        if fault := limits.fault(feature):
            return f"{fault.reason} ({fault.source})"
    types, ratio = _aside(spec, limits)
    if ratio <= _MOST_ASIDE_RATIO:
        return None
    return (
        f"llama.cpp's {device.backend} backend has no kernel there for {_listed(types)}, "
        f"{ratio:.0%} of the weights: the CPU would multiply them"
    )


def _features(spec: ModelSpec) -> Iterator[Feature]:
    if spec.n_expert:
        yield "moe"
    if any(layer.kv_kind == "recurrent" or layer.state_bytes for layer in spec.layers):
        yield "recurrent"


def _aside(spec: ModelSpec, limits: Limits) -> tuple[tuple[str, ...], float]:
    """Types of matrices that the CPU has to multiply, and their part of all bytes. The embedding
    is looked up and not multiplied, wherever it lies."""
    rows = [row for row in spec.types if row.tensor_class != "embedding" and row.type in BY_NAME]
    slow = [row for row in rows if _is_slow(spec, row, limits)]
    total = sum(map(_bytes, rows))
    if not slow or not total:
        return (), 0.0
    return tuple(dict.fromkeys(row.type for row in slow)), sum(map(_bytes, slow)) / total


def _is_slow(spec: ModelSpec, row: TypeShare, limits: Limits) -> bool:
    if spec.n_expert and row.tensor_class in EXPERT_CLASSES:
        return bool(limits.on_the_cpu(experts=(row.type,)))
    return bool(limits.on_the_cpu(weights=(row.type,)))


def _bytes(row: TypeShare) -> float:
    return row.n_weights * float(BY_NAME[row.type].bytes_per_weight)


def _listed(types: tuple[str, ...]) -> str:
    return " and ".join(name.upper() for name in types)
