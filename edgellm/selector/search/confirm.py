"""The choice by quick arithmetic, confirmed by llama.cpp's own figures where somebody can ask for
them, else by the exact sum.

Where that says that more is needed than fits, the difference becomes a margin, and the choice is
made again within it. Arithmetic and oracle differ by a percent, so one round is usual.
"""

from collections.abc import Sequence
from dataclasses import replace

from edgellm.errors import DoesNotFit
from edgellm.probe.hardware import Hardware
from edgellm.selector.memory.layout import layout_of
from edgellm.selector.memory.memory import needs
from edgellm.selector.memory.shares import with_bytes
from edgellm.selector.oracle import BufferBytes, Oracle
from edgellm.selector.placing.draft import beside_draft
from edgellm.selector.placing.machine import Machine, Shortfall
from edgellm.selector.plan import BytesFrom, Candidate, Placement, Share
from edgellm.selector.search.decide import Decision, Nothing, decide
from edgellm.selector.search.options import Option
from edgellm.selector.search.question import Question
from edgellm.selector.telling.describe import binding_text
from edgellm.selector.telling.refusal import refusal
from edgellm.units import format_bytes
from edgellm.values import frozen

_ROUNDS = 3  # choices made again


@frozen
class Confirmed:
    decision: Decision
    placement: Placement
    bytes_from: BytesFrom
    n_rounds: int  # how often the choice was made again
    more_bytes: int  # what the last correction was about


def decide_confirmed(
    question: Question, candidates: Sequence[Candidate], oracle: Oracle | None
) -> Confirmed:
    """Raises DoesNotFit with the sum."""
    more_bytes, n_rounds = 0, 0
    while True:
        decision = decide(question, candidates)
        if isinstance(decision, Nothing):
            raise refusal(decision)
        placement, hardware = decision.chosen.placement, question.machine.hardware
        if placement.disk_bytes:
            return Confirmed(decision, placement, "arithmetic", n_rounds, more_bytes)
        bytes_from: BytesFrom = "oracle"
        measured = _ask(decision, oracle)
        if measured is None:
            measured, bytes_from = _added_up(decision.chosen, hardware), "arithmetic"
        shares = with_bytes(placement, measured)
        chosen = decision.chosen
        machine = beside_draft(
            question.machine, chosen.candidate, chosen.setting.shape, chosen.devices
        )
        short = machine.without_margins().shortfall(shares)
        if short is None:
            placement = replace(placement, shares=shares)
            return Confirmed(decision, placement, bytes_from, n_rounds, more_bytes)
        if n_rounds == _ROUNDS:
            raise _disagreement(decision, short)
        n_rounds += 1
        margins = _margins(question.machine, placement, measured)
        more_bytes = max(margins.values(), default=0)
        question = question.with_margins(margins)


def _disagreement(decision: Decision, short: Shortfall) -> DoesNotFit:
    more = format_bytes(2 * short.missing_bytes).replace(" ", "")
    return DoesNotFit(
        f"{decision.chosen.candidate.spec.name}: llama.cpp asks for more than was added up, "
        f"{1 + _ROUNDS} times in a row "
        f"({binding_text(short, decision.question.machine.hardware)})",
        hint=f"leave more room: --reserve {more}",
    )


def _ask(decision: Decision, oracle: Oracle | None) -> tuple[BufferBytes, ...] | None:
    chosen = decision.chosen
    if oracle is None:
        return None
    return oracle.measure(
        chosen.candidate,
        chosen.setting.shape,
        chosen.placement,
        decision.question.machine.hardware,
    )


def exact_shares(option: Option, hardware: Hardware) -> tuple[Share, ...]:
    """The option's, as exactly as arithmetic can, which the search leaves out for its time."""
    return with_bytes(option.placement, _added_up(option, hardware))


def _added_up(option: Option, hardware: Hardware) -> tuple[BufferBytes, ...]:
    layout = layout_of(option.placement, hardware)
    return needs(option.candidate.spec, option.setting.shape, layout, exact=True)


def _margins(
    machine: Machine, placement: Placement, measured: Sequence[BufferBytes]
) -> dict[str, int]:
    """By device, what the oracle's figures are above the arithmetic's and the margins there are."""
    margins = {}
    for share, row in zip(placement.shares, measured, strict=True):
        told = row.weight_bytes + row.kv_bytes + row.compute_bytes
        more = told - (share.total_bytes - share.overhead_bytes)
        more -= machine.margins.get(share.device_id, 0)
        if more > 0:
            margins[share.device_id] = more
    return margins
