"""What is chosen for a machine, and what is refused, with the profiles as they are."""

import pytest
import selector_specs as specs

from edgellm.errors import DoesNotFit
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.plan import Goal

PROFILES = load_profiles()


def plan_of(hardware, candidates=None, **goal):
    return choose(hardware, candidates or specs.ladder(), Goal(**goal), PROFILES)


def refusal_of(hardware, candidates, **goal) -> DoesNotFit:
    with pytest.raises(DoesNotFit) as raised:
        plan_of(hardware, candidates, **goal)
    return raised.value
