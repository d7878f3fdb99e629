"""The checks of `edgellm doctor`. Each looks at facts that were gathered and gives one finding.

Those of the machine stand in `hardware_checks.py`; here are those of the installation, and the
gathering.
"""

import getpass
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil

from edgellm import resources
from edgellm.cli.doctoring import hardware_checks
from edgellm.cli.doctoring.findings import Finding, Place
from edgellm.cli.doctoring.hub_check import hub
from edgellm.cli.doctoring.split_check import split
from edgellm.cli.preparing import machine
from edgellm.cli.preparing.store import store_of
from edgellm.cli.preparing.unmatched_tables import unmatched_tables
from edgellm.cli.serving.find import statuses
from edgellm.config import Config
from edgellm.errors import EdgellmError
from edgellm.files import folder_there
from edgellm.meter.sample import Sample
from edgellm.meter.sensors import sampler_for
from edgellm.models.fetching.hub import offline_by_environment
from edgellm.models.hubs import endpoint_of
from edgellm.probe.advice import rebuild
from edgellm.probe.asked.hangs import this_machine
from edgellm.probe.detect import detect
from edgellm.probe.hardware import Hardware
from edgellm.probe.sources import Sources, SystemSources
from edgellm.probe.usage import features_not_built
from edgellm.runner.sandbox import landlock, places
from edgellm.runner.sandbox.rules import has_drivers
from edgellm.status import ModelStatus
from edgellm.units import GIB, MIB, format_bytes

_LEAST_DISK_BYTES = 10 * GIB
_SMALL_MEMORY_BYTES = 4 * GIB
_MOST_SWAP_BYTES = 256 * MIB
_LEAST_LLAMA = (0, 3, 36)
_HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
_SENSORS_S = 1.2  # NVML and sysfs answer in milliseconds, vendors' tools in a second


def examine(config: Config, waiting: Callable[[machine.Waits], None]) -> tuple[Finding, ...]:
    """`waiting` is told who takes long to answer."""
    place = gather(config, waiting)
    return tuple(check(place) for check in CHECKS)


def gather(config: Config, waiting: Callable[[machine.Waits], None]) -> Place:
    folder = store_of(config).root
    there = folder_there(folder)
    demo = resources.demo_model()
    hardware = detect(this_machine(ask_again=True), waiting=waiting)
    sensors = SystemSources(Path(config.sensors_root))
    endpoint, variable = endpoint_of(config.hub, os.environ)
    served = _served()
    return Place(
        hardware=hardware,
        models_folder=folder,
        models_free_bytes=shutil.disk_usage(there).free,
        models_writable=os.access(there, os.W_OK),
        swap_used_bytes=psutil.swap_memory().used,
        python=sys.version_info[:3],
        llama_cpp_python=_version("llama-cpp-python"),
        profiles_fault=_profiles_fault(),
        demo_size_bytes=demo.stat().st_size if demo.exists() else None,
        samples=_samples(hardware, sensors),
        cpu_energy=_cpu_energy(sensors),
        user=getpass.getuser(),
        served=served,
        huge_pages=huge_pages_for(sensors),
        hub_endpoint=endpoint,
        hub_variable=variable,
        n_tables=len(config.models),
        unmatched_tables=unmatched_tables(config, (*config.serve, *(one.name for one in served))),
        is_offline=config.offline or offline_by_environment(),
        landlock_abi=landlock.abi() if sys.platform == "linux" else None,
        has_drivers=has_drivers(places.library_names()),
    )


def _served() -> tuple[ModelStatus, ...]:
    """A server that can't be asked is `ps`'s business."""
    try:
        return tuple(model for _, status in statuses() for model in status.models)
    except EdgellmError:
        return ()


def _samples(hardware: Hardware, sensors: Sources) -> tuple[Sample, ...]:
    """One look at each sensor; who has not answered in time is not waited for."""
    sampler = sampler_for(hardware, sensors)
    sampler.start()
    try:
        time.sleep(_SENSORS_S)
        return sampler.latest()
    finally:
        sampler.stop()


def _cpu_energy(sources: Sources) -> Literal["readable", "denied", "absent"]:
    answer = sources.read_text("/sys/class/powercap/intel-rapl:0/energy_uj")
    if isinstance(answer, str):
        return "readable"
    return "denied" if answer.kind == "denied" else "absent"


def huge_pages_for(sources: Sources) -> str | None:
    """The word in brackets: "always [madvise] never" (the kernel's admin-guide/mm/transhuge)."""
    answer = sources.read_text(_HUGE_PAGES)
    if not isinstance(answer, str) or "[" not in answer:
        return None
    return answer.partition("[")[2].partition("]")[0]


def _python(place: Place) -> Finding:
    version = ".".join(str(n) for n in place.python)
    return Finding("python", "ok", f"{version} on {platform.system()} {platform.machine()}")


def _engine(place: Place) -> Finding:
    again = (
        "python -m pip install --upgrade 'llama-cpp-python>=0.3.36', in the environment that "
        "edgellm runs in"
    )
    if place.llama_cpp_python is None:
        return Finding("engine", "problem", "llama-cpp-python is not installed", again)
    numbers = tuple(int(n) for n in place.llama_cpp_python.split(".")[:3] if n.isdecimal())
    if numbers < _LEAST_LLAMA:
        return Finding("engine", "problem", f"llama-cpp-python {place.llama_cpp_python}", again)
    if not place.hardware.ggml_registries:
        return Finding(
            "engine",
            "problem",
            f"llama-cpp-python {place.llama_cpp_python} does not load on this machine",
            "edgellm probe --raw says why; a native build of another machine is one reason: "
            + rebuild("-DGGML_NATIVE=on"),
        )
    backends = ", ".join(place.hardware.ggml_registries)
    return Finding("engine", "ok", f"llama-cpp-python {place.llama_cpp_python} with {backends}")


