"""What the settings say of single models: the tables [models."NAME"] of config.toml.

What can stand there is what flags say of one model, by their long names, as the settings write
them: cache_type_k is --cache-type-k, and means what it means. Beside these: further names, how long
it stays, and what is meant where a request doesn't say it. NAME is whatever MODEL may be; without a
quantization it is any, and of two that mean a model the nearer one counts, alone.
"""

import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, fields, replace
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec

from edgellm.chat.defaults import Defaults
from edgellm.cli.flags.adapting import Adapting
from edgellm.cli.flags.drafting import Drafting
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.pins import Pins, flags_of
from edgellm.cli.flags.seeing import Seeing
from edgellm.cli.flags.table_names import Meant, meant_by
from edgellm.config import Config, config_path, why_not
from edgellm.errors import BadRequest, ConfigError, EdgellmError
from edgellm.values import frozen

_ELSEWHERE = {  # what other programs call it
    "n_ctx": "ctx",
    "num_ctx": "ctx",
    "keep_alive": "sleep_idle_seconds",
    "ttl": "sleep_idle_seconds",
}
_FLAGS = re.compile(r"edgellm [a-z]+ [^();]*|(?<![\w-])--?[a-z][a-z-]*")
_GENERAL = {"reserve": "it is the machine's: a line of its own above the tables"}


class _Rest(msgspec.Struct, kw_only=True):
    """What no Pins have."""

    draft: str | None = None
    mmproj: str | None = None
    no_mmproj: bool = False
    lora: str | list[str] | None = None
    pooling: str | None = None
    name: str | None = None
    aliases: list[str] = []
    sleep_idle_seconds: float | None = None
    pinned: bool = False
    system: str | None = None
    sampling: dict[str, Any] = {}


@frozen
class Table:
    """`said`: all that it says, by key. Without a title there is none."""

    file: str = ""
    title: str = ""  # [models."qwen3:8b"]
    options: ModelOptions = ModelOptions()
    name: str | None = None
    aliases: tuple[str, ...] = ()
    is_pinned: bool = False
    defaults: Defaults = Defaults()
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"{self.file}, {self.title}"


def table_of(config: Config, name: str) -> Table:
    """The one that means this model most nearly. Raises ConfigError, as `check_tables`."""
    tables = check_tables(config)
    try:
        meant = meant_by(name)
    except EdgellmError:
        return Table()  # whoever resolves the name says what is wrong with it
    nearest = max(
        (one for one in tables if one.holds(meant)), key=attrgetter("nearness"), default=None
    )
    return tables[nearest] if nearest else Table()


@contextmanager
def naming_table(table: Table, keys: Collection[str]) -> Iterator[None]:
    """What goes wrong in here by these keys of the table is told by file, table and key, where the
    words name its flag; else that the table was heeded, too: nobody typed any of it."""
    try:
        yield
    except EdgellmError as error:
        before = str(error)
        words, hint = _by_key(before, keys), _by_key(error.hint, keys)
        if words != before:
            error.args, error.hint = (f"{table.where}: {words}",), hint
        elif keys and table.where not in before + error.hint:
            error.hint = "; ".join(filter(None, (hint, f"{table.where} is heeded, too")))
        raise


def check_tables(config: Config) -> dict[Meant, Table]:
    """By the model that each is about. Raises ConfigError that names file, table and key."""
    found: dict[Meant, Table] = {}
    names: dict[str, str] = {}
    for name, given in config.models.items():
        none = Table(str(config_path(os.environ)), f'[models."{name}"]')
        where = none.where
        try:
            meant = meant_by(name)
        except EdgellmError as error:
            raise ConfigError(f"{where}: {error}", hint=error.hint) from error
        if meant in found:
            raise ConfigError(
                f"{where}: that model has a table already, {found[meant].title}",
                hint="put both into one",
            )
        found[meant] = table = _read(none, given)
        for called in filter(None, (table.name, *table.aliases)):
            before = names.setdefault(called.casefold(), table.title)
            if before != table.title:
                raise ConfigError(f"{where}: {called!r} is a name of {before}, too")
    return found


def _read(none: Table, given: Mapping[str, Any]) -> Table:
    """Raises ConfigError."""
    keys, where = pin_keys(), none.where
    others = msgspec.structs.fields(_Rest)
    for key in given:
        _check_key(where, key, (*keys, *(one.name for one in others)))
    pins = Pins(**{keys[key]: value for key, value in given.items() if key in keys})
    rest = _converted(where, {key: given[key] for key in given if key not in keys}, _Rest)
    lora = [rest.lora] if isinstance(rest.lora, str) else rest.lora
    options = ModelOptions(
        pins=pins,
        drafting=Drafting(draft=rest.draft),
        seeing=Seeing(mmproj=rest.mmproj, no_mmproj=rest.no_mmproj),
        adapting=Adapting(lora=lora, pooling=rest.pooling),
        sleep_idle_seconds=rest.sleep_idle_seconds,
    )
    try:
        pins.goal()
        options.drafting.named(pins)
        _check_rest(rest)
    except BadRequest as error:
        words, hint = _by_key(str(error), given), _by_key(error.hint, None)
        raise ConfigError(f"{where}: {words}", hint=hint) from error
    return replace(
        none,
        options=options,
        name=rest.name,
        aliases=tuple(rest.aliases),
        is_pinned=rest.pinned,
        defaults=Defaults(_sampling(where, rest.sampling), rest.system),
        said=given,
    )


