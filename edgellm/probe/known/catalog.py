"""profiles/devices.toml: what is known of devices by their names.

For what can't be measured from the CPU's side, and for machines that are only described. Of a
real device it never says how much memory there is: boards of one name are sold with 8 and 16 GB,
and a 4090 with 48 exists.
"""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache

import msgspec

from edgellm.errors import BadRequest
from edgellm.probe.hardware import Backend
from edgellm.resources import profiles_dir
from edgellm.units import GIB

_BRANDS = re.compile(
    r"\b(?:nvidia|geforce|tesla|amd|radeon|instinct|intel|apple|huawei|moore threads)\b"
)
_SERIES = re.compile(r"^(?:rtx|gtx|rx|arc)(?=\d|[ab]\d)")
_PUNCTUATION = re.compile(r"[^a-z0-9+]+")


class DeviceRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The columns are explained at the top of the file. None: nobody tells."""

    name: str
    vendor: str
    match: tuple[str, ...]  # device names, whole, with shell wildcards; case is ignored
    source: str
    date: str
    also: tuple[str, ...] = ()
    gpu_cores: int | None = None
    backend: Backend = "none"
    planned_as: Backend | None = None
    architecture: str | None = None
    memory_gib: float | None = None
    unified: bool = False
    bandwidth_gb_s: float | None = None
    fp16_tflops: float | None = None
    vector_tops: float | None = None
    board_power_w: float | None = None
    peer_gb_s: float | None = None
    bridge_gb_s: float | None = None
    pcie: str | None = None
    n_cores: int | None = None
    isa: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    note: str = ""

    def bears(self, name: str) -> bool:
        return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in self.match)

    def cut_to(self, n_gpu_cores: int) -> "DeviceRow":
        """As a chip of that name is that was sold with fewer of its cores."""
        if self.fp16_tflops is None or not self.gpu_cores or n_gpu_cores >= self.gpu_cores:
            return self
        part = n_gpu_cores / self.gpu_cores
        return msgspec.structs.replace(
            self, gpu_cores=n_gpu_cores, fp16_tflops=self.fp16_tflops * part
        )

    @property
    def device_name(self) -> str:
        """What a real one would call itself, as far as that is one name."""
        first = self.match[0] if self.match else self.name
        return self.name if set(first) & set("*?[") else first

    @property
    def fp16_flops_s(self) -> float | None:
        return self.fp16_tflops and self.fp16_tflops * 1e12

    @property
    def vector_flops_s(self) -> float | None:
        return self.vector_tops and self.vector_tops * 1e12

    @property
    def bandwidth_bytes_s(self) -> float | None:
        return self.bandwidth_gb_s and self.bandwidth_gb_s * 1e9

    def peer_bytes_s(self, is_bridged: bool = False) -> float | None:
        """One direction's; data sheets add both."""
        both_gb_s = self.peer_gb_s or (self.bridge_gb_s if is_bridged else None)
        return both_gb_s and both_gb_s * 1e9 / 2


class Catalog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    device: tuple[DeviceRow, ...] = ()

    def row(
        self, name: str, total_bytes: int | None = None, n_gpu_cores: int | None = None
    ) -> DeviceRow | None:
        """By the name that a device gives itself; of several, the nearest in cores, of which it is
        taken to have the most when it tells none, and then in memory."""
        named = [row for row in self.device if row.bears(name)]
        n_cores = n_gpu_cores or max((row.gpu_cores or 0 for row in named), default=0)
        found = _nearest(named, lambda row: n_cores - (row.gpu_cores or 0))
        if total_bytes is not None:
            gib = total_bytes / GIB
            found = _nearest(found, lambda row: gib - (row.memory_gib or 0))
        return found[0].cut_to(n_cores) if found else None

    def named(self, name: str) -> DeviceRow:
        """By the name that people give it: "RTX 4090", "rtx4090", "NVIDIA GeForce RTX 4090", and
        "4090" or "7900xtx", where that is no other's name.

        Raises BadRequest, with the nearest names that are known.
        """
        by_key = self._by_key()
        row = by_key.get(_key(name))
        if row is not None:
            return row
        import difflib

        near = difflib.get_close_matches(_key(name), by_key, n=5)
        near += [key for key in by_key if _key(name) and _key(name) in key]
        known = ", ".join(list(dict.fromkeys(by_key[key].name for key in near))[:5])
        raise BadRequest(
            f"no device called {name!r} is known",
            hint=f"did you mean {known}?"
            if known
            else "describe it by its memory and bandwidth: --device cuda:24GiB@1008",
        )

    def _by_key(self) -> dict[str, DeviceRow]:
        """The first row that claims a name has it."""
        keys: dict[str, DeviceRow] = {}
        for row in self.device:
            for name in (row.name, *row.also):
                keys.setdefault(_key(name), row)
        for row in self.device:
            keys.setdefault(_key(row.device_name), row)
        for key, row in tuple(keys.items()):
            keys.setdefault(_SERIES.sub("", key), row)
        return keys


def _nearest(rows: list[DeviceRow], distance: Callable[[DeviceRow], float]) -> list[DeviceRow]:
    least = min((abs(distance(row)) for row in rows), default=0.0)
    return [row for row in rows if abs(distance(row)) == least]


def _key(name: str) -> str:
    """Without the brand, case and blanks: "NVIDIA GeForce RTX 4090" and "rtx4090" are one."""
    return _PUNCTUATION.sub("", _BRANDS.sub(" ", name.lower()))


@cache
def load() -> Catalog:
    return msgspec.toml.decode((profiles_dir() / "devices.toml").read_bytes(), type=Catalog)
