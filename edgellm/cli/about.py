"""What `edgellm show` tells of a model, wherever it lies."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgellm.cli.output import say
from edgellm.cli.preparing.hubs import hub_of, located
from edgellm.cli.preparing.resolve import (
    DEMO,
    catalog_candidates,
    demo,
    is_demo,
    on_disk,
    resolve,
    stored_candidates,
)
from edgellm.cli.preparing.store import store_of
from edgellm.config import Config
from edgellm.errors import DoesNotFit, EdgellmError, NetworkError, Offline
from edgellm.files import path_of
from edgellm.models import local
from edgellm.models.elsewhere.reference import ElsewhereReference
from edgellm.models.hubs import address_of
from edgellm.models.labels import distinct_labels
from edgellm.models.names import CatalogReference, HubReference, PathReference, parse_reference
from edgellm.models.repo_files import ModelFiles, choose_files
from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Hardware
from edgellm.selector.plan import Candidate, Goal

if TYPE_CHECKING:
    from edgellm.models.gguf.header import GGUFHeader
    from edgellm.selector.profiles import Profiles

_WITHOUT_WISHES = Goal()


@dataclass(frozen=True, slots=True)
class About:
    """`has_template` None: nobody looked into a header yet."""

    name: str
    source: str
    spec: ModelSpec
    license: str | None
    has_template: bool | None
    template: str | None
    candidates: tuple[Candidate, ...]
    here: frozenset[str] = frozenset()  # quants and files that lie on this disk

    def as_json(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "name": self.name, "source": self.source, "license": self.license,
            "architecture": spec.architecture, "n_params": spec.n_params,
            "n_layers": spec.n_layers, "n_embd": spec.n_embd, "n_vocab": spec.n_vocab,
            "n_ctx_train": spec.n_ctx_train, "n_expert": spec.n_expert,
            "n_expert_used": spec.n_expert_used, "embedding": spec.is_embedding,
            "has_template": self.has_template,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuantRow:
    quant: str  # or its file, where no label tells it from others
    size_bytes: int
    bits_per_weight: float | None
    is_here: bool
    fits: bool
    decode_tok_s: float | None


def about(text: str, config: Config) -> About:
    """Raises BadRequest, ModelNotFound, BadGGUF, NetworkError."""
    reference = parse_reference(text)
    if is_demo(reference):
        return _of_file(Path(demo().candidates[0].file), DEMO)
    match reference:
        case PathReference(path):
            return _of_file(path_of(path))
        case ElsewhereReference():
            return _of_another_tool(reference, config)
        case CatalogReference():
            return _of_catalog(reference, config)
        case HubReference():
            return _of_hub(located(reference, config), config)


def quant_rows(
    told: About, hardware: Hardware, goal: Goal = _WITHOUT_WISHES
) -> tuple[QuantRow, ...]:
    """Each quantization as it would run on this machine, the largest first."""
    from edgellm.cli.preparing.planning import profiles_here

    rows, profiles = [], profiles_here()
    by_size = sorted(told.candidates, key=lambda one: -one.file_bytes)
    labels = distinct_labels([(one.quant, Path(one.file).name) for one in by_size])
    for one, label in zip(by_size, labels, strict=True):
        fits, pace = pace_of(one, hardware, goal, profiles)
        bits = 8 * one.file_bytes / one.spec.n_params if one.spec.n_params else None
        rows.append(QuantRow(label, one.file_bytes, bits, label in told.here, fits, pace))
    return tuple(rows)


def pace_of(
    candidate: Candidate, hardware: Hardware, goal: Goal, profiles: "Profiles"
) -> tuple[bool, float | None]:
    """Whether it fits, and the tok/s of one stream that are expected then."""
    from edgellm.selector.choose import choose

    try:
        rate = choose(hardware, (candidate,), goal, profiles, explained=False).decode_tok_s
    except DoesNotFit:
        return False, None
    return True, rate.p50 if rate else None


def _of_file(path: Path, name: str | None = None) -> About:
    header = local.read_header(path)
    (candidate,) = on_disk(path, name).candidates
    return About(
        name=candidate.name,
        source="ships with edgellm" if name == DEMO else str(path),
        spec=candidate.spec,
        license=license_of(header),
        has_template=header.chat_template is not None,
        template=header.chat_template,
        candidates=(candidate,),
        here=frozenset({candidate.quant}),
    )


def _of_another_tool(reference: ElsewhereReference, config: Config) -> About:
    candidates = resolve(reference.text, config).candidates
    told = _of_file(Path(candidates[0].file), reference.text)
    here = (word for one in candidates for word in (one.quant, Path(one.file).name))
    return replace(told, candidates=candidates, here=frozenset(here))


def _of_catalog(reference: CatalogReference, config: Config) -> About:
    """By the catalog's row; what of it is here tells more."""
    from edgellm.models.known import catalog

    entry = catalog.find(reference.name)
    here = _here(HubReference(entry.repo), config) if entry.repo else ()
    planned = catalog_candidates(entry, reference.quant)
    if not planned:
        return _of_hub(located(catalog.hub_reference(reference), config), config)
    stored = {one.quant: one for one in here}
    told = About(
        name=entry.name,
        source=catalog.source_of(entry, config.hub),
        spec=planned[0].spec,
        license=entry.license,
        has_template=None,
        template=None,
        candidates=tuple(stored.get(one.quant, one) for one in planned),
        here=frozenset(stored),
    )
    return _with_header(told, local.read_header(Path(here[0].file))) if here else told


