"""The models that we know by name: profiles/models/*.toml.

A row states where the files are, under which licence, and the model's true shape, so that a plan
needs neither network nor download. The bytes come from shape and mix rules, not from a table of
sizes; the plan made from the real header replaces them before anything is loaded.
"""

import dataclasses
import difflib
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Annotated

import msgspec

from edgellm.errors import ConfigError, ModelNotFound
from edgellm.models.gguf.header import GGUFHeader
from edgellm.models.gguf.loadable import LOADABLE
from edgellm.models.hubs import DEFAULT_HUB, HubName, address_of
from edgellm.models.known.mix import MIXES
from edgellm.models.known.shape import Shape
from edgellm.models.known.shapes import shape_header
from edgellm.models.names import CatalogReference, HubReference
from edgellm.models.spec import ModelSpec, model_spec
from edgellm.resources import profiles_dir

_COMPUTABLE_FIRST = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    name: str  # "qwen3:8b"
    repo: str | None  # on the hub: "Qwen/Qwen3-8B-GGUF"; None where none is known
    license: str
    quants: tuple[str, ...]  # best first; what to plan with before the repository was asked
    shape: Shape
    n_params: int | None  # as published
    released: str  # by its makers: "2025-04"
    is_base: bool  # it continues texts, and was not taught to answer
    source: str
    date: str

    def __hash__(self) -> int:
        """A shape has tables, which have none."""
        return hash(self.name)

    @property
    def family(self) -> str:
        return self.name.partition(":")[0]

    @property
    def n_active_params(self) -> int | None:
        """Those that one token uses: all but the experts that are not asked."""
        shape = self.shape
        if self.n_params is None:
            return None
        n_blocks = sum(shape.has_experts(il) for il in range(shape.n_layers))
        idle = n_blocks * (shape.n_expert - shape.n_expert_used)
        return self.n_params - idle * 3 * shape.n_embd * shape.n_ff_expert

    @property
    def is_servable(self) -> bool:
        """Whether llama.cpp knows the architecture. What it doesn't can still be planned for."""
        return self.shape.architecture in LOADABLE


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tag: str
    shape: Shape
    source: str
    date: str
    repo: str | None = None
    license: str | None = None  # where it isn't the family's
    quants: tuple[str, ...] = _COMPUTABLE_FIRST
    n_params: int | None = None
    released: str | None = None  # the same
    is_base: bool = False


class _Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    family: str
    default: str  # the tag that the bare family name means
    license: str
    released: Annotated[str, msgspec.Meta(pattern=r"^20\d\d-(0[1-9]|1[0-2])$")]
    model: tuple[_Row, ...]
    is_base: bool = False


@cache
def load_catalog() -> tuple[CatalogEntry, ...]:
    """Every model, families in alphabetical order. Raises ConfigError naming the file."""
    return tuple(entry for stem in _files() for entry in _entries(_family(stem)))


_WHERE = "edgellm recommend --all lists what fits here; any hf.co/ORG/REPO works, too"


def find(name: str) -> CatalogEntry:
    """By "qwen3:8b", or by "qwen3" for the family's default. Raises ModelNotFound."""
    stem = name.partition(":")[0]
    if stem in _files():  # the others need not be read
        family = _family(stem)
        wanted = f"{stem}:{family.default}" if name == stem else name
        for entry in _entries(family):
            if entry.name == wanted:
                return entry
    known = [*(entry.name for entry in load_catalog()), *_files()]
    near = difflib.get_close_matches(name, known, n=3)
    raise ModelNotFound(
        f"the catalog has no {name!r}",
        hint=f"did you mean {', '.join(near)}?" if near else _WHERE,
    )


def names_in(repo: str) -> tuple[str, ...]:
    """Of the models that come from this repository. Raises ConfigError."""
    wanted = repo.lower()
    return tuple(one.name for one in load_catalog() if one.repo and one.repo.lower() == wanted)


def names(beginning: str) -> tuple[str, ...]:
    """What a name that begins so may become: families, and models where it is only one family.

    One file at most is read. Raises ConfigError.
    """
    stem = beginning.partition(":")[0]
    families = [one for one in _files() if one.startswith(stem)]
    if ":" in beginning or len(families) == 1:
        named = [one for one in families if ":" not in beginning or one == stem]
        models = [entry.name for one in named for entry in _entries(_family(one))]
        return tuple(name for name in models if name.startswith(beginning))
    return tuple(families)


@lru_cache(maxsize=128)
def model(entry: CatalogEntry, quant: str) -> tuple[GGUFHeader, ModelSpec]:
    """The header as llama-quantize would make it, without vocabulary (some MiB), and what it says.

    Raises BadRequest for a mix whose rules aren't public ("UD-Q4_K_XL"). Asked twice it is one
    object: the arithmetic's caches go by it, and comparing two that are equal is slow.
    """
    header = shape_header(entry.shape, _mix(quant))
    made = model_spec([header], entry.name, quant)
    return header, dataclasses.replace(made, license=entry.license)


def spec(entry: CatalogEntry, quant: str) -> ModelSpec:
    return model(entry, quant)[1]


def hub_reference(reference: CatalogReference) -> HubReference:
    """Where a catalog name's files are. Raises ModelNotFound, also where nobody has any."""
    entry = find(reference.name)
    if entry.repo is None:
        raise ModelNotFound(
            f"no repository has {entry.name} as GGUF, as far as the catalog knows",
            hint=f"edgellm plan {entry.name} still says what it would take",
        )
    return HubReference(entry.repo, reference.quant)


def plannable_quants(entry: CatalogEntry, wished: str | None = None) -> tuple[str, ...]:
    """Those of its quants that `spec` can compute; or the wished one, whoever has published it."""
    quants = entry.quants if wished is None else (wished,)
    return tuple(quant for quant in quants if _mix(quant) in MIXES)


def source_of(entry: CatalogEntry, hub: HubName = DEFAULT_HUB) -> str:
    return address_of(entry.repo, hub) if entry.repo else "the catalog"


def _mix(quant: str) -> str:
    return "MXFP4_MOE" if quant == "MXFP4" else quant  # publishers drop the suffix


def _files() -> tuple[str, ...]:
    """A family's file bears its name."""
    return tuple(path.stem for path in sorted((profiles_dir() / "models").glob("*.toml")))


@cache
def _family(stem: str) -> _Family:
    path = profiles_dir() / "models" / f"{stem}.toml"
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_Family)
    except (msgspec.DecodeError, OSError) as error:
        raise ConfigError(f"profiles/models/{path.name}: {error}") from error


def _entries(family: _Family) -> tuple[CatalogEntry, ...]:
    return tuple(
        CatalogEntry(
            name=f"{family.family}:{row.tag}",
            repo=row.repo,
            license=row.license or family.license,
            quants=row.quants,
            shape=row.shape,
            n_params=row.n_params,
            released=row.released or family.released,
            is_base=row.is_base or family.is_base,
            source=row.source,
            date=row.date,
        )
        for row in family.model
    )
