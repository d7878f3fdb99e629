"""What a llama.cpp backend cannot do on a device: profiles/backends.toml, as values.

    limits = backend_limits(device)
    limits.on_the_cpu(weights=("q4_k", "q6_k"), experts=())   # types whose product the CPU makes
    limits.takes_kv("q8_0")                                    # with flash attention
    limits.fault("moe")                                        # it crashes, and who saw it

Two kinds of limit, and they call for different plans. A type that the backend has no kernel for
is not an error: llama.cpp leaves such a tensor in the host's memory and the CPU multiplies it, at
a tenth of the speed and without a word. A *fault* ends the worker. Everything that no row names
is taken to work, so a backend that nobody has looked at has no limits.

Pure, given the table; the table itself is read once. Type names are those of models/quants.py.
"""

from collections.abc import Iterable
from dataclasses import field
from fnmatch import fnmatchcase
from functools import cache
from typing import Literal

import msgspec

from edgellm.probe.hardware import Backend, Device
from edgellm.resources import profiles_dir
from edgellm.values import frozen

Feature = Literal["moe", "mtp", "recurrent", "mtp with flash attention"]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A feature that ends the process on this backend."""

    feature: Feature
    reason: str  # "MoE models crash on the 310P"
    source: str


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`weights`, `experts` and `kv` list what runs; `not_weights` what doesn't, of all types."""

    backend: Backend
    source: str
    date: str
    match: tuple[str, ...] = ()  # device names or architectures, with wildcards; () is any
    weights: tuple[str, ...] | None = None
    experts: tuple[str, ...] | None = None
    not_weights: tuple[str, ...] = ()
    kv: tuple[str, ...] | None = None
    kv_alike: bool = False
    flash_attention: bool = True
    fault: tuple[Fault, ...] = ()
    note: str | None = None

    def fits(self, device: Device) -> bool:
        words = (device.name.lower(), (device.architecture or "").lower())
        return self.backend == device.backend and (
            not self.match or any(fnmatchcase(w, m.lower()) for w in words for m in self.match)
        )


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    backend: tuple[Row, ...] = ()


@frozen
class Limits:
    """`None` is "all of them". `note` and `source` are there to be quoted to people."""

    weights: frozenset[str] | None = None  # types of 2-D weights that it multiplies itself
    experts: frozenset[str] | None = None  # the same for a MoE's expert tensors
    not_weights: frozenset[str] = frozenset()  # of either, known to be missing
    kv: frozenset[str] | None = None  # types that its flash attention reads
    kv_alike: bool = False  # K and V must be of one type
    flash_attention: bool = True  # without: a quantized V is impossible, and attention slower
    faults: tuple[Fault, ...] = field(default=())
    note: str | None = None
    source: str | None = None

    @property
    def is_choosy(self) -> bool:
        """Of files, so that whoever looks for one has to know it."""
        listed = self.weights is not None or self.experts is not None
        return listed or not self.flash_attention

    def on_the_cpu(
        self, weights: Iterable[str] = (), experts: Iterable[str] = ()
    ) -> tuple[str, ...]:
        """Those of a model's types whose products the CPU has to make, in the order given."""
        slow = [t for t in weights if not self._runs(t, self.weights)]
        slow += [t for t in experts if not self._runs(t, self.experts)]
        return tuple(dict.fromkeys(slow))

    def takes_kv(self, k: str, v: str | None = None) -> bool:
        """Whether its flash attention reads such a cache; `v` is `k` when not said."""
        v = v or k
        if not self.flash_attention:
            return v in ("f16", "f32", "bf16")  # llama.cpp refuses a quantized V without it
        known = self.kv is None or (k in self.kv and v in self.kv)
        return known and (k == v or not self.kv_alike)

    def fault(self, feature: Feature) -> Fault | None:
        return next((fault for fault in self.faults if fault.feature == feature), None)

    def _runs(self, type_name: str, known: frozenset[str] | None) -> bool:
        return type_name not in self.not_weights and (known is None or type_name in known)


def backend_limits(device: Device, table: Table | None = None) -> Limits:
    """Of the first row that fits: the rows of single devices stand before their backend's."""
    rows = (table or load()).backend
    row = next((row for row in rows if row.fits(device)), None)
    if row is None:
        return Limits()
    return Limits(
        weights=_set(row.weights),
        experts=_set(row.experts),
        not_weights=frozenset(row.not_weights),
        kv=_set(row.kv),
        kv_alike=row.kv_alike,
        flash_attention=row.flash_attention,
        faults=row.fault,
        note=row.note,
        source=row.source,
    )


@cache
def load() -> Table:
    return msgspec.toml.decode((profiles_dir() / "backends.toml").read_bytes(), type=Table)


def _set(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
