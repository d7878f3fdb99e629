"""The one way from a question to a plan: with the profiles, and with llama.cpp as oracle."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.oracle import Oracle
from edgellm.selector.plan import Candidate, Goal, Plan


def planned(
    hardware: Hardware, candidates: Sequence[Candidate], goal: Goal, *, asks_oracle: bool = True
) -> Plan:
    """Raises DoesNotFit, BadRequest, ModelNotFound."""
    with oracle(asks_oracle) as asked:
        return choose(hardware, candidates, goal, load_profiles(), asked)


@contextmanager
def oracle(is_wanted: bool = True) -> Iterator[Oracle | None]:
    """llama.cpp's own figures, in a child process that ends with the block. Nothing is started
    before the first question that no cache answers."""
    if not is_wanted:
        yield None
        return
    from edgellm.runner.oracle import LlamaOracle

    with LlamaOracle() as asked:
        yield asked
