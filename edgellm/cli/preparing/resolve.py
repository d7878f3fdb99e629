"""From the name that a user typed to candidates that the selector can choose from.

    demo                     the model that ships with edgellm
    ./x.gguf                 a file, served where it lies
    ollama:qwen3:8b          what another tool has, served where it lies
    org/repo[:QUANT]         what of it lies on this disk; else the hub's files, by their headers
    qwen3:8b                 the same repository by the catalog's name; planned without network

What is already on this disk is never downloaded again and never asked the hub for.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from edgellm import resources
from edgellm.cli.preparing.hubs import hub_of, located
from edgellm.cli.preparing.store import store_of
from edgellm.cli.preparing.twins import twin
from edgellm.cli.preparing.vocabularies import remembered
from edgellm.config import Config
from edgellm.errors import BadGGUF, BadRequest, EdgellmError, ModelNotFound, NetworkError
from edgellm.files import path_of
from edgellm.models import local
from edgellm.models.elsewhere.reference import ElsewhereReference
from edgellm.models.gguf.values import FETCH_AGAIN
from edgellm.models.hubs import address_of
from edgellm.models.names import (
    CatalogReference,
    HubReference,
    PathReference,
    Reference,
    parse_reference,
)
from edgellm.models.repo_files import ModelFiles, RepoFile, choose_files
from edgellm.selector.plan import Candidate
from edgellm.units import parse_bytes
from edgellm.values import frozen

if TYPE_CHECKING:
    from edgellm.cli.preparing.model_settings import ModelSettings
    from edgellm.models.elsewhere.found import FoundModel
    from edgellm.models.fetching.download import Progress
    from edgellm.models.fetching.hub import Hub, Repository
    from edgellm.models.known.catalog import CatalogEntry
    from edgellm.models.stored import StoredModel
    from edgellm.runner.adapters import Adapter

DEMO = "demo"

Fetch = Callable[[Candidate, "Progress"], Path]


def _lies_here(wanted: Candidate, progress: "Progress") -> Path:
    return Path(wanted.file)


@frozen
class Resolved:
    """`fetch` brings a candidate's file to this disk, if it isn't there, and says where it lies."""

    name: str
    candidates: tuple[Candidate, ...]
    fetch: Fetch = _lies_here
    is_local: bool = True
    projector: Path | None = None  # the user's own; else one that lies beside the model is used
    no_projector: bool = False  # none is to be used
    pooling: str | None = None  # asked for; None: what the file says
    adapters: "tuple[Adapter, ...]" = ()  # to be loaded with the model
    draft: "Resolved | None" = None  # a smaller model that guesses for it
    settings: "ModelSettings | None" = None  # None: as whoever plans it says of all models


def resolve(text: str, config: Config, *, plan_only: bool = False) -> Resolved:
    """Raises BadRequest, ModelNotFound, BadGGUF, NetworkError, StorageError.

    With `plan_only` a catalog name is answered from the catalog, without network.
    """
    with remembered():
        return _resolved(text, config, plan_only)


def _resolved(text: str, config: Config, plan_only: bool) -> Resolved:
    reference = parse_reference(text)
    if is_demo(reference):
        return demo(reference.quant)
    if isinstance(reference, PathReference):
        return on_disk(path_of(reference.path))
    if isinstance(reference, ElsewhereReference):
        return _elsewhere(reference)
    try:
        if isinstance(reference, CatalogReference):
            return _in_catalog(reference, config, plan_only)
        return _stored(reference, config) or _on_hub(located(reference, config), config)
    except (ModelNotFound, NetworkError) as error:
        if os.path.isfile(text):  # noqa: PTH113 - see on_disk
            error.hint = f"the file of that name is ./{text}"
        else:
            error.hint = "; ".join(filter(None, (twin(text), error.hint)))
        raise


def resolve_anywhere(text: str, config: Config) -> Resolved:
    """Whichever quantization there is of a repository, here or not; what is here alone, where the
    hub can't be asked. Raises as `resolve` does."""
    try:
        with remembered():
            return _on_hub(located(hub_reference_of(parse_reference(text)), config), config)
    except NetworkError:
        return resolve(text, config)


def is_demo(reference: Reference) -> TypeGuard[CatalogReference]:
    return isinstance(reference, CatalogReference) and reference.name == DEMO  # Demo, demo:latest


def demo(quant: str | None = None) -> Resolved:
    """Raises ModelNotFound for another quantization than the one that ships."""
    ships = on_disk(resources.demo_model(), DEMO)
    (one,) = ships.candidates
    if quant not in (None, one.quant):
        raise ModelNotFound(f"{DEMO} ships as {one.quant} alone", hint=f"edgellm run {DEMO}")
    return ships


