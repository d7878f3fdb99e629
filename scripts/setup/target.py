"""The machine that a pack is for: which wheels pip takes for it, and whether a machine is one."""

import re
from dataclasses import dataclass

from scripts.setup.machine import Machine, dotted

Version = tuple[int, int]

# as it is asked for → platform.system(), platform.machine(), sys.platform
_PLATFORMS = {
    "linux-x86_64": ("Linux", "x86_64", "linux"),
    "linux-aarch64": ("Linux", "aarch64", "linux"),
    "macos-arm64": ("Darwin", "arm64", "darwin"),
}
PLATFORMS = tuple(_PLATFORMS)
OLDEST_GLIBC = (2, 31)  # llguidance 1.9's wheels need it; all else would do with 2.28
_OLDEST_MANYLINUX = 5
_MACOS = 14  # pip adds the older ones


@dataclass(frozen=True, slots=True)
class Target:
    platform: str  # one of PLATFORMS
    pythons: tuple[str, ...]  # "3.12", the best first
    glibc: Version = OLDEST_GLIBC  # the oldest that will do; of Linux only

    @property
    def is_linux(self) -> bool:
        return self.platform.startswith("linux-")

    @property
    def architecture(self) -> str:
        return _PLATFORMS[self.platform][1]

    def tags(self, python: str) -> tuple[str, ...]:
        """pip's options for wheels of this target, whatever pip itself runs on."""
        named = ("--python-version", python, "--implementation", "cp")
        only = ("--only-binary", ":all:")
        return (*only, *named, *(word for tag in self._platform_tags() for word in tag))

    def _platform_tags(self) -> tuple[tuple[str, str], ...]:
        machine = self.architecture
        if not self.is_linux:
            return (("--platform", f"macosx_{_MACOS}_0_{machine}"),)
        newest = self.glibc[1]
        by_glibc = [f"manylinux_2_{n}_{machine}" for n in range(newest, _OLDEST_MANYLINUX - 1, -1)]
        return tuple(
            ("--platform", tag)
            for tag in (*by_glibc, f"manylinux2014_{machine}", f"linux_{machine}")
        )

    def markers(self, python: str) -> dict[str, str]:
        """What a requirement's marker is asked about (PEP 508); pip asks the machine it runs on."""
        system, machine, platform = _PLATFORMS[self.platform]
        return {
            "implementation_name": "cpython", "implementation_version": f"{python}.0",
            "os_name": "posix", "platform_machine": machine, "platform_release": "",
            "platform_python_implementation": "CPython", "platform_system": system,
            "platform_version": "", "python_full_version": f"{python}.0",
            "python_version": python, "sys_platform": platform, "extra": "",
        }  # fmt: skip

    def misfit(self, machine: Machine, python: str) -> str | None:
        """What this machine has and what was packed for, when these differ."""
        here = platform_of(machine)
        if here != self.platform:
            return f"it was packed for {self.platform}, here is {here}"
        if python not in self.pythons:
            return f"it was packed for Python {' and '.join(self.pythons)}, here is {python}"
        return glibc_misfit(machine, self.glibc) if self.is_linux else None


def glibc_misfit(machine: Machine, needed: Version) -> str | None:
    here = glibc_of(machine)
    if here is None:
        return f"it needs glibc {dotted(needed)}, here is {machine.libc or 'another C library'}"
    if here < needed:
        return f"it needs glibc {dotted(needed)} or newer, here is {dotted(here)}"
    return None


def glibc_of(machine: Machine) -> Version | None:
    told = re.match(r"glibc (\d+)\.(\d+)", machine.libc)
    return (int(told[1]), int(told[2])) if told else None


def platform_of(machine: Machine) -> str:
    """ "linux-x86_64"; of what nothing can be packed for, its own words."""
    system = "macos" if machine.system == "Darwin" else machine.system.lower()
    return f"{system}-{machine.architecture}"