@cache
def pin_keys() -> dict[str, str]:
    """ "cache_type_k": "ctk"."""
    names = (one.name for one in fields(Pins) if one.name not in _GENERAL)
    return {_key(flags_of(name)): name for name in names}


def _key(flags: Sequence[str]) -> str:
    """ "cache_type_k" of ("-ctk", "--cache-type-k")."""
    return next(flag for flag in flags if flag.startswith("--"))[2:].replace("-", "_")


def _by_flag() -> Iterator[tuple[str, str]]:
    """Every flag that has a key: ("-ctk", "cache_type_k")."""
    for name in pin_keys().values():
        flags = flags_of(name)
        yield from ((flag, _key(flags)) for flag in flags)
    for one in msgspec.structs.fields(_Rest):
        yield f"--{one.name.replace('_', '-')}", one.name


def flags_for(keys: Collection[str]) -> frozenset[str]:
    """Long ones and short ones."""
    return frozenset(flag for flag, key in _by_flag() if key in keys)


def _by_key(words: str, said: Collection[str] | None) -> str:
    """A flag's error, of the key; None: of whichever there is. A command of ours stays as it is."""
    keys = {flag: key for flag, key in _by_flag() if said is None or key in said}
    return _FLAGS.sub(lambda found: keys.get(found[0], found[0]), words)


def _check_key(where: str, key: str, known: Sequence[str]) -> None:
    """Raises ConfigError for one that is none, with the one that is meant perhaps."""
    if key in known:
        return
    if key in _GENERAL:
        raise ConfigError(f"{where}: {key} can't stand here", hint=_GENERAL[key])
    flags = {flag.strip("-").replace("-", "_"): name for flag, name in _by_flag()}
    word = key.strip("-").replace("-", "_").lower()
    near = difflib.get_close_matches(word, [*known, *flags], n=1)
    meant = flags.get(word) or _ELSEWHERE.get(word)
    if not meant and word in _sampling_keys():
        meant = f"sampling.{word}"
    elif not meant and near:
        meant = flags.get(near[0], near[0])
    hint = f"did you mean {meant}?" if meant else f"one of {', '.join(known)}"
    raise ConfigError(f"{where}: {key} is not known", hint=hint)


def _converted(where: str, given: Mapping[str, Any], kind: Any, under: str = "") -> Any:
    """Raises ConfigError."""
    try:
        return msgspec.convert(given, kind, str_keys=True)  # TOML's are never numbers
    except msgspec.ValidationError as error:
        key = str(error).partition(" - at ")[2].partition("$.")[2].rstrip("`")
        raise ConfigError(f"{where}: {under}{key} {why_not(error, given)}") from error


def _check_rest(rest: _Rest) -> None:
    """Raises BadRequest."""
    if rest.mmproj and rest.no_mmproj:
        raise BadRequest("--mmproj and --no-mmproj exclude each other")
    idle_s = rest.sleep_idle_seconds
    if idle_s is not None and not idle_s >= 0:
        raise BadRequest(f"sleep_idle_seconds {idle_s} is no time", hint="inf is never")
    if idle_s is not None and rest.pinned:
        raise BadRequest("pinned is to stay, and sleep_idle_seconds to go", hint="leave one out")
    for called in filter(lambda one: one is not None, (rest.name, *rest.aliases)):
        if not called or not called.isprintable() or called == "*":
            raise BadRequest(f"{called!r} is no name", hint="a word that clients send as model")


def _sampling_keys() -> tuple[str, ...]:
    from edgellm.chat.messages import SamplingParams

    return (*(one.name for one in fields(SamplingParams)), "repetition_penalty")


def _sampling(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of SamplingParams. Raises ConfigError."""
    if not given:
        return {}
    from edgellm.server.openai.samplers import Samplers

    known = _sampling_keys()
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key.replace("-", "_"), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
            raise ConfigError(f"{where}: sampling.{key} is not known", hint=hint)
    samplers: Samplers = _converted(where, given, Samplers, "sampling.")
    try:
        return samplers.samplers_said()
    except BadRequest as error:
        raise ConfigError(f"{where}: sampling.{error}", hint=error.hint) from error
