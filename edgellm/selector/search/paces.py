"""How fast a model would run as it is placed, by what this use asks for."""

from edgellm.models.gguf.loadable import LOADABLE
from edgellm.models.spec import ModelSpec
from edgellm.selector.plan import Placement, Range
from edgellm.selector.search.question import Question
from edgellm.selector.search.ranking import Pace, wants_throughput
from edgellm.selector.search.settings import Setting
from edgellm.selector.speed.speed import decode_tok_s, prefill_tok_s, ttft_s
from edgellm.selector.speed.speed_profile import SpeedProfile


def pace_of(question: Question, spec: ModelSpec, setting: Setting, placed: Placement) -> Pace:
    shape, machine = setting.shape, question.machine
    facts = spec, shape, placed, machine.hardware, machine.speed
    decode, batch = decode_tok_s(*facts), None
    if wants_throughput(question.goal, question.workload) and setting.n_parallel > 1:
        batch = decode_tok_s(*facts, n_streams=setting.n_parallel)
    first = ttft_s(*facts, question.workload.n_prompt)
    if spec.architecture in LOADABLE:
        return Pace(decode, first, batch)
    profile = machine.speed
    return Pace(
        _widened(decode, profile), _widened(first, profile), batch and _widened(batch, profile)
    )


def prompt_tok_s(question: Question, spec: ModelSpec, setting: Setting, placed: Placement) -> Range:
    """No part of a pace, which goes by the first token."""
    machine = question.machine
    rate = prefill_tok_s(spec, setting.shape, placed, machine.hardware, machine.speed)
    return rate if spec.architecture in LOADABLE else _widened(rate, machine.speed)


def _widened(figure: Range, profile: SpeedProfile) -> Range:
    """Of an architecture that nobody has run here."""
    spread = profile.unknown_spread
    return Range(figure.p10 * spread.low, figure.p50, figure.p90 * spread.high)
