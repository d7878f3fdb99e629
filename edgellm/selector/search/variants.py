"""The search's finds once more, in what changes their speed and little else.

The search takes one micro-batch and one way to compute prompts for weights that lie on the host.
Here the others are tried: on the best option, and in every context on every choice of devices that
could then be better than it, for what lost by its first token may win by another way to it.

    micro-batch   larger ones read the weights, and copy those of the host, less often for a
                  prompt; smaller ones leave room, so that more may lie on the devices
    op_offload    off: no copy of experts takes room on the device, and the CPU may repack its
                  weights and is faster with them; but it computes prompts for them, too
    streams       one pool has a mask of all its cells for each row: where that takes the room of a
                  layer, streams of their own are tried; where the host has no room for what is
                  idle, which would slow whoever writes; and for a use that only counts what all
                  write together, where the CPU would look through these masks
    tensor split  the devices, two or more of them, work side by side on each layer. llama.cpp calls
                  it experimental, so it is taken for speed only, and where that is clearly more
    context       where the wished one was halved, the eighths between

In the end the micro-batch is no larger than the usual one where that reads prompts as fast.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from edgellm.probe.hardware import Device
from edgellm.selector.memory.shape import cut256
from edgellm.selector.memory.shares import Ways
from edgellm.selector.placing.devices import DeviceSet
from edgellm.selector.search.checks import tensor_split_refusal
from edgellm.selector.search.options import Miss, Option
from edgellm.selector.search.ranking import Rank, wants_tensor_split
from edgellm.selector.search.search import Search
from edgellm.selector.search.settings import Setting, wished_context

_MICRO_BATCHES = (256, 512, 1024, 2048)
TENSOR_SPLIT = Ways(n_gpu_layers=-1, n_cpu_moe=0, split_mode="tensor")
# What nobody has measured has to promise so much more: half of its range lies below the promise.
_LEAST_SPLIT_GAIN = 1.25
_FEW_SETS = 3  # one card and the CPU, or two alike
_AT_ONCE_S = 1e-3  # no prompt is read in less
_LATE_RATIO = 1.03  # what is that much later with a smaller micro-batch is as good
_SPLIT_BACKENDS = frozenset({"cuda", "rocm", "musa"})  # with a way to add up between devices


def refine(search: Search) -> None:
    """Lets `search` try the variants of its best option. Pins stay."""
    option = search.best
    if option is None or option.setting.embedding:
        return
    _try_variants(search, option)
    _try_others(search, search.best or option)
    best = search.best or option
    if _where(best) != _where(option):
        _try_variants(search, best)
        best = search.best or best
    for setting in _between_halves(search, best):
        search.attempt_if_hopeful(setting, best.devices, best.ways)
    if wants_tensor_split(search.question.goal):
        best = search.best or option
        for devices, setting in side_by_side(search, option.setting):
            found = search.look(setting, devices, TENSOR_SPLIT)
            if isinstance(found, Miss) or _is_clearly_faster(found, best):
                search.attempt(setting, devices, TENSOR_SPLIT)


def _where(option: Option) -> tuple[object, ...]:
    return option.devices, option.setting, option.ways


def _try_variants(search: Search, option: Option) -> None:
    """On the devices that it was offered."""
    devices = option.devices
    variants = list(_variants(search, option))
    variants.sort(key=lambda variant: search.bound(variant[0], devices, variant[1]), reverse=True)
    for setting, ways in variants:
        search.attempt_if_hopeful(setting, devices, ways)


def _try_others(search: Search, option: Option) -> None:
    """What could win on other devices, or in another context."""
    hopeful = list(_others(search, option, search.best_rank))
    hopeful.sort(key=lambda one: one[0], reverse=True)
    for bound, setting, devices in hopeful:
        if bound <= search.best_rank:
            return
        for ways in _ways(search, devices):
            found = None
            if search.bound(setting, devices, ways) > search.best_rank:
                found = search.attempt(setting, devices, ways)
            if found and not found.placement.shares[-1].computes:
                break  # nothing lies on the host: its prompts have one way


def take_smaller_micro_batch(search: Search) -> None:
    """Not a larger one for nothing: its buffers are larger, too. Of the winner only: it may cost a
    step of the rank, which none of its rivals would pay."""
    best, goal = search.best, search.question.goal
    usual = search.wished[0].n_ubatch
    if best is None or best.setting.embedding or goal.n_ubatch:
        return
    if best.setting.n_ubatch <= usual:
        return
    for n_ubatch in (size for size in _MICRO_BATCHES if usual <= size < best.setting.n_ubatch):
        setting = replace(best.setting, n_ubatch=n_ubatch)
        found = search.look(setting, best.devices, best.ways, exactly=True)
        if isinstance(found, Option) and _is_as_good(search, found, best):
            search.settle(found)
            return


def _is_as_good(search: Search, option: Option, than: Option) -> bool:
    """But for a first token that is hardly later."""
    first_s, least_s = option.pace.ttft_s, than.pace.ttft_s
    in_time = replace(option.merit, pace=replace(option.pace, ttft_s=least_s))
    is_late = first_s.p50 > _LATE_RATIO * least_s.p50
    return not is_late and search.question.rank(in_time) >= search.question.rank(than.merit)


def _is_clearly_faster(option: Option, than: Option) -> bool:
    return option.pace.throughput >= _LEAST_SPLIT_GAIN * than.pace.throughput


def may_overtake(search: Search, rank: Rank) -> bool:
    """Whether some variant of its best option could have more than this rank."""
    option, goal = search.best, search.question.goal
    if option is None or option.setting.embedding:
        return False
    if goal.objective == "energy" or goal.max_watts is not None or wants_tensor_split(goal):
        return True  # what is left out in the end draws nothing
    devices = option.devices
    return any(True for _ in _others(search, option, rank)) or any(
        search.bound(tried, devices, ways) > rank
        for setting, ways in ((option.setting, option.ways), *_variants(search, option))
        for tried in (setting, *_between_halves(search, replace(option, setting=setting)))
    )


def begin_side_by_side(search: Search) -> None:
    """Where no placement keeps --min-tok-s one device after the other, all of them at once may."""
    goal = search.question.goal
    if search.best or goal.min_tok_s is None or not wants_tensor_split(goal):
        return
    for wished in search.wished:
        for devices, setting in side_by_side(search, wished):
            if search.attempt(setting, devices, TENSOR_SPLIT):
                return


def side_by_side(search: Search, setting: Setting) -> Iterator[tuple[DeviceSet, Setting]]:
    """The devices that could share each layer, in this context: any number of them, since what is
    fastest one after the other is often one alone."""
    goal = search.question.goal
    pinned = goal.split_mode is not None or goal.tensor_split or goal.n_cpu_moe
    if pinned or goal.n_gpu_layers is not None or goal.flash_attention is False:
        return
    setting = replace(setting, flash_attention=True)
    for devices in search.question.sets:
        if not tensor_split_refusal(search.spec, devices) and _are_alike(search, devices):
            yield devices, setting


def devices_of(search: Search, option: Option) -> DeviceSet:
    used = option.placement.device_ids
    return tuple(device for device in search.question.accelerators if device.id in used)


def _variants(search: Search, option: Option) -> Iterator[tuple[Setting, Ways]]:
    goal, setting, ways = search.question.goal, option.setting, option.ways
    sizes = sorted(_micro_batches(search, setting), key=lambda size: size != setting.n_ubatch)
    offloads = {ways.op_offload}
    host = option.placement.shares[-1]
    helps = host.computes and bool(option.placement.device_ids)
    if helps and goal.op_offload is None:
        offloads = {True, False}
    for layout in (setting, *_own_streams(search, option)):
        for n_ubatch, op_offload in product(sizes, sorted(offloads, reverse=True)):
            changed = replace(layout, n_ubatch=n_ubatch), replace(ways, op_offload=op_offload)
            if changed != (setting, ways):
                yield changed


def _others(
    search: Search, option: Option, rank: Rank
) -> Iterator[tuple[Rank, Setting, DeviceSet]]:
    """Whatever could have more than this rank, with its bound: every context on every choice of
    devices with every micro-batch; where those are many, other contexts with the option's only."""
    setting, question = option.setting, search.question
    each, are_few = _micro_batches(search, setting), len(question.sets) <= _FEW_SETS
    for devices, wished in product(question.sets, search.wished):
        if search.bound_if_first_by(_AT_ONCE_S, wished, devices) <= rank:
            continue
        is_own = replace(wished, n_ubatch=setting.n_ubatch) == setting
        for n_ubatch in each if is_own or are_few else [setting.n_ubatch]:
            other = replace(wished, n_ubatch=min(n_ubatch, wished.n_ctx))
            bound = max(search.bound(other, devices, ways) for ways in _ways(search, devices))
            if bound > rank:
                yield bound, other, devices


