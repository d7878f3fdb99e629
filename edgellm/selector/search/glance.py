"""A model at a glance: what one file promises, before anything is refined, confirmed or explained.

For those who go through a catalog: what can't keep a pace is known from its bound alone, and what
the first search finds is the least that the best plan does.
"""

from edgellm.errors import BadRequest
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Candidate, Goal, Range
from edgellm.selector.profiles import Profiles
from edgellm.selector.search.checks import check_goal, check_pins
from edgellm.selector.search.question import Question, machine_for
from edgellm.selector.search.search import Search
from edgellm.values import frozen

# How many times as fast as a model's file of four bits a weight its others can be, with room for
# all of them: over the catalog Q2_K beside Q4_K_M is 1.6 times as fast at most.
MOST_FASTER = 2.5


@frozen
class Glance:
    decode_tok_s: Range
    prefill_tok_s: Range


def may_reach(
    hardware: Hardware, candidate: Candidate, goal: Goal, profiles: Profiles, tok_s: float
) -> bool:
    """Whether one stream could be that fast on some devices, with the room that they have."""
    search = _search(hardware, candidate, goal, profiles)
    return search is not None and search.most_tok_s() >= tok_s


def could_reach(
    hardware: Hardware, candidate: Candidate, goal: Goal, profiles: Profiles, tok_s: float
) -> bool:
    """Whether any file of the candidate's model could have one stream that fast, whatever room
    there is. The candidate: one of four bits a weight or more.

    For those who would else make every file's plan to learn that none is fast enough.
    """
    search = _search(hardware, candidate, goal, profiles)
    return search is not None and MOST_FASTER * search.ideal_tok_s() >= tok_s


def glance(
    hardware: Hardware, candidate: Candidate, goal: Goal, profiles: Profiles
) -> Glance | None:
    """None: it doesn't fit at once, can't take the pins, or writes no text."""
    search = _search(hardware, candidate, goal, profiles)
    best = search and search.run().best
    if not search or not best or best.setting.embedding:
        return None
    return Glance(best.pace.decode, search.prefill_tok_s(best))


def _search(
    hardware: Hardware, candidate: Candidate, goal: Goal, profiles: Profiles
) -> Search | None:
    """None for pins that can't be."""
    machine = machine_for(hardware, [candidate], goal, profiles)
    question = Question.of(machine, goal, profiles, only_best=True)
    try:
        check_goal(goal)
        check_pins(goal, candidate.spec, question.accelerators)
        return Search(question, candidate)
    except BadRequest:
        return None