def on_disk(path: Path, name: str | None = None, quant: str | None = None) -> Resolved:
    """A file is served where it lies. Raises ModelNotFound, StorageError, BadGGUF."""
    if not os.path.exists(path):  # noqa: PTH110 - which raises where a name is too long
        raise ModelNotFound(f"there is no file {path}", hint="edgellm list shows what is here")
    headers, spec = local.read_model(path)
    if name and path.suffix != ".gguf":  # a blob, which is called by its digest
        spec = replace(spec, name=name)
    path = local.shards(path)[0]  # whichever part was named: llama.cpp begins with the first
    candidate = Candidate(
        name=name or local.model_name(path),
        file=str(path),
        quant=quant or spec.quant,
        spec=spec,
        file_bytes=spec.file_bytes,
        source=str(path.parent),
        headers=headers,
        projector=local.projector_beside(path),
    )
    return Resolved(candidate.name, (candidate,))


def hub_reference_of(reference: Reference) -> HubReference:
    """Where the files of a name come from. Raises BadRequest for a path: it comes from nowhere."""
    match reference:
        case HubReference():
            return reference
        case CatalogReference():
            from edgellm.models.known import catalog

            return catalog.hub_reference(reference)
        case ElsewhereReference():
            raise BadRequest(
                f"{reference.text} is {reference.title}'s: it is served where it lies",
                hint=f"edgellm serve {reference.text}",
            )
        case PathReference(path):
            raise BadRequest(
                f"{path} is a file of yours: edgellm serves it where it lies",
                hint="name a repository (org/repo) or a catalog name (qwen3:8b)",
            )


def stored_candidates(
    models: "Iterable[StoredModel]", name: str | None = None
) -> tuple[Candidate, ...]:
    """Files of the store that can be read. A broken one costs itself only."""
    found = []
    for model in models:
        try:
            resolved = on_disk(model.path, name or model.name, model.quant)
        except EdgellmError:
            continue
        found.append(replace(resolved.candidates[0], source=address_of(model.repo, model.hub)))
    return tuple(found)


def found_candidates(models: "Iterable[FoundModel]") -> tuple[Candidate, ...]:
    """The same of what other tools have."""
    found = []
    for model in models:
        with contextlib.suppress(EdgellmError):
            found.append(found_candidate(model))
    return tuple(found)


def found_candidate(model: "FoundModel") -> Candidate:
    """By its own header, through the projector that the tool has for it. Raises ModelNotFound,
    StorageError, BadGGUF."""
    from edgellm.models.elsewhere.tools import check_servable, removal_of

    try:
        (one,) = on_disk(model.path, model.name, model.quant).candidates
    except BadGGUF as error:
        told, again = str(error).removeprefix(f"{model.path.name}: "), error.hint
        if again == FETCH_AGAIN:
            again = f"{removal_of(model.reference)}, then fetch it again"
        raise BadGGUF(f"{model.name}: {told}", hint=again) from error
    check_servable(model, one.headers)
    beside = model.projector
    projector = RepoFile(str(beside), beside.stat().st_size) if beside else None
    return replace(one, projector=projector, source=str(model.path))


def _elsewhere(reference: ElsewhereReference) -> Resolved:
    """Raises ModelNotFound, StorageError, BadGGUF, BadRequest."""
    from edgellm.models.elsewhere.tools import found_by

    models = found_by(reference)
    candidates = found_candidates(models) or (found_candidate(models[0]),)
    return Resolved(reference.text, candidates)


def _stored(reference: HubReference, config: Config, name: str | None = None) -> Resolved | None:
    """What of the reference lies on this disk; None: nothing."""
    store = store_of(config)
    if reference.quant or reference.file:
        path = store.find(reference)
        if path is None:
            return None
        address = store.address(reference.repo, path)
        shown = name or address + (f":{reference.quant}" * bool(reference.quant))
        return _one_stored(path, shown, address, reference)
    candidates = stored_candidates(store.of(reference), name)
    if not candidates:
        return None
    return Resolved(name or candidates[0].source, candidates)


def _one_stored(path: Path, shown: str, address: str, reference: HubReference) -> Resolved:
    """What was cut here is not fetched again while it is here: `rm` takes it away."""
    try:
        return on_disk(path, shown, reference.quant)
    except BadGGUF as error:
        if error.hint == FETCH_AGAIN:
            written = f"/{reference.file}" if reference.file else f":{reference.quant}"
            error.hint = f"edgellm rm {address}{written}, then pull it again"
        raise


def _on_hub(reference: HubReference, config: Config) -> Resolved:
    """Every quantization of the repository, or the one that was named, by its real header."""
    hub = hub_of(reference, config)
    repository = hub.list_files(reference.repo, reference.revision)
    models = _wanted(repository, reference)
    candidates = _remote_candidates(hub, repository, models)

    def fetch(wanted: Candidate, progress: "Progress") -> Path:
        chosen = choose_files(repository.listing, file=wanted.file)
        return fetch_files(hub, repository, chosen, config, progress, wanted.projector)

    name = address_of(reference.repo, reference.hub)
    return Resolved(name, candidates, fetch, is_local=False)