def _of_hub(reference: HubReference, config: Config) -> About:
    """One header is read, the default's; the others are told by their names and sizes."""
    here = _here(reference, config)
    try:
        told = _online(reference, config)
    except NetworkError as error:
        if not here:
            raise
        if not isinstance(error, Offline):
            say(f"{error}: here is what lies on this disk")
        told = _of_file(Path(here[0].file), here[0].name)
        told = replace(told, candidates=here, source=here[0].source)
    files = (Path(one.file).name for one in here)
    return replace(told, here=frozenset([*(one.quant for one in here), *files]))


def _online(reference: HubReference, config: Config) -> About:
    from edgellm.models.fetching.remote import read_remote_header
    from edgellm.models.spec import model_spec

    hub = hub_of(reference, config)
    repository = hub.list_files(reference.repo, reference.revision)
    chosen = choose_files(repository.listing, reference.quant, reference.file)
    headers = [read_remote_header(hub, file) for file in chosen.files]
    name = address_of(reference.repo, reference.hub)
    spec = model_spec(headers, name, chosen.label)
    told = About(
        name=name,
        source=f"{name} at {repository.commit[:12]}",
        spec=spec,
        license=repository.license,
        has_template=None,
        template=None,
        candidates=tuple(
            _scaled(model, spec, chosen)
            for model in repository.listing.models
            if not model.missing and not model.unservable
        ),
    )
    return _with_header(told, headers[0])


def _scaled(model: ModelFiles, spec: ModelSpec, read: ModelFiles) -> Candidate:
    """The model that was read, every weight as large as this file says: near enough to show."""
    ratio = model.size_bytes / max(1, read.size_bytes)
    layers = tuple(
        replace(
            layer,
            weight_bytes=int(layer.weight_bytes * ratio),
            expert_bytes=int(layer.expert_bytes * ratio),
        )
        for layer in spec.layers
    )
    scaled = replace(
        spec,
        layers=layers,
        input_bytes=int(spec.input_bytes * ratio),
        output_bytes=int(spec.output_bytes * ratio),
        file_bytes=model.size_bytes,
        quant=model.quant,
    )
    return Candidate(spec.name, model.files[0].path, model.quant, scaled, model.size_bytes)


def _here(reference: HubReference, config: Config) -> tuple[Candidate, ...]:
    try:
        return stored_candidates(store_of(config).of(reference))
    except EdgellmError:
        return ()


def _with_header(told: About, header: "GGUFHeader") -> About:
    return replace(
        told,
        license=license_of(header) or told.license,
        has_template=header.chat_template is not None,
        template=header.chat_template,
    )


def license_of(header: "GGUFHeader") -> str | None:
    """The short name, and where its text is, if the file says so."""
    words = [header.license, header.text("general.license.name")]
    link = header.text("general.license.link")
    named = next((word for word in words if word and word != "other"), words[0])
    return f"{named} ({link})" if named and link else named or link
