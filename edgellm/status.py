"""What the server tells and the TUI draws: the whole live state, to and from JSON.

GET /edgellm/status answers with one `Status`. The TUI, `ps` and /metrics read it and nothing
else. Unknown is null. Whoever answers may be anything: what it sends is read here, by `read`, and
has no number that can't be counted with or drawn.
"""

from typing import Annotated, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

_MOST = 10**18  # a whole number that floats, and a screen's sums, have room for
Whole: TypeAlias = Annotated[int, Meta(ge=-_MOST, le=_MOST)]
Real: TypeAlias = Annotated[float, Meta(ge=-_MOST, le=_MOST)]

MAX_BYTES = 32 << 20  # of what is read: thousands of requests on dozens of devices are a tenth
RATE_WINDOW_S = 5.0  # what decode_tok_s and prefill_tok_s are the means of

State = str  # runner.engine.EngineState's words
MAKING_THE_CONTEXT = "making the context"  # what loading is called once all weights are read


def is_all_read(progress_ratio: float | None) -> bool:
    """Of the weights: what is loading from then on is the context."""
    return progress_ratio is not None and progress_ratio >= 1


class DeviceStatus(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    backend: str
    total_bytes: Whole | None = None
    used_bytes: Whole | None = None
    busy_ratio: Real | None = None
    temperature_c: Real | None = None
    power_w: Real | None = None
    power_limit_w: Real | None = None
    clock_hz: Real | None = None
    throttle: tuple[str, ...] = ()
    sees_throttle: bool = False  # False: an empty `throttle` means that nobody tells
    hotspot_c: Real | None = None  # the hottest place of the chip
    memory_c: Real | None = None
    memory_clock_hz: Real | None = None
    fan_ratio: Real | None = None  # of its full speed
    n_lanes: Whole | None = None  # of the PCIe link, that run
    n_link_errors: Whole | None = None  # since the machine started
    unified: bool = False


class SequenceStatus(msgspec.Struct, frozen=True, kw_only=True):
    request_id: Whole
    state: str  # "waiting", "prefill", "decode"
    n_prompt: Whole
    n_computed: Whole
    n_output: Whole
    age_s: Real


class MemoryParts(msgspec.Struct, frozen=True, kw_only=True):
    weight_bytes: Whole = 0
    kv_bytes: Whole = 0
    compute_bytes: Whole = 0

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.kv_bytes + self.compute_bytes


class ShareStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One device's part of a model: what was planned for it, and what llama.cpp says it took.

    `overhead_bytes` is what llama.cpp doesn't count, so it is in neither.
    """

    device_id: str
    n_layers: Whole = 0
    predicted: MemoryParts
    measured: MemoryParts | None = None  # until it is loaded
    overhead_bytes: Whole = 0


class PlanStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, beside what came of it."""

    file: str
    draft: str | None = None  # the file of the model that guesses for it
    projector: str | None = None  # and that of the one through which it sees
    quant: str
    n_ctx: Whole
    n_ctx_seq: Whole
    n_parallel: Whole
    kv_type_k: str
    kv_type_v: str
    n_threads: Whole
    n_gpu_layers: Whole
    n_cpu_moe: Whole = 0
    expert_parts: tuple[tuple[Whole, tuple[str, ...]], ...] = ()  # layers and matrices
    shares: tuple[ShareStatus, ...] = ()  # accelerators first, the host last
    bytes_from: str = "arithmetic"  # or "oracle": llama.cpp was asked before it loaded
    decode_tok_s_p10: Real | None = None
    decode_tok_s_p50: Real | None = None
    decode_tok_s_p90: Real | None = None
    reasons: tuple[str, ...] = ()

    @property
    def predicted_bytes(self) -> int | None:
        return sum(share.predicted.total_bytes for share in self.shares) or None

    @property
    def total_bytes(self) -> int | None:
        """All that was planned: with what llama.cpp doesn't count."""
        outside = sum(share.overhead_bytes for share in self.shares)
        return (self.predicted_bytes or 0) + outside or None

    @property
    def measured_bytes(self) -> int | None:
        told = [share.measured.total_bytes for share in self.shares if share.measured]
        return sum(told) or None


class HealthStatus(msgspec.Struct, frozen=True, kw_only=True):
    state: str = "ok"  # "degraded", "lost"
    cause: str | None = None  # "thermal", "cpu_fallback" ...: see docs/health.md
    message: str | None = None
    age_s: Real = 0.0  # it has been so for


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    aliases: tuple[str, ...] = ()  # other names that mean it
    state: State
    embedding: bool = False  # it writes no text; one that reranks is among them
    reranking: bool = False
    demo: bool = False
    may_go: bool = False  # while it sleeps its file may be removed: it is served no more then
    sleeps_in_s: Real | None = None  # if nobody asks for it by then; None: no time says it
    switches_thoughts: bool | None = None  # whether a request can say if it thinks
    n_ctx_train: Whole | None = None  # the context that it was trained for
    shows_tools: bool | None = None  # whether its chat template tells the model what it may call
    progress_ratio: Real | None = None  # while loading: the weights that are read
    detail: str | None = None  # why it failed, or what it waits for
    pid: Whole | None = None
    rss_bytes: Whole | None = None
    n_restarts: Whole = 0
    landlock: Whole | None = None  # the version of its process's sandbox; None: it has none
    load_s: Real | None = None
    decode_tok_s: Real | None = None  # over RATE_WINDOW_S, idle seconds too; None: nothing ran
    prefill_tok_s: Real | None = None
    # Of one answer alone, a second of decoding: beside plan.decode_tok_s_p50. The last one stays
    # when nothing runs.
    stream_tok_s: Real | None = None
    n_waiting: Whole = 0
    n_running: Whole = 0
    n_retained: Whole = 0
    n_cells: Whole | None = None
    n_cells_used: Whole | None = None
    n_decoded: Whole = 0
    n_prompt: Whole = 0
    n_cached: Whole = 0
    n_restored: Whole = 0  # of n_cached, tokens that came back from host memory
    n_loaded: Whole = 0  # and from disk
    n_kv: Whole | None = None  # cells that every row of a step looks at
    prefix_ram_bytes: Whole = 0  # host memory taken by conversations that left the cells
    prefix_disk_bytes: Whole = 0
    n_drafted: Whole = 0  # guessed tokens computed since it was loaded
    n_draft_accepted: Whole = 0
    sequences: tuple[SequenceStatus, ...] = ()
    plan: PlanStatus | None = None
    health: HealthStatus | None = None  # None: nobody looks after it


class EnergyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Since the server began, of all devices that tell. Requests and idling are all there is."""

    total_j: Real
    idle_j: Real
    requests_j: Real
    power_w: Real | None = None  # of all devices together, each watt once
    j_per_token: Real | None = None  # of all answers so far; their prompts are in it
    tok_s: Real | None = None  # of the same, a second of work: of all streams together
    cost: Real | None = None  # of total_j; None: no price is set
    currency: str = "USD"


class KeyStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    n_running: Whole = 0  # requests that run or wait
    used_today: Whole = 0  # tokens, prompts' and answers'


class ResponsesStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Those of the Responses API that clients may come back to."""

    n_kept: Whole = 0
    kept_bytes: Whole = 0
    most_bytes: Whole = 0  # 0: none is kept
    n_running: Whole = 0  # in the background


class Download(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    done_bytes: Whole
    total_bytes: Whole | None = None
    rate_bytes_s: Real | None = None
    error: str | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    pid: Whole
    url: str
    uptime_s: Real
    models: tuple[ModelStatus, ...] = ()
    devices: tuple[DeviceStatus, ...] = ()
    download: Download | None = None
    held_up: str | None = None  # why new requests wait: a guard rail's words
    energy: EnergyStatus | None = None  # None: no sensor tells of any
    responses: ResponsesStatus | None = None
    keys: tuple[KeyStatus, ...] = ()  # whose use the asking key may see; none: nobody's, or no keys
    log: tuple[str, ...] = ()  # the last lines


class Unreadable(ValueError):
    """What came is not what an edgellm server tells: one of another version, or anything else."""


def encode(status: Status) -> bytes:
    return msgspec.json.encode(status)


def decode(data: bytes | bytearray) -> Status:
    """Raises Unreadable."""
    return read(_decoder, data)


def read(
    decoder: msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T], data: bytes | bytearray
) -> T:
    """Whatever the bytes are, Unreadable is all that it raises."""
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def take(body: bytearray, part: bytes) -> None:
    """One more part of a body. Raises Unreadable for one that goes on over MAX_BYTES."""
    body += part
    if len(body) > MAX_BYTES:
        raise Unreadable(f"it answers with more than {MAX_BYTES} bytes")


_decoder = msgspec.json.Decoder(Status)
