from dataclasses import replace

import pytest
from doctor_place import HEALTHY

from edgellm.cli.doctoring.hub_check import hub
from edgellm.models.hubs import SITES


def at(endpoint, variable="HF_ENDPOINT", **how):
    return hub(replace(HEALTHY, hub_endpoint=endpoint, hub_variable=variable, **how))


@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
def test_a_hub_of_the_world_is_told(site):
    found = at(site.endpoint)
    assert (found.verdict, found.message) == ("ok", f"models are pulled from {site.endpoint}")


def test_a_mirror_is_told_with_the_variable_that_names_it():
    found = at("http://gateway:8485")
    assert found.verdict == "ok"
    assert found.message == "models are pulled from http://gateway:8485, which HF_ENDPOINT names"


def test_a_password_is_not():
    assert "secret" not in at("https://me:secret@hub.lan/hf").message


@pytest.mark.parametrize("endpoint", ["gateway:8485", "gateway", "http://", "http://x:port"])
def test_half_an_address_is_a_problem(endpoint):
    found = at(endpoint)
    assert found.verdict == "problem"
    assert f"HF_ENDPOINT '{endpoint}'" in found.message
    assert "http" in found.fix


def test_offline_none_is_asked():
    assert "none is asked" in at("gateway:8485", is_offline=True).message
