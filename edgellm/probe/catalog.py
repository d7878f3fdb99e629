"""profiles/devices.toml: the memory bandwidth of devices that we know by name.

For what can't be measured from the CPU's side. Never how much memory a device has: boards of
one name are sold with 8 and 16 GB, and a 4090 with 48 exists.
"""

from fnmatch import fnmatchcase
from functools import cache

import msgspec

from edgellm.resources import profiles_dir
from edgellm.units import GIB


class DeviceRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    vendor: str
    match: tuple[str, ...]  # device names, whole, with shell wildcards; case is ignored
    bandwidth_gb_s: float
    source: str
    date: str
    memory_gib: float | None = None  # tells boards of one name apart; within an eighth
    uncertain: bool = False

    def fits(self, name: str, total_bytes: int | None) -> bool:
        if not any(fnmatchcase(name.lower(), pattern.lower()) for pattern in self.match):
            return False
        if self.memory_gib is None or total_bytes is None:
            return True
        return abs(total_bytes / GIB / self.memory_gib - 1) <= 0.125


class Catalog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    device: tuple[DeviceRow, ...] = ()

    def bandwidth_bytes_s(self, name: str, total_bytes: int | None = None) -> float | None:
        row = next((row for row in self.device if row.fits(name, total_bytes)), None)
        return row.bandwidth_gb_s * 1e9 if row else None


@cache
def load() -> Catalog:
    return msgspec.toml.decode((profiles_dir() / "devices.toml").read_bytes(), type=Catalog)
