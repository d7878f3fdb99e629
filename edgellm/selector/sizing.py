"""The other way round: so many users at such a service, which machines hold them?

A user is one stream that is being written at all times: the worst case, and what a service level
is about. A machine holds the largest number of streams for which each still gets its tokens a
second, a typical prompt's first token comes in time beside them, and memory suffices. Cards of one
kind may run a copy of the model on every few of them; users are shared over the copies.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from edgellm.errors import BadRequest
from edgellm.probe.hardware import Hardware
from edgellm.selector.budget import pool_budgets
from edgellm.selector.checks import MAX_SEQUENCES, check_goal
from edgellm.selector.describe import placement_text
from edgellm.selector.devices import DeviceSet
from edgellm.selector.machine import Machine
from edgellm.selector.options import Option, Question, Search
from edgellm.selector.plan import Candidate, Goal, KVType, Range
from edgellm.selector.power import power_w
from edgellm.selector.profiles import Profiles
from edgellm.selector.quality import weight_kld
from edgellm.selector.replicas import host_holds
from edgellm.selector.settings import Setting, kv_pairs, setting_of, wished_context
from edgellm.selector.speed import decode_tok_s


@dataclass(frozen=True, slots=True)
class Demand:
    n_users: int
    tok_s: float  # for each, at p50
    ttft_s: float | None = None


@dataclass(frozen=True, slots=True)
class Sized:
    """One machine. `n_boards`: how many of it the demand takes; None where it holds nobody."""

    board: str
    quant: str
    n_users: int
    n_boards: int | None
    n_instances: int  # copies of the model on this machine
    n_ctx_seq: int
    kv_type: KVType
    placement: str  # of each copy
    decode_tok_s: Range  # of one stream among n_users
    ttft_s: Range
    power_w: float | None  # the limits of this machine's boards that take part
    binding: str  # what allows no more: "memory", "tok/s", "first token"

    @property
    def total_power_w(self) -> float | None:
        return None if self.power_w is None or not self.n_boards else self.power_w * self.n_boards


def size(
    boards: Sequence[tuple[str, Hardware]],
    candidates: Sequence[Candidate],
    demand: Demand,
    goal: Goal,
    profiles: Profiles,
) -> tuple[Sized, ...]:
    """The fewest machines first, then the fewest watts; those that hold nobody are left out.

    Raises BadRequest for a demand or a goal that can't be.
    """
    _check(demand)
    check_goal(goal)
    rows = [
        row
        for name, hardware in boards
        if (row := _best_on(name, hardware, candidates, demand, goal, profiles))
    ]
    return tuple(sorted(rows, key=_order))


def _order(row: Sized) -> tuple[int, bool, float, str]:
    watts = row.total_power_w
    return (row.n_boards or 0, watts is None, watts or 0.0, row.board)


def _best_on(
    name: str,
    hardware: Hardware,
    candidates: Sequence[Candidate],
    demand: Demand,
    goal: Goal,
    profiles: Profiles,
) -> Sized | None:
    """The best quality that needs the fewest of these machines."""
    machine = Machine(hardware, pool_budgets(hardware, goal.reserve_bytes), profiles.speed)
    question = Question.of(machine, goal, profiles)
    best: Sized | None = None
    for candidate in _acceptable(candidates, profiles):
        search = Search(question, candidate)
        for row in _rows(name, search, demand):
            if best is None or (row.n_boards or 0) < (best.n_boards or 0):
                best = row
        if best and best.n_boards == 1:
            return best
    return best


def _acceptable(candidates: Sequence[Candidate], profiles: Profiles) -> list[Candidate]:
    """Those that lose little, the best first; all of them when none does."""
    losses = [(weight_kld(profiles.quality, c.quant, c.spec), c) for c in candidates]
    losses.sort(key=lambda pair: pair[0])
    few = [candidate for loss, candidate in losses if loss <= profiles.quality.acceptable_kld]
    return few or [candidate for _, candidate in losses]


def _rows(name: str, search: Search, demand: Demand) -> Iterator[Sized]:
    """One for each way to share the cards among copies, that holds anybody."""
    for devices, n_instances in _groups(search.question):
        held = _held(search, devices, n_instances, demand)
        if held is None:
            continue
        n_each, service, binding = held
        n_users = n_each * n_instances
        working = search.question.accelerators if n_instances > 1 else devices
        ids = [device.id for device in working] or ["cpu"]
        setting = service.option.setting
        yield Sized(
            board=name,
            quant=search.candidate.quant,
            n_users=n_users,
            n_boards=-(-demand.n_users // n_users),
            n_instances=n_instances,
            n_ctx_seq=setting.n_ctx_seq,
            kv_type=setting.kv_type_k,
            placement=placement_text(service.option.placement, search.spec.n_layers),
            decode_tok_s=service.decode_tok_s,
            ttft_s=service.ttft_s,
            power_w=power_w(search.question.machine.hardware, ids),
            binding=binding,
        )


def _groups(question: Question) -> Iterator[tuple[DeviceSet, int]]:
    """(the devices of one copy, how many copies)."""
    devices, machine = question.accelerators, question.machine
    kinds = {(device.name, machine.bandwidth_bytes_s(device)) for device in devices}
    if len(kinds) != 1:
        yield from ((some, 1) for some in question.sets)
        return
    for n in range(1, len(devices) + 1):
        if len(devices) % n == 0:
            yield devices[:n], len(devices) // n


@dataclass(frozen=True, slots=True)
class _Service:
    option: Option
    decode_tok_s: Range
    ttft_s: Range


def _held(
    search: Search, devices: DeviceSet, n_instances: int, demand: Demand
) -> tuple[int, _Service, str] | None:
    """(streams of one copy, what each gets, what allows no more)."""
    best: tuple[int, _Service, str] | None = None
    for pair in kv_pairs(search.spec, search.question.goal):
        found = _held_with(search, devices, n_instances, pair, demand)
        if found and (best is None or found[0] > best[0]):
            best = found
        if found and found[2] != "memory":
            break  # a smaller cache would help nobody
    return best


def _held_with(
    search: Search,
    devices: DeviceSet,
    n_instances: int,
    pair: tuple[KVType, KVType],
    demand: Demand,
) -> tuple[int, _Service, str] | None:
    tried: dict[int, _Service | str] = {}

    def holds(n: int) -> bool:
        tried[n] = _serve(search, devices, n_instances, n, pair, demand)
        return isinstance(tried[n], _Service)

    n = _most(holds, MAX_SEQUENCES)
    service = tried.get(n)
    if not isinstance(service, _Service):
        return None
    lacking = tried.get(n + 1)
    limit = f"llama.cpp's {MAX_SEQUENCES} sequences"
    return n, service, lacking if isinstance(lacking, str) else limit


def _serve(
    search: Search,
    devices: DeviceSet,
    n_instances: int,
    n_streams: int,
    pair: tuple[KVType, KVType],
    demand: Demand,
) -> _Service | str:
    """What each of n streams gets on one copy, or what they lack."""
    question = search.question
    setting = _setting(search, n_streams, pair)
    ways = question.ways(devices)
    if n_instances > 1:  # the host's cores and memory can't be used twice
        ways = replace(ways, n_gpu_layers=-1, n_cpu_moe=0)
    option = search.look(setting, devices, ways)
    if not isinstance(option, Option):
        return "memory"
    machine = question.machine
    if n_instances > 1 and not host_holds(machine, option, n_instances):
        return "memory"
    rate = decode_tok_s(
        search.spec, setting.shape, option.placement, machine.hardware, machine.speed,
        n_streams=n_streams,
    )  # fmt: skip
    if rate.p50 / n_streams < demand.tok_s:
        return "tok/s"
    # A prompt waits for the step that the others are in.
    steps = (n_streams / together for together in reversed(_parts(rate)))
    first = Range(*map(sum, zip(_parts(option.pace.ttft_s), steps, strict=True)))
    if demand.ttft_s is not None and first.p50 > demand.ttft_s:
        return "first token"
    return _Service(option, Range(*(part / n_streams for part in _parts(rate))), first)


def _setting(search: Search, n_streams: int, pair: tuple[KVType, KVType]) -> Setting:
    goal = replace(search.question.goal, n_parallel=n_streams)
    workload = search.question.profiles.workload(goal.use)
    n_ctx_seq = wished_context(search.spec, goal, workload)
    return setting_of(goal, workload, n_streams, n_ctx_seq, pair, workload.n_ubatch)


def _parts(rate: Range) -> tuple[float, float, float]:
    return rate.p10, rate.p50, rate.p90


def _most(holds: Callable[[int], bool], largest: int) -> int:
    """The largest number for which it holds; it holds for all below. 0 when for none."""
    low, high = 0, 1  # it holds for low
    while high <= largest and holds(high):
        low, high = high, min(2 * high, largest) if high < largest else largest + 1
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _check(demand: Demand) -> None:
    if demand.n_users < 1:
        raise BadRequest(f"--users is {demand.n_users}; it must be at least 1", param="n_users")
    for flag, value in (("--tok-s", demand.tok_s), ("--ttft", demand.ttft_s)):
        if value is not None and not (isfinite(value) and value > 0):
            raise BadRequest(f"{flag} is {value}; it must be more than 0")
