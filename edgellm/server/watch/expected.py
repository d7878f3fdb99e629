"""What the plan lets one expect of this very moment: its p10, for the streams there are and the
depth they have reached."""

from collections.abc import Sequence

from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.selector.memory.shape import context_shape
from edgellm.selector.speed.setup import Setup
from edgellm.selector.speed.speed import decode_tok_s
from edgellm.server.served import Served


def expected_tok_s_p10(served: Served, hardware: Hardware, depths: Sequence[int]) -> float | None:
    """Tokens a second of all streams together, each with its depth. The plan's own number is for
    one stream at a usual depth; the formula it comes from says how much another moment differs."""
    plan = served.engine.plan
    if plan.decode_tok_s is None or served.spec is None or not depths:
        return None
    n_streams = 1 if plan.batch_invariant else len(depths)
    profile = load_profiles().speed
    setup = Setup(served.spec, context_shape(plan), plan.placement, hardware, profile)
    now = decode_tok_s(setup, depth=sum(depths) // len(depths), n_streams=n_streams)
    return plan.decode_tok_s.p10 * now.p50 / decode_tok_s(setup).p50
