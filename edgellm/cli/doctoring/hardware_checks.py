"""The checks of `edgellm doctor` that look at the machine. Pure: facts in, one finding out."""

import re
from collections.abc import Callable, Iterator

from edgellm.cli.doctoring.findings import Finding, Place
from edgellm.probe.advice import rebuild
from edgellm.probe.hardware import Device, Hardware
from edgellm.probe.usage import narrowed
from edgellm.selector.telling.describe import names_of
from edgellm.units import GIB, format_bytes

_FEWEST_LANES = 4  # below it a model takes minutes to load, and experts in RAM crawl
_LEAST_GTT_RATIO = 0.6  # of the memory, that an APU may map: half is the kernel's default
_LEFT_TO_SYSTEM_BYTES = 6 * GIB
_HOT_C = 90.0
_LEAST_POWER_RATIO = 0.95  # of the maker's limit
_WORDS = {
    "thermal": "too hot", "power_brake": "its supply brakes it", "hardware": "slowed by itself",
}  # fmt: skip


def _accelerators(place: Place) -> Finding:
    """A GPU that is there and not used is the costliest fault of all."""
    devices = place.hardware.devices
    idle = [d for d in devices if d.backend == "none" and d.vendor != "hexagon"]
    fixable = [d for d in idle if d.serving is not None and not _is_spare(place.hardware, d)]
    if fixable:
        notes = "; ".join(dict.fromkeys(device.note for device in fixable if device.note))
        is_weak = all(_is_weak(place.hardware, device) for device in fixable)
        return Finding(
            "accelerators",
            "warning" if is_weak else "problem",
            f"not used: {names_of(fixable)}",
            notes or None,
        )
    foreign = [d for d in idle if d.serving is None and d.note and "no backend" in d.note]
    if foreign:
        return Finding(
            "accelerators",
            "warning",
            f"llama.cpp has no backend for {names_of(foreign)}; the CPU is used",
            "nothing mends this; its maker's own runtime can use it",
        )
    used = names_of(place.hardware.accelerators)
    return Finding("accelerators", "ok", used or "none here; the CPU does it all")


def _is_spare(hardware: Hardware, device: Device) -> bool:
    """Left alone on purpose: an integrated GPU beside a card, a software renderer."""
    if device.pool_id != hardware.host.id:
        return False
    in_build = device.serving is not None and device.serving.in_build is True
    beside_a_card = device.vendor == "intel" and _has_a_card(hardware)
    return beside_a_card or (in_build and bool(device.ggml_name))


def _is_weak(hardware: Hardware, device: Device) -> bool:
    """Without memory that anybody told of: most likely the graphics of the processor, which for
    AMD's would be all there is to use if no card were beside it."""
    is_processors = device.vendor == "intel" or (device.vendor == "amd" and _has_a_card(hardware))
    return device.pool_id == hardware.host.id and is_processors


def _has_a_card(hardware: Hardware) -> bool:
    """With memory of its own, and in use."""
    return any(device.pool_id != hardware.host.id for device in hardware.accelerators)


def _driver(place: Place) -> Finding:
    """Driver, toolkit and build have to fit: a build for CUDA 13 finds no device under 12."""
    hardware = place.hardware
    mismatch = next((f for f in hardware.faults if "version mismatch" in f.message.lower()), None)
    if mismatch:
        return Finding(
            "driver",
            "problem",
            f"{mismatch.source}: {mismatch.message}",
            "the driver was updated under the running kernel: restart the machine",
        )
    built = _cuda_of(hardware.ggml_libraries)
    for device in hardware.devices:
        runs = re.fullmatch(r"CUDA (\d+)\.(\d+)", device.toolkit or "")
        if built and runs and built > int(runs[1]):
            return Finding(
                "driver",
                "problem",
                f"this llama.cpp was built for CUDA {built}, {device.name}'s driver "
                f"{device.driver} runs up to {runs[1]}.{runs[2]}",
                f"a newer driver, or a build for CUDA {runs[1]}: {rebuild('-DGGML_CUDA=on')}",
            )
    is_idle = any(d.backend == "none" and d.serving for d in hardware.devices)
    if hardware.ggml_complaints and is_idle and not hardware.accelerators:
        return Finding(
            "driver",
            "problem",
            "; ".join(hardware.ggml_complaints),
            "edgellm probe --raw shows all that was said",
        )
    told = dict.fromkeys(f"{d.vendor} {d.driver}" for d in hardware.devices if d.driver)
    return Finding("driver", "ok", ", ".join(told) or "none is needed")


