import signal

import pytest

from edgellm.cli.signals import handled_by


def test_a_signal_means_something_else_in_the_block_and_the_same_as_before_behind_it():
    heard, before = [], signal.getsignal(signal.SIGUSR1)
    meanings = {
        signal.SIGUSR1: lambda number, _: heard.append(number),
        signal.SIGUSR2: signal.SIG_IGN,
    }

    with pytest.raises(ValueError, match="broken"), handled_by(meanings):  # noqa: PT012
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR2)
        raise ValueError("broken")

    assert heard == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) == before
