"""After the installation: what runs where, and what does not, for the person to read.

The first file here that needs edgellm's own dependencies: it is imported when they are installed.
"""

from dataclasses import dataclass

from edgellm import resources
from edgellm.probe.detect import detect
from edgellm.probe.hardware import Hardware
from edgellm.probe.sources import Sources
from edgellm.runner.selftest import DeviceCheck, selftest


@dataclass(frozen=True, slots=True)
class Report:
    problem: str | None  # why this build can't be used at all
    lines: tuple[str, ...]  # one for each device that decodes
    warnings: tuple[str, ...]  # one for each that does not, with the fix


def examine(sources: Sources) -> Report:
    hardware = detect(sources, measure_bandwidth=False)
    return report(hardware, selftest(hardware, resources.demo_model(), sources))


def report(hardware: Hardware, checks: tuple[DeviceCheck, ...]) -> Report:
    return Report(
        problem=_problem(hardware, checks[0]),
        lines=tuple(_line(check) for check in checks if check.fault is None),
        warnings=(*_unused(hardware), *(_warning(c) for c in checks[1:] if _is_doubtful(c))),
    )


def _problem(hardware: Hardware, on_cpu: DeviceCheck) -> str | None:
    if on_cpu.fault:
        return f"this llama.cpp does not run on this CPU: {on_cpu.fault}"
    if "RPC" in hardware.ggml_registries:
        return "this llama.cpp was built with RPC, which computes what the network says"
    return None


def _line(check: DeviceCheck) -> str:
    device = check.device
    named = f"{device.name} ({device.ggml_name})" if device.backend != "cpu" else device.name
    return f"decoded on {named}: “…{(check.text or '').strip()}”"


def _unused(hardware: Hardware) -> tuple[str, ...]:
    unused = [device for device in hardware.devices if device.backend == "none"]
    return tuple(
        f"{device.name} is not used: {device.note or 'llama.cpp does not list it'}"
        for device in unused
    )


def _is_doubtful(check: DeviceCheck) -> bool:
    return check.fault is not None or check.agrees is False


def _warning(check: DeviceCheck) -> str:
    device = check.device
    if check.fault is None:
        return f"{device.name} decodes other tokens than the CPU: check its driver"
    fix = device.note or "update its driver, or compile here: EDGELLM_WHEEL_INDEX=none"
    return f"{device.name} ({device.ggml_name}) can't run this build: {check.fault}; {fix}"
