"""The other way round: so many users at such a service, which machines hold them?

A user is one stream that is being written at all times: the worst case, and what a service level
is about. A machine holds the largest number of streams for which each still gets its tokens a
second, a typical prompt's first token comes in time beside them, and memory suffices. Cards of one
kind may run a copy of the model on every few of them; users are shared over the copies.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import isfinite

from edgellm.errors import BadRequest
from edgellm.probe.hardware import Hardware
from edgellm.selector.memory.shares import Ways
from edgellm.selector.placing.devices import DeviceSet
from edgellm.selector.placing.draft import beside_draft
from edgellm.selector.plan import Candidate, Goal, KVType, Range
from edgellm.selector.power import power_w
from edgellm.selector.profiles import Profiles
from edgellm.selector.quality import weight_kld
from edgellm.selector.replicas import host_holds
from edgellm.selector.search.checks import MAX_SEQUENCES, check_goal
from edgellm.selector.search.confirm import exact_shares
from edgellm.selector.search.options import Option
from edgellm.selector.search.paces import together_tok_s
from edgellm.selector.search.question import Question, machine_for
from edgellm.selector.search.search import Search
from edgellm.selector.search.settings import Setting, kv_pairs, setting_of, wished_context
from edgellm.selector.telling.describe import placement_text
from edgellm.values import frozen


@frozen
class Demand:
    n_users: int
    tok_s: float  # for each, at p50
    ttft_s: float | None = None


@frozen
class Sized:
    """One machine. `n_boards`: how many of it the demand takes, and of all their devices
    `n_devices`: those of as many copies as so many users need."""

    board: str
    quant: str
    n_users: int
    n_boards: int
    n_devices: int
    n_instances: int  # copies of the model on this machine
    n_ctx_seq: int
    kv_type: KVType
    placement: str  # of each copy
    decode_tok_s: Range  # of one stream among n_users
    ttft_s: Range
    power_w: float | None  # the limits of this machine's boards that take part
    total_power_w: float | None  # those of the `n_devices`
    binding: str  # what allows no more: "memory", "tok/s", "first token"


def size(
    boards: Sequence[tuple[str, Hardware]],
    candidates: Sequence[Candidate],
    demand: Demand,
    goal: Goal,
    profiles: Profiles,
) -> tuple[Sized, ...]:
    """The fewest devices first, then the fewest watts; those that hold nobody are left out. What
    a device costs isn't known, so one that is dear counts as much as one that is cheap.

    Raises BadRequest for a demand or a goal that can't be, and for a model that writes nothing.
    """
    _check(demand)
    _check_writes(candidates)
    check_goal(goal)
    rows = [
        row
        for name, hardware in boards
        if (row := _best_on(name, hardware, candidates, demand, goal, profiles))
    ]
    return tuple(sorted(rows, key=_order))


def _check_writes(candidates: Sequence[Candidate]) -> None:
    if any(candidate.spec.is_embedding for candidate in candidates):
        raise BadRequest(
            f"{candidates[0].name} is an embedding model: it gives its users no tokens a second",
            hint="without --users the plan tells how fast it reads",
        )


def _order(row: Sized) -> tuple[int, bool, float, int, int, str]:
    """Among equals the fewest machines, and there the one with the least to spare."""
    watts = row.total_power_w
    return (
        row.n_devices, watts is None, watts or 0.0, row.n_boards, row.n_users, row.board,
    )  # fmt: skip


def _best_on(
    name: str,
    hardware: Hardware,
    candidates: Sequence[Candidate],
    demand: Demand,
    goal: Goal,
    profiles: Profiles,
) -> Sized | None:
    """The best quality that needs the fewest of these machines."""
    question = Question.of(machine_for(hardware, candidates, goal, profiles), goal, profiles)
    best: Sized | None = None
    for candidate in _acceptable(candidates, profiles):
        search = Search(question, candidate)
        for devices, n_instances in _groups(search):
            least = _least_for_fewer(demand, best.n_boards) if best else 1
            if least is None:
                return best
            of_each = -(-least // n_instances)
            row = _row(name, search, devices, n_instances, demand, of_each)
            best = row or best
    return best


def _acceptable(candidates: Sequence[Candidate], profiles: Profiles) -> list[Candidate]:
    """Those that lose little, the best first; all of them when none does."""
    losses = [(weight_kld(profiles.quality, c.quant, c.spec), c) for c in candidates]
    losses.sort(key=lambda pair: pair[0])
    few = [candidate for loss, candidate in losses if loss <= profiles.quality.acceptable_kld]
    return few or [candidate for _, candidate in losses]


def _row(
    name: str, search: Search, devices: DeviceSet, n_instances: int, demand: Demand, least: int
) -> Sized | None:
    """So many copies, each on such devices; None where one holds fewer than `least`."""
    held = _held(search, devices, n_instances, demand, least)
    if held is None:
        return None
    n_users = held.n_streams * n_instances
    hardware = search.question.machine.hardware
    working = search.question.accelerators if n_instances > 1 else devices
    ids = [device.id for device in working] or ["cpu"]
    n_copies = -(-demand.n_users // held.n_streams)
    copy_w = power_w(hardware, [device.id for device in devices] or ["cpu"])
    setting, placement = held.service.option.setting, held.service.option.placement
    return Sized(
        board=name,
        quant=search.candidate.quant,
        n_users=n_users,
        n_boards=-(-demand.n_users // n_users),
        n_devices=n_copies * max(1, len(devices)),
        n_instances=n_instances,
        n_ctx_seq=setting.n_ctx_seq,
        kv_type=setting.kv_type_k,
        placement=placement_text(placement, search.spec.n_layers),
        decode_tok_s=held.service.decode_tok_s,
        ttft_s=held.service.ttft_s,
        power_w=power_w(hardware, ids),
        total_power_w=None if copy_w is None else copy_w * n_copies,
        binding=held.binding,
    )


def _groups(search: Search) -> Iterator[tuple[DeviceSet, int]]:
    """(the devices of one copy, how many copies)."""
    question = search.question
    devices, machine = question.accelerators, question.machine
    if not machine.are_alike(devices) or _pins_devices(question.goal, search.spec.n_layers):
        yield from ((some, 1) for some in question.sets)
        return
    for n in range(1, len(devices) + 1):
        if len(devices) % n == 0:
            yield devices[:n], len(devices) // n


def _pins_devices(goal: Goal, n_layers: int) -> bool:
    """Then it was said what goes where, and copies would go elsewhere."""
    n = goal.n_gpu_layers
    some_layers = n is not None and 0 <= n <= n_layers
    split = goal.tensor_split or goal.split_mode or goal.max_watts is not None
    return some_layers or bool(split) or goal.n_cpu_moe is not None


@frozen
class _Service:
    option: Option
    decode_tok_s: Range
    ttft_s: Range


@frozen
class _Held:
    """`n_streams`: of one copy."""

    n_streams: int
    service: _Service
    binding: str


@frozen
class _Copy:
    """One copy of the model as it could be served, but for the number of its streams."""

    search: Search
    devices: DeviceSet
    n_instances: int
    ways: Ways
    kv_types: tuple[KVType, KVType]


def _held(
    search: Search, devices: DeviceSet, n_instances: int, demand: Demand, least: int
) -> _Held | None:
    """The most streams, `least` or more. Among equals the plain cache, and all on the devices: what
    is tried first.

    A cache that leaves no room for the last layers is tried against one that does: the spilled
    layers may bound the tokens a second long before memory bounds anything. What is whole is left
    for what spills where that takes fewer machines only: every user is slower there.
    """
    best: _Held | None = None
    for ways in _ways(search, devices, n_instances):
        if best is not None and not ways.is_whole:
            fewer = _least_for_fewer(demand, -(-demand.n_users // best.n_streams))
            if fewer is None:
                return best
            least = fewer
        for kv_types in kv_pairs(search.spec, search.question.goal):
            copy = _Copy(search, devices, n_instances, ways, kv_types)
            beyond = max(least - 1, best.n_streams if best else 0)
            found = _most_held(copy, demand, beyond)
            best = found or best
            if found and found.binding != "memory" and ways.is_whole:
                return best  # neither a smaller cache nor the host's memory would help
    return best


def _least_for_fewer(demand: Demand, n_machines: int) -> int | None:
    """Users on one machine with which fewer would do; None: one does already."""
    if n_machines < 2:
        return None
    return -(-demand.n_users // (n_machines - 1))


def _ways(search: Search, devices: DeviceSet, n_instances: int) -> Iterator[Ways]:
    """All on the devices; and with the host's help, which copies can't share."""
    pinned = search.question.ways(devices)
    whole = replace(pinned, n_gpu_layers=-1, n_cpu_moe=0)
    if n_instances > 1:
        yield whole
        return
    if devices and pinned.n_gpu_layers is None and pinned.n_cpu_moe is None:
        yield whole
    yield pinned


def _most_held(copy: _Copy, demand: Demand, beyond: int) -> _Held | None:
    """By quick sums first, and from there by exact ones; None when not beyond `beyond`."""
    tried: dict[int, _Service | str] = {}

    def holds(n: int) -> bool:
        if n not in tried:
            tried[n] = _serve(copy, n, demand, exactly=True)
        return isinstance(tried[n], _Service)

    if beyond >= MAX_SEQUENCES or not holds(beyond + 1):
        return None
    about = _most(lambda n: isinstance(_serve(copy, n, demand), _Service), MAX_SEQUENCES)
    n = _most_from(holds, max(about, beyond + 1), MAX_SEQUENCES)
    service = tried[n]
    assert isinstance(service, _Service)
    if n == MAX_SEQUENCES:
        return _Held(n, service, f"llama.cpp's {MAX_SEQUENCES} sequences")
    lacking = tried[n + 1]
    assert isinstance(lacking, str)
    return _Held(n, service, lacking)


def _serve(copy: _Copy, n_streams: int, demand: Demand, *, exactly: bool = False) -> _Service | str:
    """What each of n streams gets on one copy, or what they lack."""
    search, machine = copy.search, copy.search.question.machine
    setting = _setting(search, n_streams, copy.kv_types)
    # What is whole stays so, whatever its buffers; a spilled layer has to make room for them.
    fills = exactly and not copy.ways.is_whole
    option = search.look(setting, copy.devices, copy.ways, exactly=fills)
    if not isinstance(option, Option):
        return "memory"
    if copy.n_instances > 1 and not host_holds(machine, option, copy.n_instances):
        return "memory"
    rate = together_tok_s(search.question, search.spec, setting, option.placement)
    if rate.p50 / n_streams < demand.tok_s:
        return "tok/s"
    # A prompt waits for the step that the others are in.
    steps = (n_streams / together for together in reversed(_parts(rate)))
    first = Range(*map(sum, zip(_parts(option.pace.ttft_s), steps, strict=True)))
    if demand.ttft_s is not None and first.p50 > demand.ttft_s:
        return "first token"
    if exactly:  # asked last: it takes longest
        left = beside_draft(machine, search.candidate, setting.shape, copy.devices)
        if left.shortfall(exact_shares(option, machine.hardware)):
            return "memory"
    return _Service(option, Range(*(part / n_streams for part in _parts(rate))), first)


def _setting(search: Search, n_streams: int, pair: tuple[KVType, KVType]) -> Setting:
    goal = replace(search.question.goal, n_parallel=n_streams)
    workload = search.question.profiles.workload(goal.use)
    n_ctx_seq = wished_context(search.spec, goal, workload)
    return setting_of(search.spec, goal, workload, n_streams, n_ctx_seq, pair, workload.n_ubatch)


def _parts(rate: Range) -> tuple[float, float, float]:
    return rate.p10, rate.p50, rate.p90


def _most(holds: Callable[[int], bool], largest: int) -> int:
    """The largest number for which it holds; it holds for all below. 0 when for none."""
    low, high = 0, 1  # it holds for low
    while high <= largest and holds(high):
        low, high = high, min(2 * high, largest) if high < largest else largest + 1
    return _between(holds, low, high)


def _most_from(holds: Callable[[int], bool], about: int, largest: int) -> int:
    """The same, looked for in growing steps from where it is thought to be."""
    low, high, step = 0, largest + 1, 1
    if holds(about):
        low = about
        while low < largest and high > largest:
            tried = min(low + step, largest)
            low, high = (tried, high) if holds(tried) else (low, tried)
            step *= 2
    else:
        high = about
        while low == 0 and high > 1:
            tried = max(1, high - step)
            low, high = (tried, high) if holds(tried) else (0, tried)
            step *= 2
    return _between(holds, low, high)


def _between(holds: Callable[[int], bool], low: int, high: int) -> int:
    """It holds for low and not for high."""
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