def _cuda_of(libraries: tuple[str, ...]) -> int | None:
    """ "libcudart.so.12.4.127" -> 12"""
    for library in libraries:
        if match := re.match(r"libcudart\.so\.(\d+)", library):
            return int(match[1])
    return None


def _links(place: Place) -> Finding:
    devices = [d for d in place.hardware.devices if d.link]
    narrow = [(device, lanes) for device in devices if (lanes := narrowed(device))]
    if narrow:
        said = ", ".join(f"{d.name} runs {now} of its {able} lanes" for d, (now, able) in narrow)
        return Finding(
            "pcie link",
            "warning" if all(now >= _FEWEST_LANES for _, (now, _) in narrow) else "problem",
            f"{said}: loading is slower, and so is a model that is split",
            "seat the card again, or move it to a slot with more lanes (the board's manual tells "
            "which ones share theirs)",
        )
    blind = [d for d in devices if _is_without_rebar(place.hardware, d)]
    if blind:
        return Finding(
            "pcie link",
            "warning",
            f"Resizable BAR is off for {', '.join(d.name for d in blind)}",
            "switch on Above 4G Decoding and Resizable BAR in the firmware's set-up",
        )
    told = ", ".join(dict.fromkeys(str(device.link) for device in devices))
    if told:
        return Finding("pcie link", "ok", told)
    if not place.hardware.accelerators:
        return Finding("pcie link", "ok", "no card here needs one")
    return Finding("pcie link", "unknown", "no driver tells how many lanes a card has")


def _is_without_rebar(hardware: Hardware, device: Device) -> bool:
    """Only these two makers' drivers copy through that window."""
    total = hardware.pool(device.pool_id).total_bytes
    return (
        device.vendor in ("amd", "intel")
        and device.pool_id == device.id
        and device.visible_bytes is not None
        and device.visible_bytes < total // 2
    )


def _shared_memory(place: Place) -> Finding:
    """Linux lets an APU's GPU map half of the memory, which is where the model should be."""
    host = place.hardware.host
    for device in place.hardware.accelerators:
        limit = device.memory_limit_bytes
        is_apu = device.vendor == "amd" and device.pool_id == host.id and limit is not None
        if is_apu and limit is not None and limit < _LEAST_GTT_RATIO * host.total_bytes:
            wanted = max(limit, host.total_bytes - _LEFT_TO_SYSTEM_BYTES)
            pages = wanted // 4096
            return Finding(
                "gpu memory",
                "warning",
                f"{device.name} may map {format_bytes(limit)} of {format_bytes(host.total_bytes)}",
                f"for {format_bytes(wanted)} add ttm.pages_limit={pages} to the kernel's command "
                "line (amdttm.pages_limit with AMD's own driver) and restart",
            )
    return Finding("gpu memory", "ok", "no limit on what a GPU may map")


def _channels(place: Place) -> Finding:
    dimms = place.hardware.cpu.dimms
    if dimms and dimms.n_channels == 1 and (dimms.n_slots or 0) > 1:
        return Finding(
            "memory channels",
            "warning",
            f"{dimms.n_modules} module{'s' if dimms.n_modules > 1 else ''} in one channel: what "
            "runs on the CPU runs at half speed",
            "a second module of the same size, in the slot of the other channel",
        )
    if dimms and dimms.n_channels:
        return Finding("memory channels", "ok", f"{dimms.n_channels} hold a module")
    return Finding("memory channels", "unknown", "which slots hold a module can't be read here")


