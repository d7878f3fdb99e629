"""`edgellm pull`, `list`, `show` and `rm`: models on this disk and on the hub."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import completing, options
from edgellm.units import DASH, format_bytes, format_params, format_rate

if TYPE_CHECKING:
    from edgellm.cli.about import About, QuantRow
    from edgellm.errors import BadRequest
    from edgellm.models.elsewhere.reference import ElsewhereReference
    from edgellm.models.names import HubReference
    from edgellm.models.store import Store
    from edgellm.models.stored import PartialDownload

_A_DOWNLOAD = "A repository (org/repo[:QUANT]) or a catalog name (qwen3:8b)."
DownloadArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help=_A_DOWNLOAD, autocompletion=completing.in_catalog),
]
DownloadedArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help=_A_DOWNLOAD, autocompletion=completing.downloaded),
]


@dataclass(frozen=True, slots=True)
class _Listed:
    """A line of `list`. Without a repository it ships with edgellm, or is another tool's."""

    name: str
    repo: str | None
    quant: str | None
    path: Path
    size_bytes: int
    done_bytes: int
    modified_at_s: float | None = None
    older_bytes: int = 0  # of what a newer commit has replaced
    tool: str | None = None  # whose it is: "ollama"; None: it lies in Hugging Face's cache

    def cells(self) -> tuple[str, str, str]:
        from edgellm.models.repo_files import sidecar_kind

        size = format_bytes(self.size_bytes)
        if self.done_bytes < self.size_bytes:
            done = format_bytes(self.done_bytes)
            what = "its model" if sidecar_kind(self.name) == "projector" else "it"
            return self.name, f"{done} of {size}", f"not whole: pull {what} again"
        if self.modified_at_s is None:
            return self.name, size, "ships with edgellm"
        when = datetime.fromtimestamp(self.modified_at_s).strftime("%Y-%m-%d %H:%M")
        return self.name, size, when


def pull(
    model: DownloadArgument,
    limit_rate: options.LimitRate = None,
    offline: options.Offline = False,
) -> None:
    """Download a model, or bring one that is here up to date.

    It goes into Hugging Face's cache, where other tools find it too. A download that was
    interrupted goes on from there. Without a QUANT it is the one that suits this machine. Every
    file's sha256 is checked; the file's path is printed. What a newer commit replaces stays until
    `edgellm rm --older`. Where Hugging Face can't be reached: HF_ENDPOINT names a mirror of it,
    EDGELLM_HUB=modelscope asks ModelScope instead.

    \b
      edgellm pull qwen3:8b
      edgellm pull unsloth/Qwen3-8B-GGUF:Q5_K_M --limit-rate 20MiB/s
      edgellm pull modelscope.cn/Qwen/Qwen3-8B-GGUF
      HF_TOKEN=… edgellm pull org/private
    """
    from edgellm.cli.output import say
    from edgellm.cli.preparing.fetching import fetch_model

    config = options.config_from(limit_rate=limit_rate, offline=offline)
    if not config.offline:  # a hub that takes the question and never answers is asked for a minute
        say(f"looking for {model} …")
    print(fetch_model(model, config))


def list_models(as_json: options.AsJSON = False) -> None:
    """List the models on this disk.

    Also those that other tools put into Hugging Face's cache, and those of Ollama, LM Studio,
    llama.cpp, Jan and GPT4All, which are served where they lie: ollama:qwen3:8b. Unfinished
    downloads are listed, too: their `done_bytes` are less than their `size_bytes`.

    \b
      edgellm list
      edgellm list --json | jq '.[].name'
    """
    from edgellm.cli.output import columns, print_json, row_columns
    from edgellm.cli.preparing.store import store_of
    from edgellm.models.elsewhere.tools import unreadable_stores
    from edgellm.tables import fitting, wrapped

    config = options.config_from()
    listed = [*_listed(store_of(config))]
    if as_json:
        print_json(listed)
        return
    rows = [one.cells() for one in listed]
    headings = "NAME", "SIZE", "MODIFIED"
    print(fitting(headings, rows, columns=row_columns(), right="SIZE", above=True))
    for one in listed:
        if one.older_bytes:
            size = format_bytes(one.older_bytes)
            said = f"edgellm rm --older {one.name} frees {size}, replaced by a newer commit"
            print("", *wrapped(said, columns()), sep="\n")
    if len(rows) == 1:
        print("\nonly the demo; `edgellm recommend` names models, `edgellm pull MODEL` gets one")
    for store in unreadable_stores():
        said = f"{store.title}'s models are not shown, {store.path} may not be read: {store.hint}"
        print("", *wrapped(said, columns()), sep="\n")


