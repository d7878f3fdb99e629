"""Does this build of llama.cpp really run here? A few tokens, decoded on each device in turn.

A device that is listed can still fail: code for another CPU or card, a broken driver, a runtime
library that is missing. Only decoding shows it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgellm.probe.hardware import Device, Hardware
from edgellm.probe.sources import NoAnswer, Output, Sources, child
from edgellm.runner.child import describe_exit

_CPU_S = 60.0
_GPU_S = 600.0  # a card newer than the build: its driver compiles all kernels first, once
_EXCEPTION = re.compile(r"^[\w.]+(?:Error|Exception): ")  # which class of ours it was tells nobody


class _Decoded(msgspec.Struct, frozen=True):
    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """`fault` is None when it decoded. `agrees` tells whether with the CPU's tokens."""

    device: Device
    text: str | None = None
    fault: str | None = None
    agrees: bool | None = None


def selftest(hardware: Hardware, model: Path, sources: Sources) -> tuple[DeviceCheck, ...]:
    """The CPU first, then each accelerator that this build uses."""
    *accelerators, host = hardware.devices
    cpu = _decode("CPU", model, sources, _CPU_S)
    checks = [_check(host, cpu, None)]
    used = [(d, d.ggml_name) for d in accelerators if d.ggml_name and d.backend != "none"]
    checks += [_check(d, _decode(name, model, sources, _GPU_S), cpu) for d, name in used]
    return tuple(checks)


def _decode(name: str, model: Path, sources: Sources, limit_s: float) -> _Decoded | str:
    """What it decoded, or why it did not."""
    command = (*child("edgellm.runner.selftest_child"), name, str(model))
    match sources.run(command, limit_s):
        case NoAnswer(_, message):
            return message
        case Output(text, errors, 0):
            try:
                return msgspec.json.decode(text, type=_Decoded)
            except msgspec.DecodeError:
                return f"no answer; it said {errors.strip()[-200:]!r}"
        case Output(_, errors, code):
            return _fault(code, errors)


def _fault(code: int, errors: str) -> str:
    if describe_exit(code) == "SIGILL":
        return "SIGILL: it was compiled for a CPU with instructions that this one lacks"
    last = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), "")
    words = _EXCEPTION.sub("", last)
    return f"{describe_exit(code)}: {words}" if words else describe_exit(code)


def _check(device: Device, got: _Decoded | str, on_cpu: _Decoded | str | None) -> DeviceCheck:
    if isinstance(got, str):
        return DeviceCheck(device, fault=got)
    agrees = got.tokens == on_cpu.tokens if isinstance(on_cpu, _Decoded) else None
    return DeviceCheck(device, text=got.text, agrees=agrees)
