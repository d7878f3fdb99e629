import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as TheLibrarys

from edgellm.server.watch.histograms import Histogram

BOUNDS = (0.002, 0.5, 1, 2.5)


@pytest.mark.parametrize(
    "seconds", [(), (0.0,), (0.002,), (0.5, 0.500001, 1.0), (3.0, 2.5, 1e9, 0.1, 0.1)]
)
def test_it_tells_what_the_librarys_own_would(seconds):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    own = Histogram("took_seconds", "How long", BOUNDS, ours)
    other = TheLibrarys("took_seconds", "How long", ("model",), buckets=BOUNDS, registry=theirs)
    for buckets in (own.of('a "b"'), other.labels('a "b"')):
        for one in seconds:
            buckets.observe(one)
    told, known = (generate_latest(one).decode().splitlines() for one in (ours, theirs))
    assert told == [line for line in known if "_created" not in line]
