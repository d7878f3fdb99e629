"""What the server tells and the TUI draws: the whole live state, to and from JSON.

GET /edgellm/status answers with one `Status`. The TUI, `ps` and /metrics read it and nothing
else. Unknown is null.
"""

import msgspec

RATE_WINDOW_S = 5.0  # what decode_tok_s and prefill_tok_s are the means of

State = str  # "starting", "loading", "ready", "restarting", "failed", "stopping"


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    backend: str
    total_bytes: int | None = None
    used_bytes: int | None = None
    busy_ratio: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    clock_hz: float | None = None
    throttle: tuple[str, ...] = ()
    sees_throttle: bool = False  # False: an empty `throttle` means that nobody tells
    hotspot_c: float | None = None  # the hottest place of the chip
    memory_c: float | None = None
    memory_clock_hz: float | None = None
    fan_ratio: float | None = None  # of its full speed
    n_lanes: int | None = None  # of the PCIe link, that run
    n_link_errors: int | None = None  # since the machine started
    unified: bool = False


class SequenceStatus(msgspec.Struct, frozen=True, kw_only=True):
    request_id: int
    state: str  # "waiting", "prefill", "decode"
    n_prompt: int
    n_computed: int
    n_output: int
    age_s: float


class MemoryParts(msgspec.Struct, frozen=True, kw_only=True):
    weight_bytes: int = 0
    kv_bytes: int = 0
    compute_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.kv_bytes + self.compute_bytes


class ShareStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One device's part of a model: what was planned for it, and what llama.cpp says it took.

    `overhead_bytes` is what llama.cpp doesn't count, so it is in neither.
    """

    device_id: str
    n_layers: int = 0
    predicted: MemoryParts
    measured: MemoryParts | None = None  # until it is loaded
    overhead_bytes: int = 0


class PlanStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, beside what came of it."""

    file: str
    quant: str
    n_ctx: int
    n_ctx_seq: int
    n_parallel: int
    kv_type_k: str
    kv_type_v: str
    n_threads: int
    n_gpu_layers: int
    n_cpu_moe: int = 0
    expert_parts: tuple[tuple[int, tuple[str, ...]], ...] = ()  # layers and matrices
    shares: tuple[ShareStatus, ...] = ()  # accelerators first, the host last
    bytes_from: str = "arithmetic"  # or "oracle": llama.cpp was asked before it loaded
    decode_tok_s_p10: float | None = None
    decode_tok_s_p50: float | None = None
    decode_tok_s_p90: float | None = None
    reasons: tuple[str, ...] = ()

    @property
    def predicted_bytes(self) -> int | None:
        return sum(share.predicted.total_bytes for share in self.shares) or None

    @property
    def measured_bytes(self) -> int | None:
        told = [share.measured.total_bytes for share in self.shares if share.measured]
        return sum(told) or None


class HealthStatus(msgspec.Struct, frozen=True, kw_only=True):
    state: str = "ok"  # "degraded", "lost"
    cause: str | None = None  # "thermal", "cpu_fallback" ...: see docs/health.md
    message: str | None = None
    age_s: float = 0.0  # it has been so for


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    state: State
    embedding: bool = False
    demo: bool = False
    progress_ratio: float | None = None  # while loading
    detail: str | None = None  # why it failed, or what it waits for
    pid: int | None = None
    rss_bytes: int | None = None
    n_restarts: int = 0
    load_s: float | None = None
    decode_tok_s: float | None = None  # over RATE_WINDOW_S, idle seconds too; None: nothing ran
    prefill_tok_s: float | None = None
    # Of one answer alone, a second of decoding: beside plan.decode_tok_s_p50. The last one stays
    # when nothing runs.
    stream_tok_s: float | None = None
    n_waiting: int = 0
    n_running: int = 0
    n_retained: int = 0
    n_cells: int | None = None
    n_cells_used: int | None = None
    n_decoded: int = 0
    n_prompt: int = 0
    n_cached: int = 0
    n_restored: int = 0  # of n_cached, tokens that came back from host memory
    n_loaded: int = 0  # and from disk
    n_kv: int | None = None  # cells that every row of a step looks at
    prefix_ram_bytes: int = 0  # host memory taken by conversations that left the cells
    prefix_disk_bytes: int = 0
    n_drafted: int = 0  # guessed tokens computed since it was loaded
    n_draft_accepted: int = 0
    sequences: tuple[SequenceStatus, ...] = ()
    plan: PlanStatus | None = None
    health: HealthStatus | None = None  # None: nobody looks after it


class EnergyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Since the server began, of all devices that tell. Requests and idling are all there is."""

    total_j: float
    idle_j: float
    requests_j: float
    power_w: float | None = None  # of all devices together, each watt once
    j_per_token: float | None = None  # of all answers so far; their prompts are in it
    tok_s: float | None = None  # of the same, a second of work: of all streams together
    cost: float | None = None  # of total_j; None: no price is set
    currency: str = "USD"


class Download(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    done_bytes: int
    total_bytes: int | None = None
    rate_bytes_s: float | None = None
    error: str | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    pid: int
    url: str
    uptime_s: float
    models: tuple[ModelStatus, ...] = ()
    devices: tuple[DeviceStatus, ...] = ()
    download: Download | None = None
    held_up: str | None = None  # why new requests wait: a guard rail's words
    energy: EnergyStatus | None = None  # None: no sensor tells of any
    log: tuple[str, ...] = ()  # the last lines


def encode(status: Status) -> bytes:
    return msgspec.json.encode(status)


def decode(data: bytes) -> Status:
    """Raises msgspec.ValidationError: the other side speaks another version, or isn't edgellm."""
    return msgspec.json.decode(data, type=Status)
