from dataclasses import replace

import pytest
from server.server_fakes import hardware

from edgellm.cli.preparing.machine import checked
from edgellm.errors import DeadlinePassed


def test_a_machine_that_tells_no_memory_is_no_machine_without_memory():
    told = hardware()
    silent = replace(
        told,
        pools=tuple(
            replace(pool, total_bytes=0, free_bytes=None) if pool is told.host else pool
            for pool in told.pools
        ),
    )

    assert checked(told) is told
    with pytest.raises(DeadlinePassed, match="did not tell in time how much memory"):
        checked(silent)
