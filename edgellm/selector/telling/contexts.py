"""How long the conversations of a plan are, and what bound them: the wish, the model or memory."""

from collections.abc import Iterator
from dataclasses import replace

from edgellm.errors import DoesNotFit
from edgellm.selector.profiles import Workload
from edgellm.selector.search.confirm import decide_confirmed
from edgellm.selector.search.decide import Decision
from edgellm.selector.search.options import Option
from edgellm.selector.search.pareto import longer
from edgellm.selector.search.settings import wished_context, wished_parallel
from edgellm.units import format_rate

_KEEPS_PACE = 0.9  # of the plan's own


def context_sentences(decision: Decision, workload: Workload) -> Iterator[str]:
    option, goal = decision.chosen, decision.question.goal
    spec, setting = option.candidate.spec, option.setting
    if setting.embedding:
        yield f"embeddings: texts of up to {setting.n_ctx_seq} tokens, one batch at a time"
        return
    wished = wished_context(spec, goal, workload)
    if setting.n_ctx_seq < wished and not goal.n_ctx:
        yield (
            f"context is cut from the {wished} tokens wished for to {setting.n_ctx_seq}: "
            "memory allows no more at this quality and speed (--ctx pins it)"
        )
    n_wished = wished_parallel(spec, goal, workload)
    if setting.n_parallel < n_wished:
        yield (
            f"{setting.n_parallel} instead of {n_wished} parallel conversations: memory and pace "
            "allow no more with these weights (--parallel pins it)"
        )
    yield from _wish_sentences(decision, workload)
    if setting.shape.kv_quantized and not (goal.kv_type_k or goal.kv_type_v):
        part = {"q8_0": "about half", "q4_0": "a good quarter"}.get(setting.kv_type_k, "a part")
        yield (
            f"the KV cache is {setting.kv_type_k}: {part} of f16's bytes "
            f"for a KLD of {option.merit.kv_kld:.4f}"
        )
    if setting.n_ctx_seq > spec.n_ctx_train:
        yield (
            f"{setting.n_ctx_seq} tokens are more than the {spec.n_ctx_train} "
            "the model was trained for"
        )


def _wish_sentences(decision: Decision, workload: Workload) -> Iterator[str]:
    """Where neither a flag nor memory bound the context, but the use: what would be had for one."""
    option, goal = decision.chosen, decision.question.goal
    n_ctx_seq = option.setting.n_ctx_seq
    is_wish = goal.objective != "context" and n_ctx_seq == workload.n_ctx_seq
    if (
        not is_wish
        or goal.n_ctx
        or goal.n_ctx_seq
        or n_ctx_seq >= option.candidate.spec.n_ctx_train
    ):
        return
    fitting = _longer(decision)
    quick = [one for one in fitting if one.pace.decode.p50 >= _KEEPS_PACE * option.pace.decode.p50]
    wish = f"{n_ctx_seq} tokens a conversation are what {workload.use} wishes for"
    lengths = sorted({one.setting.n_ctx_seq for one in quick}, reverse=True)
    had = (_had_for(n_ctx_seq, decision) for n_ctx_seq in lengths)
    if told := next((one for one in had if one), None):
        yield f"{wish}, memory allows more: {told}"
    elif fitting:
        fewer = ", fewer (--parallel) take less memory" if option.setting.n_parallel > 1 else ""
        yield f"{wish}: longer ones (--ctx) would cost pace or quality{fewer}"


def _had_for(n_ctx_seq: int, decision: Decision) -> str | None:
    """What comes of the flag, by which all is weighed anew: another file may win, or a cache of
    another type. None: nothing, where what seemed to fit is short of a little."""
    question, here = decision.question, decision.chosen
    asked = replace(question, goal=replace(question.goal, n_ctx_seq=n_ctx_seq), only_best=True)
    candidates = [search.candidate for search in decision.searches]
    try:
        there = decide_confirmed(asked, candidates, None).decision.chosen
    except DoesNotFit:
        return None
    return ", ".join((f"--ctx {n_ctx_seq} would fit", *_changes(here, there)))


def _changes(here: Option, there: Option) -> Iterator[str]:
    if there.candidate is not here.candidate:
        yield f"as {there.candidate.quant}"
    if there.setting.kv_type_k != here.setting.kv_type_k:
        yield f"KV {there.setting.kv_type_k}"
    if there.setting.n_parallel != here.setting.n_parallel:
        yield f"{there.setting.n_parallel} at a time"
    now, then = (format_rate(one.pace.decode.p50) for one in (here, there))
    yield "as fast" if now == then else f"at about {then} instead of {now}"


def _longer(decision: Decision) -> list[Option]:
    """The same file with as many conversations, each longer."""
    setting = decision.chosen.setting
    found = longer(decision.winner, setting.n_parallel)
    return [one for one in found if one.setting.n_ctx_seq > setting.n_ctx_seq]