def _micro_batches(search: Search, setting: Setting) -> list[int]:
    """llama.cpp cuts them to the context."""
    sizes = {min(size, setting.n_ctx) for size in _MICRO_BATCHES} | {setting.n_ubatch}
    return [setting.n_ubatch] if search.question.goal.n_ubatch else sorted(sizes)


def _ways(search: Search, devices: DeviceSet) -> Iterator[Ways]:
    ways = search.question.ways(devices)
    yield ways
    if devices and ways.split_mode == "layer" and search.question.goal.op_offload is None:
        yield replace(ways, op_offload=False)


def _own_streams(search: Search, option: Option) -> Iterator[Setting]:
    """Where one pool's mask may cost a layer's room, idle conversations could not leave it, or the
    CPU would look through everybody's cells for each row."""
    goal, placement, workload = search.question.goal, option.placement, search.question.workload
    if not option.setting.kv_unified or goal.kv_unified is not None:
        return
    host = placement.shares[-1]
    is_cut = bool(placement.device_ids) and host.computes
    is_in_the_way = is_cut or option.merit.is_stuck
    if host.computes and not (workload.kv_unified_if_slower or placement.device_ids):
        for wished in search.wished:  # a pool that is slow has made them fewer, too
            if _differ_in_number(wished, option.setting):
                yield replace(wished, kv_unified=False, n_scratch=0)
    elif is_in_the_way and not workload.kv_unified_if_idle_stays:
        yield replace(option.setting, kv_unified=False, n_scratch=0)