def show(
    model: options.ModelArgument,
    as_json: options.AsJSON = False,
    template: Annotated[
        bool, typer.Option("--template", help="Print the chat template and nothing else.")
    ] = False,
    offline: options.Offline = False,
) -> None:
    """Show a model: size, licence, template, quantizations.

    TOK/S is what this machine is expected to write with it, for one stream.

    \b
      edgellm show qwen3:8b
      edgellm show unsloth/Qwen3-8B-GGUF
      edgellm show ./model.gguf --json
    """
    from edgellm.cli.about import about, quant_rows
    from edgellm.cli.flags.pins import Pins
    from edgellm.cli.output import print_json
    from edgellm.cli.preparing import machine
    from edgellm.errors import ModelNotFound

    config = options.config_from(offline=offline)
    told = about(model, config)
    if template:
        if told.template is None:
            raise ModelNotFound(f"the chat template of {told.name} is not known here")
        from edgellm.harmless import prose

        print(prose(told.template) if sys.stdout.isatty() else told.template)
        return
    rows = quant_rows(told, machine.look(), Pins().goal(config.reserve))
    if as_json:
        print_json({"model": told.as_json(), "quants": rows})
        return
    print("\n".join(_about_lines(told)))
    print()
    print(_quant_table(rows))


def rm(
    model: DownloadedArgument,
    older: Annotated[
        bool, typer.Option("--older", help="Only what a newer commit has replaced of it.")
    ] = False,
) -> None:
    """Remove a downloaded model.

    Or what is left of an unfinished download.

    \b
      edgellm rm qwen3:8b
      edgellm rm --older qwen3:8b
      edgellm rm unsloth/Qwen3-8B-GGUF:Q5_K_M
    """
    from edgellm.cli.preparing.resolve import hub_reference_of, is_demo
    from edgellm.cli.preparing.store import store_of
    from edgellm.errors import BadRequest
    from edgellm.models.elsewhere.reference import ElsewhereReference
    from edgellm.models.names import parse_reference

    named = parse_reference(model)
    if is_demo(named):
        raise BadRequest("demo ships with edgellm and is not removed", hint="edgellm list")
    if isinstance(named, ElsewhereReference):
        raise _not_ours(named)
    reference = hub_reference_of(named)
    store = store_of(options.config_from())
    if older:
        print(_rid_of_older(model, store, reference))
        return
    _check_unserved(model, store.places(reference))
    print(f"removed {model}: {format_bytes(store.remove(reference))} are free again")


def _not_ours(reference: "ElsewhereReference") -> "BadRequest":
    from edgellm.errors import BadRequest
    from edgellm.models.elsewhere.tools import removal_of

    return BadRequest(
        f"{reference.text} is {reference.title}'s, whose files are only read here",
        hint=removal_of(reference),
    )


def _rid_of_older(model: str, store: "Store", reference: "HubReference") -> str:
    """What is told of it. Raises BadRequest, ModelNotFound, StorageError."""
    places = store.older(reference)
    if not places:
        return f"there is nothing older of {model}"
    _check_unserved(model, places)
    freed = format_bytes(store.remove_older(reference))
    return f"removed what was older of {model}: {freed} are free again"


