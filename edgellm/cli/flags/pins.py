"""What of a plan the command line pins or bounds; all that is not said is chosen.

One list of flags for `plan`, `serve` and the others; the words are llama.cpp's where it has one.
"""

import shlex
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, ClassVar, get_args, get_type_hints

import typer

from edgellm.cli.flags import completing
from edgellm.errors import BadRequest
from edgellm.files import path_of
from edgellm.units import parse_bytes
from edgellm.values import frozen

if TYPE_CHECKING:
    from edgellm.selector.plan import Goal

USES = ("chat", "batch", "stream", "agent", "code")
_OBJECTIVES = ("balanced", "speed", "quality", "context", "energy")
_KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
_SPLIT_MODES = ("layer", "row", "tensor")
_GUESSERS = ("ngram", "draft", "mtp", "off")
_PARTS = "Parts of the plan"
_KINDS = {int: "a whole number", float: "a number", str: "a word or a size", bool: "True or False"}
_WHEN = {"auto": None, "on": True, "off": False}


def _number(*flags: str, text: str, least: int = 1) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(*flags, help=text, metavar="N", min=least)
    return option


def _word(
    *flags: str, known: tuple[str, ...], text: str, metavar: str, usual: str = ""
) -> typer.models.OptionInfo:
    """`usual`: what is meant where nothing is said, for the help."""
    option: typer.models.OptionInfo = typer.Option(
        *flags,
        help=f"{text}: {', '.join(known)}." + f"  [default: {usual}]" * bool(usual),
        metavar=metavar,
        autocompletion=completing.words(*known),
    )
    return option


def _kv_type(*flags: str, text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        *flags, help=text, metavar="TYPE", autocompletion=completing.words(*_KV_TYPES)
    )
    return option


def flags_of(name: str) -> tuple[str, ...]:
    """Those of a field of Pins: ("-ctk", "--cache-type-k")."""
    option = get_type_hints(Pins, include_extras=True)[name].__metadata__[0]
    # typer takes the first flag of an Annotated option for its default, and puts it right later
    words = (str(word) for word in (option.default, *(option.param_decls or ())))
    flags = tuple(word.partition("/")[0] for word in words if word.startswith("-"))
    return flags or (f"--{name.replace('_', '-')}",)


def _flag(name: str) -> str:
    """The first of them."""
    return flags_of(name)[0]


def _written(name: str, value: object) -> str:
    """ "--ctx 4096", "--no-kv-unified"."""
    flag = _flag(name)
    if isinstance(value, bool):
        return flag if value else flag.replace("--", "--no-", 1)
    return f"{flag} {shlex.quote(f'{value:g}' if isinstance(value, float) else str(value))}"


