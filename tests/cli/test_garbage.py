"""The collector's pace is the command line's to set, and nobody else's."""

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edgellm.cli.garbage import collect_seldom, collect_while_serving


@pytest.fixture
def collector() -> Iterator[None]:
    was = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*was)


@pytest.mark.usefixtures("collector")
def test_a_command_sweeps_seldom_until_it_serves() -> None:
    collect_seldom()
    starting = gc.get_threshold()[0]
    collect_while_serving()
    assert gc.get_threshold()[0] < starting / 10
    assert gc.get_freeze_count() > 0


@pytest.mark.usefixtures("collector")
def test_another_program_that_serves_keeps_its_own_pace() -> None:
    n_frozen = gc.get_freeze_count()
    gc.set_threshold(1234, 5, 6)
    collect_while_serving()
    assert gc.get_threshold() == (1234, 5, 6)
    assert gc.get_freeze_count() == n_frozen


def test_to_import_edgellm_changes_nothing() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import gc; was = gc.get_threshold(); import edgellm; edgellm.serve; "
            "import edgellm.cli.main; assert gc.get_threshold() == was",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.returncode == 0, said.stderr
