"""The dashboard that ships asks for nothing that /metrics doesn't have, and is one that Grafana
reads: its classic model (grafana.com/docs, "Dashboard JSON model"), which every version imports."""

import json
import re
import urllib.request
from pathlib import Path

import pytest
from live import live_server
from msgspec import structs
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tui_samples import ordinary

from edgellm.chat.events import Finished, TextDelta, Timings
from edgellm.errors import BadRequest
from edgellm.server.door.bodies import Bodies
from edgellm.server.watch.gauges import Gauges
from edgellm.server.watch.metrics import Metrics
from edgellm.status import HealthStatus, ResponsesStatus

BOARD = json.loads((Path(__file__).parents[2] / "docs" / "grafana.json").read_text("utf-8"))
PANELS = BOARD["panels"]
TARGETS = [(p["title"], t["expr"], t["legendFormat"]) for p in PANELS for t in p["targets"]]
VARIABLES = {one["name"]: one for one in BOARD["templating"]["list"]}
ENDINGS = {"gauge": ("",), "counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def sampled():
    """Each sample's name and labels, of a server that knows all it can know."""
    metrics, gauges = Metrics(), CollectorRegistry()
    with metrics.watch("tiny", 1) as watch:
        for event in (TextDelta("a"), TextDelta("b")):
            watch.saw(0, event)
        watch.saw(0, Finished("stop", 9, 3, 2, Timings(0.0, 0.1, 0.1), energy_j=1.0))
    metrics.refused(BadRequest("no"))
    status = ordinary()
    devices = tuple(structs.replace(device, memory_c=60.0) for device in status.devices)
    models = tuple(structs.replace(model, health=HealthStatus()) for model in status.models)
    full = structs.replace(
        status, devices=devices, models=models, responses=ResponsesStatus(most_bytes=1)
    )
    Gauges(lambda: full, gauges, Bodies(1))
    return {
        sample.name: set(sample.labels)
        for registry in (metrics.registry, gauges)
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


SAMPLED = sampled()


def selectors(expression):
    """The metrics that it asks for, each with the labels that it chooses by."""
    found = re.findall(r"(edgellm_\w+)(?:\{([^}]*)\})?", expression)
    return [(name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen))) for name, chosen in found]


def labels_left(expression):
    """Those that a line of the panel has: what is summed over keeps those that it is summed by."""
    if summed := re.search(r"sum by \(([^)]*)\)", expression):
        kept = set(re.split(r"[,\s]+", summed[1]))
        return kept - {"le"} if "histogram_quantile" in expression else kept
    return set.intersection(*(SAMPLED[name] for name, _ in selectors(expression)))


@pytest.mark.parametrize(("title", "expression", "legend"), TARGETS)
def test_a_panel_asks_for_metrics_and_labels_that_there_are(title, expression, legend):
    asked = selectors(expression)
    assert asked
    for name, labels in asked:
        assert name in SAMPLED
        assert labels <= SAMPLED[name]
        for by in re.findall(r"sum by \(([^)]*)\)", expression):
            assert set(re.split(r"[,\s]+", by)) <= SAMPLED[name]
    assert set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend)) <= labels_left(expression)
    assert set(re.findall(r"\$(\w+)", expression)) <= {*VARIABLES, "__rate_interval"}


@pytest.mark.parametrize(("title", "expression", "legend"), TARGETS)
def test_what_only_grows_is_asked_for_its_rate(title, expression, legend):
    """All but the bill, which is shown as it is."""
    for name, _ in selectors(expression):
        if name.endswith(("_total", "_bucket")) and name != "edgellm_energy_cost_total":
            assert re.search(rf"rate\({name}(\{{[^}}]*\}})?\[\$__rate_interval\]\)", expression)


def test_a_running_server_has_every_metric_that_a_panel_asks_for():
    """What nothing can be said of has no sample, and is named all the same."""
    with live_server() as live, urllib.request.urlopen(f"{live.url}/metrics") as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    served = {
        family.name + ending for family in families for ending in ENDINGS.get(family.type, ())
    }

    assert {name for _, expr, _ in TARGETS for name, _ in selectors(expr)} <= served


def test_the_variables_are_labels_that_there_are():
    for name in ("model", "device"):
        query = VARIABLES[name]["query"]["query"]
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()
        assert label == name
        assert label in SAMPLED[metric]


def test_the_source_of_all_data_is_chosen_on_the_dashboard():
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert VARIABLES["datasource"]["query"] == "prometheus"
    assert [VARIABLES[name]["datasource"] for name in ("model", "device")] == [chosen] * 2
    for panel in PANELS:
        assert panel["datasource"] == chosen
        assert [target["datasource"] for target in panel["targets"]] == [chosen] * len(
            panel["targets"]
        )


def test_it_has_what_grafanas_model_demands():
    assert BOARD["schemaVersion"] >= 36  # since then a source is {type, uid}; Grafana 9
    assert BOARD["title"]
    assert re.fullmatch(r"[\w-]{1,40}", BOARD["uid"])
    assert BOARD["id"] is None, "one that is saved gets its number there"
    assert {"from", "to"} == set(BOARD["time"])
    for panel in PANELS:
        assert panel["type"] in {"stat", "timeseries"}
        assert {"defaults", "overrides"} <= set(panel["fieldConfig"])
        names = [target["refId"] for target in panel["targets"]]
        assert names == [chr(ord("A") + n) for n in range(len(names))]


def test_panels_have_ids_of_their_own_and_lie_beside_one_another():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
