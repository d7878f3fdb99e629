"""A model brought to this disk: all that `pull` does, and what the others begin with."""

from pathlib import Path

from edgellm import resources
from edgellm.cli.output import say
from edgellm.cli.preparing import machine
from edgellm.cli.preparing.resolve import DEMO, Resolved, hub_reference_of, resolve
from edgellm.cli.progress import ProgressLine
from edgellm.config import Config
from edgellm.models.names import parse_reference
from edgellm.selector.plan import Candidate, Goal


def fetch_aloud(resolved: Resolved, wanted: Candidate) -> Path:
    """With a line that tells how far it is. Raises ModelNotFound, NetworkError, StorageError."""
    with ProgressLine(f"{resolved.name} {wanted.quant}") as line:
        return resolved.fetch(wanted, line)


def fetch_model(text: str, config: Config, *, is_quiet: bool = False) -> Path:
    """Raises BadRequest for a path, ModelNotFound, DoesNotFit, NetworkError, StorageError."""
    if text == DEMO:
        if not is_quiet:
            say("demo ships with edgellm: there is nothing to download")
        return resources.demo_model()
    reference = hub_reference_of(parse_reference(text))
    resolved = resolve(text, config)
    is_named = bool(reference.quant or reference.file)
    wanted = resolved.candidates[0] if is_named else _suited(resolved)
    if is_quiet:
        return resolved.fetch(wanted, lambda done, total, rate: None)
    if resolved.is_local:
        say(f"{wanted.name} is here already, as {wanted.quant}")
    return fetch_aloud(resolved, wanted)


def _suited(resolved: Resolved) -> Candidate:
    """The quantization that this machine is served best with. Raises DoesNotFit."""
    from edgellm.profiles import load_profiles
    from edgellm.selector.choose import choose

    if len(resolved.candidates) == 1:
        return resolved.candidates[0]
    plan = choose(machine.look(), resolved.candidates, Goal(), load_profiles())
    return next(one for one in resolved.candidates if one.file == plan.file)
