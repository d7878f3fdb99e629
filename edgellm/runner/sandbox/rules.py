"""What a worker may touch: from what it was told to load to a list of places. Pure.

Whatever isn't listed can't be opened. A worker reads its model and all that belongs to it, its
program and its libraries, and what the kernel tells of the machine; it writes the folder of
--prefix-disk and nothing else. It starts no program, opens no socket and signals nobody: that needs
no list.
"""

from collections.abc import Iterable
from typing import Literal

from edgellm.selector.plan import Plan
from edgellm.values import frozen

Mode = Literal["auto", "on", "off"]  # auto: where it is known to do no harm

# /proc and /sys: CPUs, caches, NUMA, huge pages, free memory; others' secrets in /proc the kernel
# keeps from who is confined (ptrace(2), access mode checks). The rest is read by libc, Python and
# OpenSSL as they start. /nix and /gnu: all libraries of NixOS and Guix.
_OF_THE_SYSTEM = (
    "/proc", "/sys", "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64",
    "/usr/local/lib", "/usr/share/locale", "/usr/share/zoneinfo", "/nix/store", "/gnu/store",
    "/etc/ld.so.cache", "/etc/localtime", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
)  # fmt: skip
_NODES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
# Drivers open these, and keep caches below the home. Untried: who says "on" tries it.
_DRIVERS_READ = ("/etc/OpenCL", "/etc/vulkan", "/usr/share/vulkan", "/usr/local", "/opt", "/run")
_DRIVERS_WRITE = ("/dev", "/tmp")
_DRIVERS_CACHES = (
    ".nv", ".cache/mesa_shader_cache", ".cache/mesa_shader_cache_db", ".cache/radv_builtin_shaders",
    ".cache/nvidia", ".cache/neo_compiler_cache", ".AMD", "ascend", ".mtcc",
)  # fmt: skip
_OF_THE_CPU = ("base", "cpu", "blas", "rpc")  # of libggml-<name>: no driver stands behind these


@frozen
class Rules:
    """Paths: of a folder all that is below it, too. What isn't there is passed over."""

    read: tuple[str, ...]
    write: tuple[str, ...] = ()  # read, too: made, changed and removed in it
    nodes: tuple[str, ...] = ()  # of devices: read, written and asked (ioctl)
    needed: tuple[str, ...] = ()  # of all that: without these nothing is served


@frozen
class Wish:
    """What a server wants of its workers' sandboxes."""

    mode: Mode = "auto"
    reach: tuple[bytes, ...] = ()  # folders whose files may be asked for at run time


USUAL = Wish()


def has_drivers(library_names: Iterable[str]) -> bool:
    """Whether this llama.cpp can use more than the CPU, by its libraries: "libggml-cuda.so" says
    so, "libggml-cpu-alderlake.so" doesn't."""
    backends = (name.partition("ggml-")[2].partition(".")[0] for name in library_names)
    return any(one and one.partition("-")[0] not in _OF_THE_CPU for one in backends)


def is_wanted(mode: Mode, plan: Plan, library_names: Iterable[str]) -> bool:
    """Drivers write where they like, and nobody has tried them: with one, only where it is said."""
    return mode == "on" or (mode == "auto" and not (plan.devices or has_drivers(library_names)))


def rules_for(
    plan: Plan,
    files: tuple[str, ...],
    *,
    later: tuple[str, ...] = (),
    code: tuple[str, ...],
    home: str | None = None,
) -> Rules:
    """`files`: all parts of the model and of its draft model, and the adapters. `later`: what may
    be asked for at run time. `code`: what this program and its libraries lie in. `home`: where
    drivers keep caches; None: no driver is loaded."""
    beside = tuple(file for file in (plan.projector, plan.draft) if file)
    rules = Rules(
        read=(*_OF_THE_SYSTEM, *code, *files, *beside, *later),
        write=(plan.prefix_disk,) if plan.prefix_disk else (),
        nodes=_NODES,
        needed=(*files, *beside),
    )
    if home is None:
        return rules
    caches = tuple(f"{home}/{name}" for name in _DRIVERS_CACHES)
    return Rules(
        read=(*rules.read, *_DRIVERS_READ),
        write=(*rules.write, *caches, *_DRIVERS_WRITE),
        nodes=rules.nodes,
        needed=rules.needed,
    )


def rules_for_headers() -> Rules:
    """Of who is asked about one file after the other, wherever they lie: all may be read, and
    nothing written."""
    return Rules(read=("/",), nodes=_NODES)