def _in_catalog(reference: CatalogReference, config: Config, plan_only: bool) -> Resolved:
    from edgellm.models.known import catalog

    entry = catalog.find(reference.name)
    if entry.repo is None and plan_only:
        candidates = catalog_candidates(entry, reference.quant)
        if candidates:
            return Resolved(entry.name, candidates, _not_to_be_fetched, is_local=False)
    where = located(catalog.hub_reference(reference), config)
    name = f"{entry.name}-{reference.quant.lower()}" if reference.quant else entry.name
    here = _stored(where, config, name)
    if here:
        return here
    candidates = tuple(
        replace(one, name=name) for one in catalog_candidates(entry, reference.quant)
    )
    if not candidates:
        return _by_its_header(where, entry, config)
    if plan_only:
        return Resolved(name, candidates, _not_to_be_fetched, is_local=False)
    hub = hub_of(where, config)
    repository = hub.list_files(where.repo, where.revision)
    there = {model.quant for model in repository.listing.models}
    both = tuple(
        _with_projector(candidate, repository)
        for candidate in candidates
        if candidate.quant in there
    )

    def fetch(wanted: Candidate, progress: "Progress") -> Path:
        chosen = choose_files(repository.listing, wanted.quant)
        return fetch_files(hub, repository, chosen, config, progress, wanted.projector)

    if not both:
        return _on_hub(where, config)
    return Resolved(name, both, fetch, is_local=False)


def _by_its_header(where: HubReference, entry: "CatalogEntry", config: Config) -> Resolved:
    """A mix whose rules aren't public, or none at all. Raises as `resolve` does."""
    from edgellm.models.known import catalog

    try:
        return _on_hub(where, config)
    except NetworkError as error:
        known = f"known of {entry.name} are {', '.join(catalog.plannable_quants(entry))}"
        error.hint = f"{known}, and {where.quant} has to be looked for; {error.hint}"
        raise


def catalog_candidates(entry: "CatalogEntry", quant: str | None = None) -> tuple[Candidate, ...]:
    """By the model's published shape and the mixes' rules: no network, no file."""
    from edgellm.models.known import catalog

    found = []
    source = catalog.source_of(entry)
    for label in catalog.plannable_quants(entry, quant):
        header, spec = catalog.model(entry, label)
        file = f"{source}:{label}"
        found.append(Candidate(entry.name, file, label, spec, spec.file_bytes, source, (header,)))
    return tuple(found)


def _wanted(repository: "Repository", reference: HubReference) -> Sequence[ModelFiles]:
    if reference.quant or reference.file:
        return (choose_files(repository.listing, reference.quant, reference.file),)
    choose_files(repository.listing)  # raises ModelNotFound, with the reason, when there is none
    return tuple(
        model for model in repository.listing.models if not model.missing and not model.unservable
    )


def _remote_candidates(
    hub: "Hub", repository: "Repository", models: Sequence[ModelFiles]
) -> tuple[Candidate, ...]:
    """A file that is no model costs itself only. Raises BadGGUF when none is one."""
    from edgellm.models.fetching.remote import read_remote_headers
    from edgellm.models.spec import model_spec

    found, faults = [], []
    source = address_of(repository.repo, repository.hub)
    for model, headers in zip(models, read_remote_headers(hub, models), strict=True):
        label = model.label
        name = f"{source}:{label}" if label else source
        try:
            if isinstance(headers, BadGGUF):
                raise headers
            spec = model_spec(headers, name, label)
        except BadGGUF as fault:
            faults.append(fault)
            continue
        path, size_bytes = model.files[0].path, model.size_bytes
        candidate = Candidate(name, path, model.quant, spec, size_bytes, source, headers)
        beside = repository.listing.projector(path)
        found.append(_beside(candidate, beside))
    if not found:
        raise faults[0]
    return tuple(found)


def _with_projector(candidate: Candidate, repository: "Repository") -> Candidate:
    chosen = choose_files(repository.listing, candidate.quant)
    return _beside(candidate, repository.listing.projector(chosen.files[0].path))


def _beside(candidate: Candidate, projector: RepoFile | None) -> Candidate:
    """Its file's size is nearly what it takes; its header is read when it is here."""
    if projector is None:
        return candidate
    return replace(candidate, projector=projector, projector_bytes=projector.size_bytes)


def fetch_files(
    hub: "Hub",
    repository: "Repository",
    model: ModelFiles,
    config: Config,
    progress: "Progress",
    projector: RepoFile | None,
) -> Path:
    from edgellm.models.fetching.policy import DownloadPolicy

    rate = parse_bytes(config.limit_rate) if config.limit_rate else None
    return store_of(config).fetch(
        hub,
        repository,
        model,
        policy=DownloadPolicy(limit_rate_bytes_s=rate),
        progress=progress,
        beside=(projector,) if projector else (),
    )


def _not_to_be_fetched(wanted: Candidate, progress: "Progress") -> Path:
    raise ModelNotFound(f"{wanted.name} was only planned", hint=f"edgellm pull {wanted.name}")