@frozen(kw_only=True)
class Pins:
    HEADINGS: ClassVar = {
        "ctx": "What it is for",
        "min_tok_s": "What it may take",
        "ctk": _PARTS,
        "prefix_ram": "Past conversations",
        "batch_invariant": _PARTS,
    }

    ctx: Annotated[int | None, _number("--ctx", text="Tokens of one conversation.")] = None
    n_ctx: Annotated[
        int | None, _number("-c", "--ctx-size", text="Tokens over all conversations together.")
    ] = None
    parallel: Annotated[
        int | None, _number("--parallel", "-np", text="Conversations at the same time.")
    ] = None
    use: Annotated[
        str | None,
        _word("--use", known=USES, text="What it is for", metavar="USE", usual="chat"),
    ] = None
    objective: Annotated[
        str | None,
        _word(
            "--goal", known=_OBJECTIVES, text="What counts most", metavar="GOAL", usual="balanced"
        ),
    ] = None
    min_tok_s: Annotated[
        float | None,
        typer.Option(help="Nothing slower than this, one stream.", metavar="TOK/S", min=0),
    ] = None
    min_ctx: Annotated[
        int | None, _number("--min-ctx", text="No conversation shorter than this.")
    ] = None
    max_watts: Annotated[
        float | None,
        typer.Option(help="The most that the boards may draw together.", metavar="W", min=0),
    ] = None
    itl: Annotated[
        int | None,
        _number("--itl", text="Milliseconds between tokens that reading a prompt may cost others."),
    ] = None
    reserve: Annotated[
        str | None, typer.Option(help="Memory to leave free: 2GiB.", metavar="SIZE")
    ] = None
    allow_disk: Annotated[
        bool, typer.Option("--allow-disk", help="Read from disk what no memory holds: slow.")
    ] = False
    ctk: Annotated[str | None, _kv_type("-ctk", "--cache-type-k", text="KV type of K.")] = None
    ctv: Annotated[str | None, _kv_type("-ctv", "--cache-type-v", text="KV type of V.")] = None
    kv_unified: Annotated[
        bool | None,
        typer.Option(
            "--kv-unified/--no-kv-unified",
            help="One pool of KV cells for all conversations, or a stream for each.",
            show_default=False,
        ),
    ] = None
    prefix_ram: Annotated[
        str | None,
        typer.Option(
            help="Memory for what is kept of past conversations; 0: none.",
            metavar="SIZE",
        ),
    ] = None
    prefix_disk: Annotated[
        str | None,
        typer.Option(help="A folder in which they outlive the server.", metavar="FOLDER"),
    ] = None
    prefix_disk_size: Annotated[
        str | None,
        typer.Option(help="Most that one server's model keeps there; 8GiB.", metavar="SIZE"),
    ] = None
    batch_invariant: Annotated[
        bool,
        typer.Option(
            "--batch-invariant", help="The same answer, whoever runs beside it; slower in a crowd."
        ),
    ] = False
    speculate: Annotated[
        str | None,
        _word("--speculate", known=_GUESSERS, text="Who guesses tokens", metavar="WHO"),
    ] = None
    ngl: Annotated[
        int | None,
        _number("-ngl", "--gpu-layers", text="Layers on the accelerators; -1: all.", least=-1),
    ] = None
    ts: Annotated[
        str | None,
        typer.Option("-ts", "--tensor-split", help="Shares of the accelerators.", metavar="3,1"),
    ] = None
    sm: Annotated[
        str | None,
        _word("-sm", "--split-mode", known=_SPLIT_MODES, text="How they share", metavar="MODE"),
    ] = None
    ncmoe: Annotated[
        int | None,
        _number("-ncmoe", "--n-cpu-moe", text="Layers whose experts stay on the CPU.", least=0),
    ] = None
    op_offload: Annotated[
        bool | None,
        typer.Option(
            "--op-offload/--no-op-offload",
            help="Accelerators compute long prompts with the host's weights, too.",
            show_default=False,
        ),
    ] = None
    ubatch: Annotated[int | None, _number("-ub", "--ubatch-size", text="Micro-batch, tokens.")] = (
        None
    )
    threads: Annotated[int | None, _number("-t", "--threads", text="CPU threads of the model.")] = (
        None
    )
    flash: Annotated[
        str | None,
        _word(
            "-fa",
            "--flash-attn",
            known=tuple(_WHEN),
            text="Flash attention",
            metavar="WHEN",
            usual="auto",
        ),
    ] = None

    def given(self) -> tuple[str, ...]:
        """The flags that were set, as a user writes them."""
        return tuple(
            _written(field.name, value)
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        )

    def goal(self, reserve: str | None = None) -> "Goal":
        """`reserve` is the configuration's. Raises BadRequest for what no model and no machine
        could make true, before anything is asked of either."""
        from edgellm.selector.plan import Goal
        from edgellm.selector.search.checks import check_goal

        self._check_kinds()
        self._check_words()
        least_free = self.reserve or reserve
        goal = Goal(
            n_ctx_seq=self.ctx,
            n_ctx=self.n_ctx,
            n_parallel=self.parallel,
            use="agent" if self.use == "code" else self.use or "chat",  # type: ignore[arg-type]
            objective=self.objective or "balanced",  # type: ignore[arg-type]
            reserve_bytes=None if least_free is None else parse_bytes(least_free),
            kv_type_k=self.ctk,  # type: ignore[arg-type]
            kv_type_v=self.ctv,  # type: ignore[arg-type]
            n_gpu_layers=self.ngl,
            n_ubatch=self.ubatch,
            n_threads=self.threads,
            flash_attention=_WHEN[self.flash or "auto"],
            kv_unified=self.kv_unified,
            n_cpu_moe=self.ncmoe,
            tensor_split=None if self.ts is None else _shares(self.ts),
            split_mode=self.sm,  # type: ignore[arg-type]
            op_offload=self.op_offload,
            min_tok_s=self.min_tok_s,
            itl_target_s=None if self.itl is None else self.itl / 1000,
            min_ctx_seq=self.min_ctx,
            max_watts=self.max_watts,
            allow_disk=self.allow_disk,
            prefix_ram_bytes=None if self.prefix_ram is None else parse_bytes(self.prefix_ram),
            prefix_disk=self.prefix_disk and str(path_of(self.prefix_disk).absolute()),
            prefix_disk_bytes=parse_bytes(self.prefix_disk_size or "8GiB"),
            batch_invariant=self.batch_invariant,
            speculate=self.speculate or "ngram",  # type: ignore[arg-type]
        )
        check_goal(goal)
        return goal

    def _check_kinds(self) -> None:
        """On the command line typer has; the library's callers may say anything."""
        for name, hint in get_type_hints(Pins, include_extras=True).items():
            if name == "HEADINGS":
                continue
            value, kinds = getattr(self, name), get_args(hint.__origin__) or (hint.__origin__,)
            least = hint.__metadata__[0].min
            if not _is_one_of(value, kinds):
                wanted = next(_KINDS[kind] for kind in kinds if kind in _KINDS)
                raise BadRequest(f"{_flag(name)} is {repr(value)[:40]}; it must be {wanted}")
            if value is not None and least is not None and value < least:
                raise BadRequest(f"{_flag(name)} is {value}; it must be {least} or more")

    def _check_words(self) -> None:
        _one_of("--use", self.use or "chat", USES)
        _one_of("--goal", self.objective or "balanced", _OBJECTIVES)
        _one_of("--flash-attn", self.flash or "auto", tuple(_WHEN))
        _one_of("--cache-type-k", self.ctk or "f16", _KV_TYPES)
        _one_of("--cache-type-v", self.ctv or "f16", _KV_TYPES)
        _one_of("--split-mode", self.sm or "layer", _SPLIT_MODES)
        _one_of("--speculate", self.speculate or "ngram", _GUESSERS)


def _is_one_of(value: object, kinds: tuple[type, ...]) -> bool:
    """As the words of a command line would be: True is no number, and 4 is one with a fraction."""
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, (*kinds, int) if float in kinds else kinds)


def _one_of(flag: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise BadRequest(f"{flag} {word!r} is not known", hint=f"one of {', '.join(words)}")


def _shares(text: str) -> tuple[float, ...]:
    """ "3,1" -> (3.0, 1.0), as llama.cpp's -ts takes it, and with / for the comma, too."""
    try:
        return tuple(float(word) for word in text.replace("/", ",").split(","))
    except ValueError:
        raise BadRequest(
            f"-ts {text!r} does not say how the accelerators share",
            hint="a number for each of them, in their order: -ts 3,1",
        ) from None
