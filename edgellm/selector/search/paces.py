"""How fast a model would run as it is placed, by what this use asks for."""

from math import inf

from edgellm.models.gguf.loadable import LOADABLE
from edgellm.models.spec import ModelSpec
from edgellm.selector.plan import Placement, Range
from edgellm.selector.search.question import Question
from edgellm.selector.search.ranking import Pace, wants_throughput
from edgellm.selector.search.settings import Setting
from edgellm.selector.speed.speed import decode_tok_s, prefill_tok_s, ttft_s
from edgellm.selector.speed.speed_profile import SpeedProfile


def pace_of(question: Question, spec: ModelSpec, setting: Setting, placed: Placement) -> Pace:
    pace = _known_pace(question, spec, setting, placed)
    if spec.architecture in LOADABLE:
        return pace
    profile = question.machine.speed
    return Pace(
        _widened(pace.decode, profile),
        _widened(pace.ttft_s, profile),
        pace.batch and _widened(pace.batch, profile),
    )


def together_tok_s(
    question: Question, spec: ModelSpec, setting: Setting, placed: Placement
) -> Range:
    """Of all streams. Batch-invariant ones take turns, each in a call of its own."""
    n_at_once = 1 if question.goal.batch_invariant else setting.n_parallel
    setup = question.machine.setup(spec, setting.shape, placed)
    return decode_tok_s(setup, n_streams=n_at_once)


def reading(first: Range, n_prompt: int) -> Range:
    """Tokens a second of a model that writes none, by the time that it takes for so many."""
    slow, usual, fast = (n_prompt / s if s else inf for s in (first.p90, first.p50, first.p10))
    return Range(slow, usual, fast)


def _known_pace(question: Question, spec: ModelSpec, setting: Setting, placed: Placement) -> Pace:
    n_prompt = question.workload.n_prompt
    setup = question.machine.setup(spec, setting.shape, placed)
    decode, first, batch = decode_tok_s(setup), ttft_s(setup, n_prompt), None
    if setting.embedding:
        batch = reading(first, n_prompt)
    elif wants_throughput(question.goal, question.workload) and setting.n_parallel > 1:
        batch = together_tok_s(question, spec, setting, placed)
    return Pace(decode, first, batch)


def prompt_tok_s(question: Question, spec: ModelSpec, setting: Setting, placed: Placement) -> Range:
    """No part of a pace, which goes by the first token."""
    machine = question.machine
    rate = prefill_tok_s(machine.setup(spec, setting.shape, placed))
    return rate if spec.architecture in LOADABLE else _widened(rate, machine.speed)


def _widened(figure: Range, profile: SpeedProfile) -> Range:
    """Of an architecture that nobody has run here."""
    spread = profile.unknown_spread
    return Range(figure.p10 * spread.low, figure.p50, figure.p90 * spread.high)