def _check_unserved(model: str, places: Sequence[Path]) -> None:
    """By a server of this machine: one that EDGELLM_HOST names elsewhere has files of its own.

    Raises BadRequest.
    """
    from edgellm.cli.output import say
    from edgellm.cli.serving.find import host_flag, look_here
    from edgellm.errors import BadRequest

    found = look_here()
    for server in found.silent:
        say(f"passed over: {server}")
    for url, status in found.answering:
        bound = [one for one in status.models if not (one.may_go and one.state == "sleeping")]
        plans = [one.plan for one in bound if one.plan]
        files = [file for plan in plans for file in (plan.file, plan.draft, plan.projector)]
        used = {Path(file).resolve() for file in files if file}
        if any(place.resolve() in used for place in places):
            hint = f"edgellm stop{host_flag(url)}"
            raise BadRequest(f"{model} is being served", hint=hint)


def _listed(store: "Store") -> Iterator[_Listed]:
    from edgellm.cli.preparing.resolve import DEMO, demo
    from edgellm.models.elsewhere.tools import found_models

    for model in store.list():
        size_bytes = model.size_bytes
        yield _Listed(
            model.name, model.repo, model.quant, model.path, size_bytes, size_bytes,
            model.modified_at_s, store.older_bytes(model.reference),
        )  # fmt: skip
    for part in store.partials():
        name, quant = _partial_name(part)
        yield _Listed(name, part.repo, quant, part.path, part.size_bytes, part.done_bytes)
    for found in found_models():
        yield _Listed(
            found.name, None, found.quant, found.path, found.size_bytes, found.size_bytes,
            found.modified_at_s, tool=found.tool,
        )  # fmt: skip
    (built_in,) = demo().candidates
    size_bytes = built_in.file_bytes
    yield _Listed(DEMO, None, built_in.quant, Path(built_in.file), size_bytes, size_bytes)


def _partial_name(part: "PartialDownload") -> tuple[str, str | None]:
    """What `pull` and `rm` are to be given, and its quantization. A projector's label is not its
    model's, and a name that has none is no help: they go by their file."""
    from edgellm.models.hubs import address_of
    from edgellm.models.names import quant_label
    from edgellm.models.repo_files import sidecar_kind

    quant = None if sidecar_kind(part.file) else quant_label(part.file)
    return address_of(part.repo, part.hub) + (f":{quant}" if quant else f"/{part.file}"), quant


def _about_lines(told: "About") -> Iterator[str]:
    """The words of the file or its page are a stranger's."""
    from edgellm.harmless import plain

    spec = told.spec
    experts = f", {spec.n_expert_used} of {spec.n_expert} experts a token" if spec.n_expert else ""
    template = {True: "yes", False: "none; ChatML or plain lines are used", None: DASH}
    yield told.name
    facts = (
        ("architecture", spec.architecture + (" (embedding)" if spec.is_embedding else "")),
        ("parameters", f"{format_params(spec.n_params)}{experts}"),
        ("layers", f"{spec.n_layers} of width {spec.n_embd}"),
        ("context", f"{spec.n_ctx_train} tokens"),
        ("vocabulary", f"{spec.n_vocab} tokens"),
        ("template", template[told.has_template]),
        ("licence", told.license or "not stated"),
        ("from", told.source),
    )
    for name, value in facts:
        yield f"  {name:<13} {plain(value)}"


def _quant_table(rows: "Sequence[QuantRow]") -> str:
    from edgellm.tables import table

    cells = [
        (
            row.quant,
            format_bytes(row.size_bytes),
            f"{row.bits_per_weight:.1f}" if row.bits_per_weight else DASH,
            "yes" if row.is_here else "",
            format_rate(row.decode_tok_s, "") if row.fits else "does not fit",
        )
        for row in rows
    ]
    return table(("QUANT", "SIZE", "BITS", "HERE", "TOK/S"), cells, right="SIZE,BITS,TOK/S")
