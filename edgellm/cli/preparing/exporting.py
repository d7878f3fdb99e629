"""Which files of which models go into a bundle: those of this disk, fetched first where they are
not on it, the quantization chosen for the machine that they go to."""

from collections.abc import Sequence
from pathlib import Path

from edgellm.cli.about import license_of
from edgellm.cli.flags.described import Described
from edgellm.cli.output import say
from edgellm.cli.preparing.fetching import fetch_aloud
from edgellm.cli.preparing.planning import planned
from edgellm.cli.preparing.resolve import (
    Resolved,
    hub_reference_of,
    is_demo,
    resolve,
    resolve_anywhere,
)
from edgellm.cli.preparing.store import store_of
from edgellm.cli.progress import ProgressLine
from edgellm.cli.waiting import Waiting
from edgellm.config import Config
from edgellm.errors import BadRequest
from edgellm.models import local
from edgellm.models.bundles.gathering import Gathered, gather
from edgellm.models.names import HubReference, PathReference, parse_reference
from edgellm.models.stored import StoredModel
from edgellm.selector.plan import Candidate, candidate_of


def brought(text: str, config: Config, described: Described) -> StoredModel:
    """The model on this disk. What is here is taken as it is: the hub is asked for what isn't, or
    where another machine's quantization is to be chosen among all.

    Raises BadRequest for what needs no bundle, ModelNotFound, DoesNotFit, NetworkError,
    StorageError.
    """
    reference = _reference(text)
    is_chosen = described.is_here or reference.quant or reference.file
    with Waiting(lambda: f"reading about {text} …"):
        resolved = (resolve if is_chosen else resolve_anywhere)(text, config)
    wanted = resolved.candidates[0]
    if len(resolved.candidates) > 1:
        wanted = _suited(resolved, config, described)
        say(f"{resolved.name}: {wanted.quant} suits{described.words or ' this machine'}")
    path = Path(wanted.file) if resolved.is_local else fetch_aloud(resolved, wanted)
    return store_of(config).at(path)


def gathered(models: Sequence[StoredModel], config: Config) -> list[Gathered]:
    """Each once. Raises BadGGUF, StorageError."""
    found = []
    for model in dict.fromkeys(models):
        with ProgressLine(f"reading {model.name}", what=None) as line:
            license = license_of(local.read_header(model.path))
            try:
                found.append(gather(store_of(config).root, model, license, line))
            except OSError as error:  # it is being removed, or its disk fails
                raise local.unreadable(model.path, error) from error
    return found


def _reference(text: str) -> HubReference:
    """Raises BadRequest."""
    reference = parse_reference(text)
    if is_demo(reference):
        raise BadRequest(
            "demo ships with every edgellm: there is nothing to export",
            hint="edgellm export qwen3:8b -o PLACE",
        )
    if isinstance(reference, PathReference):
        raise BadRequest(
            f"{text} is a file of yours, and goes to the other machine as it is",
            hint=f"there: edgellm serve {Path(text).name or text}",
        )
    return hub_reference_of(reference)


def _suited(resolved: Resolved, config: Config, described: Described) -> Candidate:
    from edgellm.cli.flags.pins import Pins

    plan = planned(
        described.hardware(),
        resolved.candidates,
        Pins().goal(config.reserve),
        asks_oracle=False,
        is_here=described.is_here,
        machine_flags=described.words,
    )
    return candidate_of(resolved.candidates, plan.file)
