"""What a bundle's models would do on this machine, before they are imported: a bundle is a hub, so
their headers are read from it by range."""

from collections.abc import Iterator, Sequence

from edgellm.cli.about import pace_of
from edgellm.cli.flags.pins import Pins
from edgellm.cli.preparing import machine
from edgellm.cli.preparing.planning import profiles_here
from edgellm.config import Config
from edgellm.errors import BadGGUF
from edgellm.models.bundles.hub import BundleHub
from edgellm.models.bundles.manifest import BundledModel
from edgellm.models.bundles.reading import Bundle
from edgellm.models.fetching.remote import Headers, read_remote_headers
from edgellm.models.repo_files import sidecar_kind
from edgellm.models.spec import model_spec
from edgellm.selector.plan import Candidate
from edgellm.values import frozen


@frozen
class Outlook:
    """`fits` None: nobody can tell, as of what passes by in a pipe or is no model."""

    fits: bool | None = None
    decode_tok_s: float | None = None


def outlooks(bundle: Bundle, models: Sequence[BundledModel], config: Config) -> tuple[Outlook, ...]:
    """Raises BadBundle, StorageError, DeadlinePassed."""
    if bundle.source.is_passing:
        return (Outlook(),) * len(models)
    return tuple(_outlooks(bundle, models, config))


def _outlooks(bundle: Bundle, models: Sequence[BundledModel], config: Config) -> Iterator[Outlook]:
    """Each model by itself: files of two repositories may have one name, and nothing in common."""
    goal, profiles, hardware = Pins().goal(config.reserve), profiles_here(), machine.recall()
    hub = BundleHub(bundle)
    for model in models:
        (headers,) = read_remote_headers(hub, (model.model,))
        try:
            if isinstance(headers, BadGGUF):
                raise headers
            yield Outlook(*pace_of(_candidate(model, headers), hardware, goal, profiles))
        except BadGGUF:
            yield Outlook()


def _candidate(model: BundledModel, headers: Headers) -> Candidate:
    """Raises BadGGUF."""
    files = model.model
    eyes = next((one for one in model.beside if sidecar_kind(one.path) == "projector"), None)
    return Candidate(
        name=model.name,
        file=files.files[0].path,
        quant=model.quant,
        spec=model_spec(headers, model.name, files.label),
        file_bytes=files.size_bytes,
        headers=headers,
        projector=eyes,
        projector_bytes=eyes.size_bytes if eyes else 0,
    )
