"""The dashboard that ships asks for nothing that /metrics doesn't have."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tui_samples import ordinary

from edgellm.server.door.bodies import Bodies
from edgellm.server.watch.gauges import Gauges
from edgellm.server.watch.metrics import Metrics

BOARD = json.loads((Path(__file__).parents[2] / "docs" / "grafana.json").read_text("utf-8"))
EXPRESSIONS = [(p["title"], t["expr"]) for p in BOARD["panels"] for t in p["targets"]]


def served_names():
    """What a scrape may hold: the families' names, with what Prometheus puts behind them."""
    metrics, gauges = Metrics(), CollectorRegistry()
    Gauges(lambda: ordinary(), gauges, Bodies(1))
    endings = {"gauge": ("",), "counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {
        family.name + ending
        for registry in (metrics.registry, gauges)
        for family in registry.collect()
        for ending in endings[family.type]
    }


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_a_panel_asks_for_what_there_is(title, expression):
    names = set(re.findall(r"edgellm_\w+", expression))
    assert names
    assert names <= served_names()


def test_the_variables_are_labels_that_there_are():
    queries = [v["query"]["query"] for v in BOARD["templating"]["list"] if v["type"] == "query"]
    assert queries == [
        "label_values(edgellm_model_ready, model)",
        "label_values(edgellm_device_memory_bytes, device)",
    ]
    assert {"edgellm_model_ready", "edgellm_device_memory_bytes"} <= served_names()


def test_panels_have_ids_of_their_own_and_lie_beside_one_another():
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
