"""Models as Ollama's clients see them: in the list, among those that are loaded, and one by itself.

What is not known is absent. Ollama's `digest` is that of a model's manifest. Ours is that of its
entry in the list, so it changes with the model: clients show its beginning, and some break without.
`expires_at` is when a model is unloaded if nobody asks for it; in the year 9999 where it never is.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from edgellm.chat.defaults import Defaults
from edgellm.errors import ModelNotFound
from edgellm.models.spec import ModelSpec
from edgellm.server.ollama.options import Options
from edgellm.server.ollama.wire import encode, stamp
from edgellm.server.served import Served
from edgellm.units import format_params

_NEVER = "9999-12-31T23:59:59Z"
_NS = 1_000_000_000
_CAPABILITIES = {"embedding": ("embedding",), "reranking": ("rerank",)}


class Details(msgspec.Struct, kw_only=True):
    parent_model: str = ""
    format: str = "gguf"
    family: str | UnsetType = UNSET
    families: list[str] | UnsetType = UNSET
    parameter_size: str | UnsetType = UNSET
    quantization_level: str
    context_length: int | UnsetType = UNSET  # that it was trained for
    embedding_length: int | UnsetType = UNSET


class Card(msgspec.Struct, kw_only=True):
    """In the list without the last three fields, which only a loaded model has."""

    name: str
    model: str
    modified_at: str | UnsetType = UNSET
    size: int | UnsetType = UNSET  # bytes: of its file, of a loaded one in memory
    digest: str
    details: Details
    capabilities: tuple[str, ...]
    expires_at: str | UnsetType = UNSET
    size_vram: int | UnsetType = UNSET
    context_length: int | UnsetType = UNSET  # of one conversation, as it is served


class Cards(msgspec.Struct):
    models: list[Card]


class Shown(msgspec.Struct, kw_only=True):
    modelfile: str
    parameters: str
    template: str
    system: str | UnsetType = UNSET
    license: str | UnsetType = UNSET
    details: Details
    model_info: dict[str, Any]
    capabilities: tuple[str, ...]
    modified_at: str | UnsetType = UNSET


def card(served: Served, name: str) -> Card:
    """`name`: the model's, or one of its adapters'."""
    parent = "" if name == served.name else served.name
    made = Card(
        name=tagged(name),
        model=tagged(name),
        modified_at=_modified_at(served),
        size=served.spec.file_bytes if served.spec else UNSET,
        digest="",
        details=msgspec.structs.replace(_details(served), parent_model=parent),
        capabilities=capabilities(served),
    )
    made.digest = hashlib.sha256(encode(made)).hexdigest()
    return made


def loaded(served: Served, now_ns: int) -> Card:
    """A loaded model's, with the memory that its plan gives it."""
    plan, lease = served.engine.plan, served.engine.lease
    left_s = lease.left_s if lease else None
    return msgspec.structs.replace(
        card(served, served.name),
        size=plan.total_bytes if plan.shares else UNSET,
        size_vram=sum(one.total_bytes for one in plan.shares[:-1]) if plan.shares else UNSET,
        expires_at=_NEVER if left_s is None else stamp(now_ns + round(left_s * _NS)),
        context_length=plan.n_ctx_seq,
    )


def shown(served: Served, asked_for: str) -> Shown:
    """Its parameters are those that clients look for: the context, stop strings, and the sampling
    of requests that say nothing of it. VS Code shows `general.basename` as a model's name: as in
    Ollama, that is the name by which it was asked for."""
    parameters = [f"{'num_ctx':<30} {served.engine.plan.n_ctx_seq}"]
    parameters += [f"{'stop':<30} {encode(word).decode()}" for word in served.template.stop]
    parameters += [f"{name:<30} {value}" for name, value in told_defaults(served.defaults)]
    lines = [
        f"FROM {served.file_name}",
        *(f"PARAMETER {' '.join(line.split(None, 1))}" for line in parameters),
    ]
    if served.defaults.system is not None:
        lines.append(f'SYSTEM """{served.defaults.system}"""')
    return Shown(
        modelfile="\n".join(lines) + "\n",
        parameters="\n".join(parameters),
        system=served.defaults.system or UNSET,
        template=served.template.source,
        license=(served.spec.license if served.spec else None) or UNSET,
        details=_details(served),
        model_info={
            "general.basename": asked_for or served.name,
            **(_info(served.spec, served.engine.plan.n_ctx_seq) if served.spec else {}),
        },
        capabilities=capabilities(served),
        modified_at=_modified_at(served),
    )


def told_defaults(defaults: Defaults) -> Iterator[tuple[str, str]]:
    """The defaults of the sampling that Ollama has, too: their names are the same."""
    known = set(Options.__struct_fields__)
    return ((k, f"{v:g}") for k, v in defaults.sampling.items() if k in known)


def capabilities(served: Served) -> tuple[str, ...]:
    """Any model is told of tools, in our own words if need be. "insert" is never among these: only
    the worker knows whether its model can fill in the middle."""
    if served.kind != "generative":
        return _CAPABILITIES[served.kind]
    vision = ("vision",) if served.takes("vision") else ()  # sound has no part in this API
    thinking = ("thinking",) if served.template.style else ()
    return ("completion", *vision, "tools", *thinking)


def tagged(name: str) -> str:
    """Ollama's names have a tag."""
    return name if ":" in name else f"{name}:latest"


def not_found(name: str, error: ModelNotFound) -> ModelNotFound:
    """In Ollama's words, which clients look for; the rest is ours."""
    asked = name if len(name) <= 80 else f"{name[:80]}…"
    _, _, there = str(error).partition(" is served here, but ")
    return ModelNotFound(
        f"model '{asked}' not found" + (f", served here: {there}" if there else ""),
        hint=error.hint,
        param="model",
    )


def _details(served: Served) -> Details:
    spec, ready = served.spec, served.engine.ready
    return Details(
        family=spec.architecture if spec else UNSET,
        families=[spec.architecture] if spec else UNSET,
        parameter_size=format_params(spec.n_params).replace(" ", "") if spec else UNSET,
        quantization_level=served.engine.plan.quant,
        context_length=UNSET if served.n_ctx_train is None else served.n_ctx_train,
        embedding_length=spec.n_embd if spec else ready.n_embd if ready else UNSET,
    )


def _info(spec: ModelSpec, n_ctx: int) -> dict[str, Any]:
    """Its header by the GGUF's keys, as far as that is kept; but the context is the one that is
    served, as llama-server tells it: agents fill what they read here."""
    arch = spec.architecture
    told: dict[str, Any] = {
        "general.architecture": arch,
        "general.parameter_count": spec.n_params,
        f"{arch}.context_length": n_ctx,
        f"{arch}.embedding_length": spec.n_embd,
        f"{arch}.block_count": spec.n_layers,
        f"{arch}.feed_forward_length": spec.n_ff,
        f"{arch}.attention.head_count": spec.n_head,
        f"{arch}.vocab_size": spec.n_vocab,
    }
    if spec.n_expert:
        told |= {
            f"{arch}.expert_count": spec.n_expert,
            f"{arch}.expert_used_count": spec.n_expert_used,
        }
    return told


def _modified_at(served: Served) -> str | UnsetType:
    return stamp(served.created * _NS) if served.created else UNSET