def _power(place: Place) -> Finding:
    """What is set, and what the firmware has seen; heat of this moment is `_heat`'s."""
    hardware = place.hardware
    if hardware.alarms:
        weak = any("voltage" in alarm for alarm in hardware.alarms)
        return Finding(
            "power",
            "warning",
            "; ".join(hardware.alarms),
            "the official power supply and a short cable" if weak else "a heat sink with a fan",
        )
    if hardware.power_mode and not hardware.power_mode.upper().startswith("MAXN"):
        return Finding(
            "power",
            "warning",
            f"the board runs in power mode {hardware.power_mode}",
            "sudo nvpmodel -m 0 && sudo jetson_clocks, if cooling and supply allow it",
        )
    capped = [device for device in hardware.devices if _is_capped(device)]
    if capped:
        said = ", ".join(
            f"{d.name} is limited to {d.board_power_w:.0f} of {d.power_default_w:.0f} W"
            for d in capped
        )
        return Finding(
            "power",
            "warning",
            f"{said}: prompts are read more slowly",
            f"if that is not meant: sudo nvidia-smi -pl {capped[0].power_default_w:.0f}"
            if capped[0].vendor == "nvidia"
            else "if that is not meant: write the default back to hwmon's power1_cap",
        )
    if any(device.power_default_w is not None for device in hardware.devices):
        return Finding("power", "ok", "every card may draw what its maker set")
    if hardware.power_mode:
        return Finding("power", "ok", f"power mode {hardware.power_mode}")
    return Finding("power", "unknown", "no power limit can be read here")


def _is_capped(device: Device) -> bool:
    limit, default = device.board_power_w, device.power_default_w
    return limit is not None and default is not None and limit < _LEAST_POWER_RATIO * default


def _heat(place: Place) -> Finding:
    said = list(_too_hot(place))
    if said:
        return Finding(
            "heat",
            "warning",
            "; ".join(said),
            "cooling, dust, the case's air; or less power: edgellm serves on, more slowly",
        )
    known = [s.temperature_c for s in place.samples if s.temperature_c is not None]
    if known:
        return Finding("heat", "ok", f"{max(known):.0f} °C at most")
    return Finding("heat", "unknown", "no temperature can be read here")


def _too_hot(place: Place) -> Iterator[str]:
    names = {device.id: device.name for device in place.hardware.devices}
    for sample in place.samples:
        name = names.get(sample.device_id, sample.device_id)
        reasons = [_WORDS[reason] for reason in sample.throttle if reason in _WORDS]
        if reasons:
            yield f"{name} is throttled: {', '.join(reasons)}"
        elif sample.temperature_c is not None and sample.temperature_c >= _HOT_C:
            yield f"{name} is at {sample.temperature_c:.0f} °C"


def _energy(place: Place) -> Finding:
    if place.cpu_energy == "denied":
        return Finding(
            "cpu energy",
            "warning",
            "the processor's energy counter is root's alone: joules are counted without it",
            "echo 'z /sys/devices/virtual/powercap/intel-rapl/intel-rapl:*/energy_uj 0440 root "
            f"{place.user}' | sudo tee /etc/tmpfiles.d/edgellm-rapl.conf && sudo systemd-tmpfiles "
            "--create (it can leak what others compute: CVE-2020-8694)",
        )
    if place.cpu_energy == "absent":
        return Finding("cpu energy", "unknown", "the processor's energy counter can't be read here")
    return Finding("cpu energy", "ok", "counted")


def _cgroup(place: Place) -> Finding:
    cpu, limit = place.hardware.cpu, place.hardware.cgroup_limit_bytes
    quota = cpu.quota_cores
    parts = [f"{format_bytes(limit)} of memory"] if limit is not None else []
    parts += [f"{quota:g} cores"] if quota is not None else []
    if not parts:
        return Finding("cgroup", "ok", "no limit")
    words = f"this place may use {' and '.join(parts)}"
    if quota is not None and quota < cpu.n_logical_cores / 2:
        return Finding(
            "cgroup",
            "warning",
            f"{words}, on a machine of {cpu.n_logical_cores} threads",
            "docker run --cpus=N --memory=SIZE; systemctl set-property UNIT CPUQuota= MemoryMax=",
        )
    return Finding("cgroup", "ok", words)


CHECKS: tuple[Callable[[Place], Finding], ...] = (
    _accelerators, _driver, _links, _shared_memory, _channels, _power, _heat, _energy, _cgroup,
)  # fmt: skip
