"""The front: plans of which none is beaten in quality, speed and context at once."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import inf

from edgellm.selector.placing.devices import DeviceSet
from edgellm.selector.plan import Alternative
from edgellm.selector.search.alike import alike
from edgellm.selector.search.options import Option
from edgellm.selector.search.search import Search
from edgellm.selector.telling.describe import placement_text

_MAX_ROWS = 12
_SPEED_TOLERANCE = 1.02  # closer rates count as equal


def front(searches: Sequence[Search], chosen: Option) -> tuple[Alternative, ...]:
    """At most 12 rows, the best quality first; the chosen plan is among them."""
    if chosen.setting.embedding:
        return ()
    n_parallel = chosen.setting.n_parallel
    tried = [
        alike(search, option, chosen)
        for search in _worthwhile(searches, chosen)
        for option in _unbeaten([*search.options, *longer(search, n_parallel)], n_parallel)
    ]
    rows = _thinned(_unique(_unbeaten(tried, n_parallel), chosen), chosen)
    by_file = {search.candidate.file: search for search in searches}
    return tuple(_row(by_file[option.candidate.file], option) for option in rows)


def _worthwhile(searches: Sequence[Search], chosen: Option) -> list[Search]:
    """Files of which none is both smaller and better; the chosen one in any case."""
    kept: list[Search] = []
    least = inf
    found = [search for search in searches if search.best]
    for search in sorted(found, key=lambda s: (s.candidate.file_bytes, s.merits.weight_kld)):
        if search.merits.weight_kld < least or search.candidate is chosen.candidate:
            kept.append(search)
            least = min(least, search.merits.weight_kld)
    return kept


def _unbeaten(options: Sequence[Option], n_parallel: int) -> list[Option]:
    same = [option for option in options if option.setting.n_parallel == n_parallel]
    return [option for option in same if not any(_beats(other, option) for other in same)]


def longer(search: Search, n_parallel: int) -> Iterable[Option]:
    """A candidate's best devices in contexts twice, four times … as long, while they fit; and the
    fewest devices that hold all of such a one where those would leave layers to the host."""
    best, goal = search.best, search.question.goal
    if best is None or goal.n_ctx or goal.n_ctx_seq:
        return
    sets, n_ctx_seq = _from(best, search), best.setting.n_ctx_seq
    while 2 * n_ctx_seq <= search.spec.n_ctx_train:
        n_ctx_seq *= 2
        setting = replace(
            best.setting,
            n_ctx_seq=n_ctx_seq,
            n_ctx=n_ctx_seq * n_parallel,
            n_parallel=n_parallel,
        )
        found: list[Option] = []
        for i, devices in enumerate(sets):
            ways = search.question.ways(devices) if i else best.ways
            option = search.look(setting, devices, ways)
            if isinstance(option, Option):
                found.append(option)
                if not any(share.computes for share in option.placement.shares[-1:]):
                    break  # the host has none of it
        if not found:
            return
        yield from found


def _from(best: Option, search: Search) -> list[DeviceSet]:
    """The best devices, then more of them at a time."""
    more = (some for some in search.question.sets if len(some) > len(best.devices))
    return [best.devices, *sorted(more, key=len)] if best.devices else [best.devices]


def _beats(one: Option, other: Option) -> bool:
    """At least as good in all three and better in one."""
    here, there = _measures(one), _measures(other)
    at_least = here[0] <= there[0] and here[1] >= there[1] and here[2] >= there[2]
    return at_least and (
        here[0] < there[0] or here[1] > there[1] or here[2] > _SPEED_TOLERANCE * there[2]
    )


def _measures(option: Option) -> tuple[float, int, float]:
    return option.kld, option.setting.n_ctx_seq, option.pace.decode.p50


def _unique(options: Iterable[Option], chosen: Option) -> list[Option]:
    """One for each file, context and cache: the fastest, or the chosen one."""
    best: dict[tuple[object, ...], Option] = {}
    for option in options:
        key = _key(option)
        if key not in best or option.pace.decode.p50 > best[key].pace.decode.p50:
            best[key] = option
    best[_key(chosen)] = chosen
    return sorted(best.values(), key=lambda o: (o.kld, -o.setting.n_ctx_seq))


def _key(option: Option) -> tuple[object, ...]:
    return option.candidate.file, option.setting.n_ctx_seq, option.setting.kv_type_k


def _thinned(options: list[Option], chosen: Option) -> list[Option]:
    """Evenly over the front, both ends and the chosen one kept."""
    if len(options) <= _MAX_ROWS:
        return options
    step = (len(options) - 1) / (_MAX_ROWS - 1)
    kept = {round(i * step) for i in range(_MAX_ROWS)}
    own = options.index(chosen)
    if own not in kept:
        kept.remove(min(kept - {0, len(options) - 1}, key=lambda i: abs(i - own)))
        kept.add(own)
    return [option for i, option in enumerate(options) if i in kept]


def _row(search: Search, option: Option) -> Alternative:
    setting = option.setting
    return Alternative(
        quant=option.candidate.quant,
        n_ctx_seq=setting.n_ctx_seq,
        n_parallel=setting.n_parallel,
        kv_type=setting.kv_type_k,
        placement=placement_text(option.placement, option.candidate.spec.n_layers),
        total_bytes=option.placement.total_bytes,
        kld=option.kld,
        decode_tok_s=option.pace.decode,
        prefill_tok_s=search.prefill_tok_s(option),
    )
