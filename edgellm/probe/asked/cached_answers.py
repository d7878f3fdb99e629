"""Answers of our child programs, repeated while nothing has changed that they depend on.

For `plan` and `recommend`, which only say what would be: the three programs cost a quarter of a
second, and on most machines answer the same every time. `serve` asks anew. How long they hold:

    nvml_child       where it found no card: until a driver appears or the machine restarts
    registry_child   llama.cpp's devices: where the CPU is the only one, for this build and boot;
                     with cards whose free memory NVML or sysfs tells anyway, for five minutes
    bandwidth_child  once its measurement is final, until the machine restarts
"""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from edgellm.probe.asked import cache_files
from edgellm.probe.asked.boot_id import boot_id
from edgellm.probe.bandwidth_child import MAX_MEASUREMENTS
from edgellm.probe.sources import (
    ForwardingSources,
    NoAnswer,
    Output,
    Sources,
    capture_name,
)

_CARDS_S: Final = 300.0
_THIS_BOOT_S: Final = float("inf")
_DRIVERS: Final = ("/proc/driver/nvidia/version", "/sys/module/amdgpu/version")
_DEVICES: Final = ("/dev/dxg", "/dev/nvidia*", "/dev/dri/render*", "/dev/kfd")
_ENVIRONMENT: Final = (
    "CUDA_", "HIP_", "ROCR_", "GGML_", "VK_", "ONEAPI_", "MUSA_", "ASCEND_", "LD_LIBRARY_PATH",
)  # fmt: skip


class _Kept(msgspec.Struct, frozen=True):
    key: str
    at_s: float  # Unix seconds
    text: str


class CachedSources(ForwardingSources):
    """A Sources. `build` identifies the llama.cpp that would be asked."""

    def __init__(
        self,
        sources: Sources,
        build: str,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(sources)
        self._build, self._clock = build, clock
        self._path = (folder or cache_files.folder()) / "probe.json"
        self._kept = cache_files.load(self._path, dict[str, _Kept], {})
        self._boot_id = boot_id(sources)
        self._depends_on: str | None = None

    def run(self, argv: tuple[str, ...], timeout_s: float) -> Output | NoAnswer:
        name = capture_name(argv)
        if name not in _HOLDS_S or self._boot_id is None:
            return self._sources.run(argv, timeout_s)
        key = hashlib.sha256(f"{argv}{self._dependencies()}".encode()).hexdigest()
        if (kept := self._kept.get(name)) and self._holds(name, kept, key):
            return Output(kept.text)
        said = self._sources.run(argv, timeout_s)
        if isinstance(said, Output) and said.code == 0 and not said.errors:
            self._keep(name, _Kept(key, self._clock(), said.text))
        return said

    def _dependencies(self) -> str:
        """All that an answer depends on, as far as files and the environment show it."""
        if self._depends_on is None:
            told = [self._boot_id, *(str(self._sources.read_text(path)) for path in _DRIVERS)]
            there = [self._sources.list(pattern) for pattern in _DEVICES]
            chosen = sorted(pair for pair in os.environ.items() if pair[0].startswith(_ENVIRONMENT))
            self._depends_on = f"{self._build}{told}{there}{chosen}"
        return self._depends_on

    def _holds(self, name: str, kept: _Kept, key: str) -> bool:
        age_s = self._clock() - kept.at_s
        return kept.key == key and 0 <= age_s < _holds_s(name, kept.text)

    def _keep(self, name: str, kept: _Kept) -> None:
        if _holds_s(name, kept.text):
            with cache_files.locked(self._path):
                theirs = cache_files.load(self._path, dict[str, _Kept], self._kept)
                self._kept = {**theirs, name: kept}
                cache_files.save(self._path, self._kept)


def _holds_s(name: str, text: str) -> float:
    """How long an answer may be repeated, in seconds; 0: not at all."""
    try:
        return _HOLDS_S[name](msgspec.json.decode(text))
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
        return 0.0


def _cards_hold_s(said: Any) -> float:
    return _THIS_BOOT_S if not said["cards"] and not said["error"] else 0.0


def _devices_hold_s(said: Any) -> float:
    others = [device for device in said["devices"] if device["type"] != "cpu"]
    if not others:
        return _THIS_BOOT_S
    are_told = all(d["registry"] in ("CUDA", "ROCm") and d["device_id"] for d in others)
    return _CARDS_S if are_told else 0.0


def _bandwidth_holds_s(said: Any) -> float:
    return 0.0 if said["busy"] and said["n_measured"] < MAX_MEASUREMENTS else _THIS_BOOT_S


_HOLDS_S: Final[dict[str, Callable[[Any], float]]] = {
    "nvml_child": _cards_hold_s,
    "registry_child": _devices_hold_s,
    "bandwidth_child": _bandwidth_holds_s,
}
