"""How often Python looks for garbage in cycles: hardly ever while a command starts, often while it
serves. Only in a process that is the command line's own; whoever imports edgellm has settled that.
"""

import gc

# Objects between two sweeps. A start makes some hundred thousand that live to the end, and a plan
# draws a million that die by themselves: sweeping as often as Python would costs a tenth of it.
_STARTING = 100_000
# A connection leaves seven, 1 KB, in a cycle of asyncio's own (_SelectorSocketTransport). To look
# through so many takes a fifth of a millisecond.
_SERVING = 2_000


def collect_seldom() -> None:
    gc.set_threshold(_STARTING)


def collect_while_serving() -> None:
    """What is there by now lives as long as the server, and is not looked through again."""
    if gc.get_threshold()[0] == _STARTING:
        gc.freeze()
        gc.set_threshold(_SERVING)
