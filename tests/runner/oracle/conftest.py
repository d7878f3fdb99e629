import pytest
from oracle_runs import candidate
from real_model import demo_path

from edgellm.selector.plan import Candidate


@pytest.fixture(scope="session")
def demo() -> Candidate:
    return candidate(demo_path())
