"""A model brought to this disk: all that `pull` does, and what the others begin with."""

from pathlib import Path

from edgellm import resources
from edgellm.cli.output import say
from edgellm.cli.preparing import machine
from edgellm.cli.preparing.hubs import located
from edgellm.cli.preparing.resolve import Resolved, hub_reference_of, is_demo, resolve
from edgellm.cli.preparing.store import store_of
from edgellm.cli.preparing.twins import twin
from edgellm.cli.preparing.updating import is_pinned, newer
from edgellm.cli.progress import ProgressLine
from edgellm.config import Config
from edgellm.errors import BadRequest, ConfigError, ModelNotFound, NetworkError, Offline
from edgellm.models.fetching.download import Progress
from edgellm.models.hubs import address_of
from edgellm.models.names import NO_LABEL, HubReference, parse_reference
from edgellm.selector.plan import Candidate, candidate_of
from edgellm.units import format_bytes


def fetch_aloud(resolved: Resolved, wanted: Candidate) -> Path:
    """With a line that tells how far it is. Raises ModelNotFound, NetworkError, StorageError."""
    if not resolved.is_local and (here := twin(resolved.name)):
        say(here)
    with ProgressLine(f"{resolved.name} {wanted.quant}") as line:
        return resolved.fetch(wanted, line)


def _ignored(done_bytes: int, total_bytes: int, rate_bytes_s: float | None) -> None:
    """Progress that nobody sees."""


def fetch_model(
    text: str, config: Config, *, is_quiet: bool = False, progress: Progress = _ignored
) -> Path:
    """`progress` is told where it is quiet. Raises BadRequest for a path, ModelNotFound,
    DoesNotFit, NetworkError, StorageError."""
    named = parse_reference(text)
    if is_demo(named):
        if not is_quiet:
            say("demo ships with edgellm: there is nothing to download")
        return resources.demo_model()
    reference = located(hub_reference_of(named), config)
    resolved = resolve(text, config)
    is_named = bool(reference.quant or reference.file)
    wanted = resolved.candidates[0] if is_named else _suited(text, resolved, config)
    if resolved.is_local:
        return _renewed(wanted, reference, config, progress if is_quiet else None)
    if is_quiet:
        return resolved.fetch(wanted, progress)
    return fetch_aloud(resolved, wanted)


def _renewed(
    here: Candidate, reference: HubReference, config: Config, progress: Progress | None
) -> Path:
    """The model as the hub has it now; the one that is here, where the hub can't be asked."""
    tell = (lambda words: None) if progress else say
    path = Path(here.file)
    is_told = here.quant == NO_LABEL or here.name.endswith(here.quant)
    told = f"{here.name} is here already" + f", as {here.quant}" * (not is_told)
    try:
        renew = None if is_pinned(reference) else newer(path, reference, config)
    except Offline:
        tell(told)
        return path
    except (NetworkError, ConfigError, ModelNotFound, BadRequest) as error:
        tell(f"{told}; the hub tells of no newer one: {error}")
        return path
    if renew is None:
        tell(f"{told}, and up to date")
        return path
    if progress:
        return renew(progress)
    origin = store_of(config).address(reference.repo, path)
    asked = address_of(reference.repo, reference.hub)
    news = "what the hub has is newer" if origin == asked else f"what {asked} has is another"
    say(f"{told}; {news}")
    with ProgressLine(here.name if is_told else f"{here.name} {here.quant}") as line:
        path = renew(line)
    _tell_of_the_older(path, reference.repo, config)
    return path


def _tell_of_the_older(path: Path, repo: str, config: Config) -> None:
    """How its room is got back: a server may be running with it, so it stays."""
    store = store_of(config)
    for model in store.list():
        if model.path == path and (size := store.older_bytes(model.reference)):
            say(f"the older one stays: edgellm rm --older {model.name} frees {format_bytes(size)}")


def _suited(text: str, resolved: Resolved, config: Config) -> Candidate:
    """The quantization that `serve` would take on this machine. Raises DoesNotFit."""
    from edgellm.cli.flags.model_options import ModelOptions
    from edgellm.cli.preparing.planning import profiles_here
    from edgellm.cli.preparing.requested import RequestedModel
    from edgellm.selector.choose import choose

    if len(resolved.candidates) == 1:
        return resolved.candidates[0]
    goal = RequestedModel.of(text, config, ModelOptions()).settings.goal
    plan = choose(machine.look(), resolved.candidates, goal, profiles_here(), explained=False)
    return candidate_of(resolved.candidates, plan.file)
