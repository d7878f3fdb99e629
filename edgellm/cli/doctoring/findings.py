"""What `edgellm doctor` says of one thing, and what it looks at to say it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgellm.cli.preparing.unmatched_tables import UnmatchedTable
from edgellm.meter.sample import Sample
from edgellm.models.hubs import DEFAULT_HUB, SITES
from edgellm.probe.hardware import Hardware
from edgellm.status import ModelStatus


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    verdict: Literal["ok", "warning", "problem", "unknown"]  # unknown: it can't be seen here
    message: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Gathered once; a test can make up any."""

    hardware: Hardware
    models_folder: Path
    models_free_bytes: int
    models_writable: bool
    swap_used_bytes: int
    python: tuple[int, int, int]
    llama_cpp_python: str | None  # its version; None: not installed
    profiles_fault: str | None = None
    demo_size_bytes: int | None = None
    samples: tuple[Sample, ...] = ()  # of this moment
    cpu_energy: Literal["readable", "denied", "absent"] = "absent"  # the RAPL counter
    user: str = "you"
    served: tuple[ModelStatus, ...] = ()  # by the servers that run here
    landlock_abi: int | None = None  # of Linux's sandbox; 0: it has none; None: no Linux
    has_drivers: bool = False  # llama.cpp was built for more than the CPU
    huge_pages: str | None = None  # whom Linux gives them: "always", "madvise", "never"
    hub_endpoint: str = SITES[DEFAULT_HUB].endpoint
    hub_variable: str = "HF_ENDPOINT"  # that says so, or would
    n_tables: int = 0  # of models, in the settings
    unmatched_tables: tuple[UnmatchedTable, ...] = ()  # of them, about no model
    is_offline: bool = False  # by the settings, or another tool's variables
