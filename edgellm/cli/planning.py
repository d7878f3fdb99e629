"""The one way from a question to a plan: with the profiles, and with llama.cpp as oracle."""

from collections.abc import Sequence

from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Candidate, Goal, Plan


def planned(
    hardware: Hardware, candidates: Sequence[Candidate], goal: Goal, *, asks_oracle: bool = True
) -> Plan:
    """Raises DoesNotFit, BadRequest, ModelNotFound."""
    return choose(hardware, candidates, goal, load_profiles())