def _differ_in_number(one: Setting, other: Setting) -> bool:
    """At most, and not in how long a conversation is, or how it is cached."""

    def kept(setting: Setting) -> tuple[object, ...]:
        return setting.n_ctx_seq, setting.kv_type_k, setting.kv_type_v

    return kept(one) == kept(other)


def _between_halves(search: Search, best: Option) -> Iterator[Setting]:
    """Longer than the best one's, up to twice as long or what was wished for."""
    question, setting, goal = search.question, best.setting, search.question.goal
    if goal.n_ctx or goal.n_ctx_seq:
        return
    wished = wished_context(search.spec, goal, question.profiles.workload(goal.use))
    longest = min(2 * setting.n_ctx_seq, wished)
    for eighths in range(15, 8, -1):
        n_ctx_seq = cut256(setting.n_ctx_seq * eighths // 8)
        if setting.n_ctx_seq < n_ctx_seq < longest:
            n_ctx = n_ctx_seq * setting.n_parallel
            yield replace(setting, n_ctx_seq=n_ctx_seq, n_ctx=n_ctx)


def _are_alike(search: Search, devices: tuple[Device, ...]) -> bool:
    """An even cut over uneven devices would wait for the slowest."""
    machine = search.question.machine
    return machine.are_alike(devices) and devices[0].backend in _SPLIT_BACKENDS
