"""A card's power limit: what its driver allows, and setting it.

NVIDIA by nvidia-smi (which asks NVML), AMD by the hwmon file of amdgpu
(Documentation/gpu/amdgpu/thermal.rst, `power1_cap`). Both let root alone set it. Other vendors'
drivers have no limit that is known to be safe to move.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgellm.errors import EdgellmError
from edgellm.meter.readers.cards import card_folders
from edgellm.meter.readers.sysfs import hwmon, scaled
from edgellm.probe.hardware import Device
from edgellm.probe.sources import NoAnswer, Sources

_TIMEOUT_S = 10.0
_QUERY = "power.min_limit,power.max_limit,power.default_limit,power.limit"
_AS_ROOT = "only root may set it: sudo -E edgellm tune MODEL --power"


@dataclass(frozen=True, slots=True)
class PowerRange:
    least_w: float
    most_w: float
    default_w: float
    set_w: float


class PowerLimit(Protocol):
    device_id: str

    def read(self) -> PowerRange:
        """Raises EdgellmError where the driver knows no limits."""
        ...

    def set(self, watts: float) -> None:
        """Raises EdgellmError when the driver refuses."""
        ...

    def command(self, watts: float) -> str:
        """The same for a shell."""
        ...


class NvidiaLimit:
    def __init__(self, device_id: str, sources: Sources) -> None:
        self.device_id, self._sources = device_id, sources

    def read(self) -> PowerRange:
        text = self._smi(f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits")
        try:
            return PowerRange(*(float(part) for part in text.strip().split(",")))
        except (TypeError, ValueError):
            raise EdgellmError(
                f"{self.device_id} has no power limit that can be set: nvidia-smi says {text!r}"
            ) from None

    def set(self, watts: float) -> None:
        self._smi(_limit(watts))

    def command(self, watts: float) -> str:
        return f"sudo nvidia-smi --id={self.device_id} {_limit(watts)}"

    def _smi(self, *arguments: str) -> str:
        argv = ("nvidia-smi", f"--id={self.device_id}", *arguments)
        answer = self._sources.run(argv, _TIMEOUT_S)
        if isinstance(answer, NoAnswer):
            raise EdgellmError(f"nvidia-smi: {answer.message}")
        if answer.code != 0:
            said = (answer.text.strip() or answer.errors.strip()).splitlines()
            raise EdgellmError(
                f"nvidia-smi refused for {self.device_id}: {said[0] if said else answer.code}",
                hint=_AS_ROOT,
            )
        return answer.text


class AmdLimit:
    """Microwatts in files; `power1_cap_default` came with Linux 5.18, before it is the most."""

    def __init__(self, device_id: str, sources: Sources, root: Path = Path("/")) -> None:
        self.device_id, self._sources, self._root = device_id, sources, root

    def read(self) -> PowerRange:
        chip = self._chip()
        least, most, default, now = (
            scaled(self._sources, f"{chip}/power1_cap{end}", 1e6)
            for end in ("_min", "_max", "_default", "")
        )
        if least is None or most is None or now is None:
            raise EdgellmError(f"{self.device_id} has no power limit that can be set")
        return PowerRange(least, most, most if default is None else default, now)

    def set(self, watts: float) -> None:
        path = self._root / self._file().lstrip("/")
        try:
            path.write_text(f"{_microwatts(watts)}\n")
        except OSError as error:
            raise EdgellmError(f"{path}: {error.strerror}", hint=_AS_ROOT) from error

    def command(self, watts: float) -> str:
        return f"echo {_microwatts(watts)} | sudo tee {self._file()}"

    def _file(self) -> str:
        return f"{self._chip()}/power1_cap"

    def _chip(self) -> str:
        folder = card_folders(self._sources, [self.device_id]).get(self.device_id)
        return (folder and hwmon(self._sources, f"{folder}/device")) or ""


def _limit(watts: float) -> str:
    """nvidia-smi takes fractions, and tells a limit to the hundredth."""
    return f"--power-limit={round(watts, 2):g}"


def _microwatts(watts: float) -> int:
    return round(watts * 1e6)


VENDORS: dict[str, Callable[[str, Sources], PowerLimit]] = {"nvidia": NvidiaLimit, "amd": AmdLimit}


def limits_of(devices: Sequence[Device], sources: Sources) -> tuple[PowerLimit, ...]:
    """Of these devices, all of them or an error: a limit on half a model's cards says little.

    Raises EdgellmError.
    """
    for device in devices:
        if device.vendor not in VENDORS:
            raise EdgellmError(
                f"the power limit of {device.name} can't be set by edgellm",
                hint="it can on NVIDIA and AMD cards; edgellm bench measures without",
            )
    return tuple(VENDORS[device.vendor](device.id, sources) for device in devices)