def _cpu_build(place: Place) -> Finding:
    lacking = features_not_built(place.hardware)
    if lacking:
        return Finding(
            "cpu build",
            "warning",
            f"llama.cpp was built without {', '.join(lacking)}, which this CPU has: it is slower",
            rebuild("-DGGML_NATIVE=on"),
        )
    return Finding("cpu build", "ok", "made for this CPU")


def _memory(place: Place) -> Finding:
    host = place.hardware.host
    words = f"{format_bytes(host.free_bytes)} free of {format_bytes(host.total_bytes)}"
    limit = place.hardware.cgroup_limit_bytes
    if limit is not None:
        words += f"; a cgroup allows {format_bytes(limit)}"
    if min(host.total_bytes, limit or host.total_bytes) < _SMALL_MEMORY_BYTES:
        return Finding(
            "memory",
            "warning",
            f"{words}: little",
            "small models fit: edgellm plan qwen3:0.6b; a larger limit helps"
            if limit
            else "small models fit: edgellm plan qwen3:0.6b",
        )
    return Finding("memory", "ok", words)


def _swap(place: Place) -> Finding:
    if place.swap_used_bytes > _MOST_SWAP_BYTES:
        return Finding(
            "swap",
            "warning",
            f"{format_bytes(place.swap_used_bytes)} of swap are in use: a model that swaps crawls",
            "end what you don't need, or plan with more left free: --reserve 2GiB",
        )
    return Finding("swap", "ok", f"{format_bytes(place.swap_used_bytes)} in use")


def _huge_pages(place: Place) -> Finding:
    """runner/child.py asks for them."""
    if place.huge_pages == "never":
        return Finding(
            "huge pages",
            "warning",
            "Linux gives none: what the CPU computes takes some percent longer",
            f"echo madvise | sudo tee {_HUGE_PAGES}; for good: the kernel's parameter "
            "transparent_hugepage=madvise",
        )
    if place.huge_pages is None:
        return Finding("huge pages", "unknown", "whether Linux gives them can't be read here")
    return Finding("huge pages", "ok", place.huge_pages)


def _disk(place: Place) -> Finding:
    words = f"{format_bytes(place.models_free_bytes)} free for models in {place.models_folder}"
    if not place.models_writable:
        return Finding(
            "disk", "problem", f"{place.models_folder} can't be written", "set HF_HOME to a folder"
        )
    if place.models_free_bytes < _LEAST_DISK_BYTES:
        return Finding("disk", "warning", words, "edgellm list and edgellm rm; or set HF_HOME")
    return Finding("disk", "ok", words)


def _profiles(place: Place) -> Finding:
    if place.profiles_fault:
        return Finding("profiles", "problem", place.profiles_fault, "install edgellm again")
    return Finding("profiles", "ok", "devices, quality, boards, workloads, models are there")


def _tables(place: Place) -> Finding:
    """What the settings say of single models."""
    if idle := place.unmatched_tables:
        titles = ", ".join(one.table.title for one in idle)
        message = f"{titles} of {idle[0].table.file}: no model is here by such a name"
        return Finding("tables", "warning", message, "; ".join(one.advice for one in idle))
    of_so_many = f"{place.n_tables}, each of a model" if place.n_tables else "none in the settings"
    return Finding("tables", "ok", of_so_many)


def _demo(place: Place) -> Finding:
    if place.demo_size_bytes is None:
        return Finding("demo", "problem", "the demo model is missing", "install edgellm again")
    return Finding("demo", "ok", format_bytes(place.demo_size_bytes))


def _sources(place: Place) -> Finding:
    if faults := place.hardware.faults:
        told = "; ".join(f"{fault.source}: {fault.message}" for fault in faults)
        return Finding("probe", "warning", told, "edgellm probe --raw shows what was said")
    return Finding("probe", "ok", "every source answered")


def _sandbox(place: Place) -> Finding:
    """Around the process that reads a model's file: see docs/security.md."""
    if not place.landlock_abi:
        words = "no Landlock here: a model's file is read with all rights of this user"
        if place.landlock_abi is None:
            return Finding("sandbox", "ok", words)
        how = "Linux ≥ 5.13 with landlock in its lsm=; cat /sys/kernel/security/lsm shows them"
        return Finding("sandbox", "warning", words, how)
    has = f"Landlock, version {place.landlock_abi}"
    if place.has_drivers:
        return Finding("sandbox", "ok", f'{has}; not used beside drivers, unless sandbox = "on"')
    return Finding("sandbox", "ok", f"{has}: what reads a model's file can do little else")


CHECKS: tuple[Callable[[Place], Finding], ...] = (
    _python, _engine, *hardware_checks.CHECKS, split, _cpu_build, _memory, _swap, _huge_pages,
    _sandbox, _disk, hub, _profiles, _tables, _demo, _sources,
)  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _profiles_fault() -> str | None:
    from edgellm.models.known.catalog import load_catalog
    from edgellm.models.known.ratings import load_ratings
    from edgellm.profiles import load_profiles

    try:
        load_profiles()
        load_catalog()
        load_ratings()
    except EdgellmError as error:
        return str(error)
    return None
