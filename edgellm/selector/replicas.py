"""Many streams on many cards: one model split over all, or a copy on each few of them?

A step passes through a layer split one card after the other, so more cards make it no faster;
copies on disjoint cards step at the same time. They need the model to fit into each part.
"""

from dataclasses import replace

from edgellm.selector.memory.shares import Ways
from edgellm.selector.placing.machine import Machine
from edgellm.selector.plan import Range
from edgellm.selector.search.options import Option
from edgellm.selector.search.paces import together_tok_s
from edgellm.selector.search.search import Search
from edgellm.selector.search.settings import Setting, kv_pairs
from edgellm.values import frozen


@frozen
class Replicas:
    """`tok_s`: of all streams of all copies together."""

    n_replicas: int
    n_devices_each: int
    option: Option  # one of them
    tok_s: Range


def best_replicas(search: Search, setting: Setting) -> Replicas | None:
    """The quickest way to run at least two copies; None where the cards differ or can't hold it."""
    machine, devices = search.question.machine, search.question.accelerators
    if len(devices) < 2 or not machine.are_alike(devices):
        return None
    sizes = [n for n in range(1, len(devices) // 2 + 1) if len(devices) % n == 0]
    found = [
        _replicas(search, replace(setting, kv_type_k=k, kv_type_v=v), len(devices) // n, n)
        for n in sizes
        for k, v in kv_pairs(search.spec, search.question.goal)
    ]
    return max((one for one in found if one), key=lambda one: one.tok_s.p50, default=None)


def _replicas(search: Search, setting: Setting, n_replicas: int, n_each: int) -> Replicas | None:
    n_parallel = -(-setting.n_parallel // n_replicas)
    own = replace(
        setting,
        n_parallel=n_parallel,
        n_ctx=-(-setting.n_ctx * n_parallel // setting.n_parallel),
    )
    devices = search.question.accelerators[:n_each]
    option = search.look(own, devices, Ways(n_gpu_layers=-1, n_cpu_moe=0))
    if not isinstance(option, Option):
        return None
    machine = search.question.machine
    if not host_holds(machine, option, n_replicas):
        return None
    rate = together_tok_s(search.question, search.spec, own, option.placement)
    total = Range(*(n_replicas * part for part in (rate.p10, rate.p50, rate.p90)))
    return Replicas(n_replicas, n_each, option, total)


def host_holds(machine: Machine, option: Option, n_replicas: int) -> bool:
    """The file's pages are one; each copy has buffers of its own."""
    host = option.placement.shares[-1]
    own = host.kv_bytes + host.compute_bytes
    return host.weight_bytes + n_replicas * own <= machine.budgets[host.pool_id]
