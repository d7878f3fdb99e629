"""The check of `edgellm doctor` for where models are pulled from. Nothing is asked there: a doctor
that needs a network finds nothing wrong without one."""

from edgellm.cli.doctoring.findings import Finding, Place
from edgellm.errors import ConfigError
from edgellm.models.hubs import SITES, server_of

_USUAL = frozenset(site.endpoint for site in SITES.values())


def hub(place: Place) -> Finding:
    endpoint, variable = place.hub_endpoint, place.hub_variable
    if place.is_offline:
        return Finding("hub", "ok", "none is asked: network is forbidden (offline)")
    try:
        server_of(endpoint, variable)
    except ConfigError as error:
        return Finding("hub", "problem", str(error), error.hint)
    scheme, _, rest = endpoint.partition("://")
    shown = f"{scheme}://{rest.rpartition('@')[2]}"  # without a password that may stand there
    if endpoint in _USUAL:
        return Finding("hub", "ok", f"models are pulled from {shown}")
    return Finding("hub", "ok", f"models are pulled from {shown}, which {variable} names")
