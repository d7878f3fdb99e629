"""What a machine is: the values that the probe hands to everyone else.

Units live in the names (`_bytes`, `_s`, `_hz`). `None` means "the machine doesn't say"; a zero
is always a measured zero. Memory belongs to a pool, not to a device: an APU's GPU and its CPU
name the same pool, so no one can count that memory twice.
"""

from dataclasses import field
from typing import Literal

from edgellm.values import frozen

Backend = Literal[
    "cuda", "rocm", "musa", "metal", "vulkan", "sycl", "cann", "opencl", "cpu", "none"
]
# How two devices are linked, the fastest first: within one package; by links of their own; through
# PCIe switches; a PCIe host bridge; one processor; two processors.
LinkKind = Literal["die", "nvlink", "xgmi", "hccs", "switch", "bridge", "host", "sockets"]

# More watts than any device draws; the largest boards' limits are 1 to 2 kW. A reading beyond it is
# wrong: 16 bits of ones are 65.5 kW, a RAPL counter that was reset comes to 260 kW.
MAX_DEVICE_W = 2e4


@frozen
class MemoryPool:
    id: str  # "host", or the id of the device that owns it
    kind: Literal["host", "dedicated", "unified"]
    total_bytes: int
    free_bytes: int | None
    bandwidth_bytes_s: float | None = None


@frozen
class Serving:
    """How llama.cpp would drive a device best, whether or not it does so here."""

    backend: str  # llama.cpp's own word: "CUDA", "CANN"
    in_build: bool | None  # None: this build's backends are not known
    command: str | None  # what gets a build with it; None when it is there


@frozen
class Device:
    """`backend` is what llama.cpp uses it through; "none" when this build cannot use it."""

    id: str  # PCI address "0000:01:00.0", or "cpu"
    vendor: str
    name: str
    backend: Backend
    pool_id: str  # "host", too, for an unused device whose memory is unknown
    architecture: str | None = None  # "sm_89", "gfx1151", "apple9"
    ggml_name: str | None = None  # "CUDA0": how llama.cpp calls it
    link: str | None = None  # "PCIe 4.0 x16"
    note: str | None = None  # why it can't be used, and the fix
    memory_limit_bytes: int | None = None  # the most that it may take of a pool it shares
    fp16_flops_s: float | None = None  # dense peak of its matrix units, as published
    vector_flops_s: float | None = None  # of its integer units, where they differ from that
    board_power_w: float | None = None  # its limit as set, else as published
    peer_bytes_s: float | None = None  # to its neighbours, one direction: NVLink's rate
    power_default_w: float | None = None  # the limit that its maker set
    link_now: str | None = None  # as it runs at this moment: idle cards slow it down
    numa_node: int | None = None
    visible_bytes: int | None = None  # of its memory, what the CPU can map: less without ReBAR
    driver: str | None = None  # its version
    toolkit: str | None = None  # the newest that this driver runs: "CUDA 13.0"
    serving: Serving | None = None  # None: llama.cpp has no backend for it
    ggml_address: str | None = None  # its PCI address in ggml's own words, where ggml knows it
    n_gpu_cores: int | None = None  # told for Apple's, where chips of one name differ


@frozen
class PeerLink:
    """The shortest link between two devices, `one` and `other` by their ids. `bytes_s` is one
    direction's rate as the driver states it; None where only the kind is known."""

    one: str
    other: str
    kind: LinkKind
    bytes_s: float | None = None


@frozen
class NumaNode:
    id: int
    n_logical_cores: int
    total_bytes: int | None  # for ratios only: hot-plugged memory may be missing in it
    distances: tuple[int, ...] = ()  # to each node, itself included; 10 is "local"


@frozen
class Dimms:
    """The memory modules, as the firmware lists them."""

    kind: str | None  # "DDR5"
    n_modules: int
    n_slots: int | None
    n_channels: int | None  # with a module; None where the slots' names don't say
    transfers_s: float | None  # as configured: 5600e6 for DDR5-5600
    channel_bits: int = 64

    @property
    def peak_bytes_s(self) -> float | None:
        """Channels × transfers × width: 2 × 5600e6 × 8 bytes = 89.6 GB/s."""
        if self.n_channels is None or self.transfers_s is None:
            return None
        return self.n_channels * self.transfers_s * self.channel_bits / 8


@frozen
class Cpu:
    """`n_physical_cores` and `n_logical_cores` count those that this process may use, by its
    affinity and its cgroup's quota."""

    name: str
    n_physical_cores: int
    n_logical_cores: int
    isa: tuple[str, ...]  # the flags that llama.cpp has kernels for: "avx2", "avx512_vnni", "neon"
    n_numa_nodes: int | None = None
    l2_bytes: int | None = None  # of the first core
    l3_bytes: int | None = None  # that the first core shares
    quota_cores: float | None = None  # of a cgroup: 1.5 is 150 ms of CPU time every 100 ms
    n_fast_cores: int | None = None  # of the physical ones; None when all may be
    numa: tuple[NumaNode, ...] = ()
    dimms: Dimms | None = None


@frozen
class SourceFault:
    """A source that failed, and why. It costs its own fields only."""

    source: str
    message: str


@frozen
class Hardware:
    """`devices` in llama.cpp's order, those that it doesn't list after them; always ends with the
    CPU, whose id is "cpu" and whose pool is "host"."""

    devices: tuple[Device, ...]
    pools: tuple[MemoryPool, ...]
    cpu: Cpu
    system: str = "Linux"  # platform.system()
    cgroup_limit_bytes: int | None = None
    in_wsl: bool = False
    in_container: bool = False
    ggml_features: tuple[str, ...] = ()  # what this CPU build of llama.cpp was made for
    ggml_registries: tuple[str, ...] = ()  # its backends: "CUDA", "CPU"; empty: it did not answer
    ggml_libraries: tuple[str, ...] = ()  # vendors' libraries that it loaded: "libcudart.so.12"
    ggml_complaints: tuple[str, ...] = ()  # what its backends wrote at start-up, verbatim
    peers: tuple[PeerLink, ...] = ()
    power_mode: str | None = None  # of a Jetson: "MAXN"
    alarms: tuple[str, ...] = ()  # of the board's firmware: "under-voltage since it was started"
    faults: tuple[SourceFault, ...] = field(default=())

    def __post_init__(self) -> None:
        known = {pool.id for pool in self.pools}
        for device in self.devices:
            if device.pool_id not in known:
                raise ValueError(f"{device.id} names pool {device.pool_id!r}, not in {known}")

    def pool(self, pool_id: str) -> MemoryPool:
        return next(pool for pool in self.pools if pool.id == pool_id)

    def device(self, device_id: str) -> Device:
        return next(device for device in self.devices if device.id == device_id)

    @property
    def host(self) -> MemoryPool:
        return self.pool(self.device("cpu").pool_id)

    @property
    def accelerators(self) -> tuple[Device, ...]:
        """What llama.cpp can put layers on, the CPU aside."""
        return tuple(d for d in self.devices if d.backend not in ("cpu", "none"))
