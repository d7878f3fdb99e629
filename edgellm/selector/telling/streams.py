"""Why conversations have cells of their own, where the use wished for one pool."""

from collections.abc import Iterator
from dataclasses import replace

from edgellm.selector.search.decide import Decision
from edgellm.selector.search.settings import Setting
from edgellm.units import format_rate


def stream_sentences(decision: Decision) -> Iterator[str]:
    """None where it is as the use wished, or where one pool was taken."""
    chosen = decision.chosen.setting
    if chosen.kv_unified or not decision.winner.wished[0].kv_unified:
        return
    why = _why_apart(decision)
    yield f"each conversation has cells of its own: {why} (--kv-unified pins the pool)"


def _why_apart(decision: Decision) -> str:
    chosen, pooled = decision.chosen, [o for o in decision.winner.options if o.setting.kv_unified]
    apart = _as_apart(chosen.setting)
    if any(one.merit.is_stuck and _as_apart(one.setting) == apart for one in pooled):
        return "in one pool idle ones would slow whoever writes, for want of room in host memory"
    if decision.question.workload.kv_unified_if_slower:
        return (
            "the mask of one pool for all would take the room of layers; idle ones can't leave for "
            "host memory"
        )
    why = "in one pool each row would pass over all the others'"
    pace = chosen.pace.throughput
    best = max((one.pace.throughput for one in pooled), default=pace)
    slower, faster = format_rate(best), format_rate(pace)
    if best >= pace or slower == faster:
        return why
    return f"{why}, and together they would write {slower} instead of {faster}"


def _as_apart(setting: Setting) -> Setting:
    return replace(setting, kv_unified=False, n_scratch=0, n_ubatch=0)
