"""Settings: defaults < the TOML file < EDGELLM_* < flags. One frozen, typed value.

The file is `config.toml` in the user's configuration folder, or what EDGELLM_CONFIG names. A key
that isn't known is an error: a typo must not silently mean the default. A variable that isn't is
told and passed over: somebody else's program may mean it.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec
import platformdirs

from edgellm import keys as key_tables
from edgellm.errors import BadRequest, ConfigError
from edgellm.keys import Key, KeySettings
from edgellm.models.hubs import DEFAULT_HUB, SITES, HubName, hub_by_environment
from edgellm.units import MIB, format_bytes, parse_bytes

_PREFIX = "EDGELLM_"
_UNIX = "unix:"
_MOST_USAGE_DAYS = 10_000
# Read elsewhere: by scripts/run, or before there is a Config.
_NOT_SETTINGS = {"EDGELLM_CONFIG", "EDGELLM_WHEEL_INDEX"}
_ONE_KEY = "api_key"  # EDGELLM_API_KEY: the singular of api_keys, and the client's own
_SIZES = ("request_memory", "response_memory", "limit_rate", "reserve")
_LEAST_BYTES = {"request_memory": MIB}
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@*]+", re.IGNORECASE)
_UNQUOTED = re.compile(r"""^\s*\[[^]"'\n]*[:/@]""", re.MULTILINE)  # [models.qwen3:8b]
_QUOTED = 'a table\'s name stands in quotes: [models."qwen3:8b"]'
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_WRONG_KIND = re.compile(r"Expected `(\w+)(?: \| null)?`, got `\w+`")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text, in quotes",
    "array": "a list, in brackets",
    "object": "a table",
}
_SECRET = {"api_keys", "key_weights", "keys", "health_webhook"}  # whose values no error repeats
_MAX_SHOWN = 40  # of a value's characters
_TABLES: Mapping[str, Any] = {"keys": KeySettings, "models": dict[str, Any]}  # by name
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 8484
    unix_socket: str | None = None
    ssl_cert_file: str | None = None  # with it TCP speaks TLS; the unix socket never does
    ssl_key_file: str | None = None  # of that certificate, without a passphrase
    api_keys: tuple[str, ...] = ()
    key_weights: dict[str, float] = {}  # of api_keys: how much of a busy machine is whose; else 1
    keys: dict[str, KeySettings] = {}  # by name: keys of which there is more to say
    usage_days: int = 400  # of use, whose counts are kept; 0: none are
    allowed_hosts: tuple[str, ...] = ()  # Host names that a reverse proxy may bring
    allowed_origins: tuple[str, ...] = ()  # of other servers' web pages that may ask here
    aliases: tuple[str, ...] = ()  # further names of the model that is served; "*": any
    serve: tuple[str, ...] = ()  # what `edgellm serve` has without MODEL; none: all of this disk
    models: dict[str, dict[str, Any]] = {}  # what is said of one model: see cli/flags/tables.py
    max_queue: int = 512  # requests that may wait; one more gets a 429
    request_memory: str | None = None  # for the bodies of all requests: "64MiB"; None: by machine
    response_memory: str | None = None  # for responses that are kept: "64MiB"; "0": none are
    offline: bool = False  # no network at all
    allow_pull: bool = False  # `serve` without MODEL downloads what Ollama's clients pull
    allow_delete: bool = False  # and removes what they delete
    hub: HubName = DEFAULT_HUB  # that is asked for a name which says none
    bundle_signers: str | None = None  # imports are of bundles only that one of its keys has signed
    cache_dir: str | None = None  # Hugging Face's cache; None: where its own tools keep it
    limit_rate: str | None = None  # of downloads: "20MiB/s"
    image_hosts: tuple[str, ...] = ()  # from which pictures are fetched for a client; none else
    lora_dir: str | None = None  # LoRA adapters in here may be loaded over HTTP; None: none may
    sandbox: Literal["auto", "on", "off"] = "auto"  # around the process that reads a model's file
    draft: str | None = None  # a small model that guesses tokens for the one that is served
    reserve: str | None = None  # memory left free in every pool: "2GiB"
    sleep_idle_seconds: float | None = None  # then a model's memory is given back; None: never
    energy_price_per_kwh: float | None = None  # in `currency`; None: no cost is told
    currency: str = "USD"
    health_webhook: str | None = None  # a URL that is told when a model degrades or recovers
    max_temperature_c: float | None = None  # of any device; above it new requests wait
    max_power_w: float | None = None  # of all boards together
    history: bool = True  # what is typed in `edgellm run`'s conversations is kept for the next
    sensors_root: str = "/"  # below which the sensors' files are: a container sees the host's there

    @property
    def needs_key(self) -> bool:
        """Of whoever asks this server."""
        return bool(self.api_keys or self.keys)

    def all_keys(self) -> tuple[Key, ...]:
        """One that has a table is what its table says, wherever else it stands. Raises ConfigError
        for a `key_file` that can't be read."""
        return key_tables.joined(self.keys, self.api_keys, self.key_weights)

    @property
    def kept_days(self) -> int:
        """Of whose use counts are kept: at least today's, where a key has so much a day."""
        return self.usage_days or int(any(key.tokens_per_day for key in self.keys.values()))

    def own_key(self) -> str | None:
        """What this user's commands show to this user's servers: the list's first, else that of the
        first table which may everything. Raises as `all_keys`, of the files that it reads."""
        admins = ((name, table) for name, table in self.keys.items() if table.admin)
        known = (key_tables.secret_of(name, table) for name, table in admins)
        return next((key for key in chain(self.api_keys, known) if key is not None), None)


def config_path(environ: Mapping[str, str]) -> Path:
    named = environ.get("EDGELLM_CONFIG")
    return Path(named) if named else Path(platformdirs.user_config_dir("edgellm")) / "config.toml"


def load_config(environ: Mapping[str, str], flags: Mapping[str, Any]) -> Config:
    """`flags` whose value is None were not given. Raises ConfigError, which names the setting."""
    path = config_path(environ)
    given = _from_environment(environ)
    given |= {name: value for name, value in flags.items() if value is not None}
    told = _by_other_tools(environ) | _from_file(path, must_exist="EDGELLM_CONFIG" in environ)
    try:
        config = msgspec.convert(told | given, Config, strict=False)
    except msgspec.ValidationError as error:
        raise _unfit(error, environ, path, told, given) from error
    if "api_keys" in given and "key_weights" not in given:  # the file weighs the file's own keys
        left = {k: w for k, w in config.key_weights.items() if k in config.api_keys}
        config = msgspec.structs.replace(config, key_weights=left)
    _check(config)
    for name in _SIZES:
        if flags.get(name) is None:  # a flag's words are the command's to judge
            _check_size(name, getattr(config, name))
    return config


def unknown_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """EDGELLM_* that nobody reads, each with the known one that is spelt most like it."""
    settings = (*(field.name for field in msgspec.structs.fields(Config)), _ONE_KEY)
    known = {f"{_PREFIX}{name.upper()}" for name in settings} | _NOT_SETTINGS
    tails = {name.removeprefix(_PREFIX): name for name in sorted(known)}
    for name in sorted(environ):
        if name.startswith(_PREFIX) and name not in known:
            near = difflib.get_close_matches(name.removeprefix(_PREFIX), tails, n=1)
            yield name, tails[near[0]] if near else None


def _unfit(
    error: msgspec.ValidationError,
    environ: Mapping[str, str],
    path: Path,
    told: Mapping[str, Any],
    given: Mapping[str, Any],
) -> ConfigError:
    """With the place where it was said, and the value unless it may be a key."""
    what, _, where = str(error).partition(" - at `$.")
    name, place = re.split(r"\W", where)[0], _with_table(where.rstrip("`"), told)
    if unknown := _UNKNOWN.fullmatch(what):
        return _not_known(unknown[1], place, path)
    variable = f"{_PREFIX}{name.upper()}"
    choices = {
        "sandbox": "it is neither auto, on nor off",
        "hub": f"it is neither {' nor '.join(SITES)}",
    }
    why = why_not(error, {} if name in _SECRET else {**told, **given}, choices.get(name))
    if name and variable in environ:
        form = ", which is KEY=WEIGHT,KEY=WEIGHT" * (name == "key_weights")
        return ConfigError(f"{name} {why}", hint=f"look at {variable}{form}")
    return ConfigError(f"{place or 'a setting'} {why}", hint=f"look into {path}")


def why_not(
    error: msgspec.ValidationError, given: Mapping[str, Any], words: str | None = None
) -> str:
    """ "can't be 'many': it must be a whole number", of a value that stands in `given`, where it is
    found there."""
    what, _, where = str(error).partition(" - at ")
    if kind := _WRONG_KIND.fullmatch(what):
        it = "each name in it" if where.startswith("`key`") else "it"
        what = f"{it} must be {_KINDS.get(kind[1], kind[1])}"
    value = _value_at(where, given)
    shown = "" if value is None else f" {repr(value)[:_MAX_SHOWN]}"
    return f"can't be{shown}: {words or what}"


def _value_at(where: str, given: Any) -> Any:
    """`where`: "`$.aliases[1]`"; None, which TOML hasn't: "[...]" is any of a table's."""
    for step in re.findall(r"\w+|\.{3}", where):
        if isinstance(given, Mapping):
            given = given.get(step)
        else:
            given = given[int(step)] if isinstance(given, list) and step.isdecimal() else None
    return given


def _not_known(key: str, place: str, path: Path) -> ConfigError:
    """`place`: the table that has it, or empty."""
    fields = msgspec.structs.fields(KeySettings if place.startswith("keys.") else Config)
    near = difflib.get_close_matches(key, [field.name for field in fields], n=1)
    hint = f"did you mean {near[0]}?" if near else "docs/configuration.md has all that there are"
    where = f"{path}, [{place}]" if place else f"{path}"
    return ConfigError(f"{where}: {key} is not known", hint=hint)


def _with_table(place: str, told: Mapping[str, Any]) -> str:
    """ "keys[...].weight" as "keys.anna.weight": the first that can't be. Who writes no table there
    may take it for key_weights, whose names are secrets: of `keys` only tables have theirs told."""
    setting, dots, rest = place.partition("[...]")
    if not dots or setting not in _TABLES:
        return place
    for name, table in told[setting].items():
        try:
            msgspec.convert(table, _TABLES[setting], strict=False)
        except msgspec.ValidationError:
            is_name = isinstance(table, dict) or setting == "models"
            return f"{setting}.{name}{rest}" if is_name else place
    return place


def _check(config: Config) -> None:
    if not 0 <= config.port <= 65535:
        raise ConfigError(f"port {config.port} is not between 0 and 65535")
    if (config.ssl_cert_file is None) != (config.ssl_key_file is None):
        there, missing = ("cert", "key") if config.ssl_cert_file else ("key", "cert")
        raise ConfigError(
            f"ssl_{there}_file is set, and ssl_{missing}_file isn't: TLS takes both",
            hint=f"--ssl-{missing}-file FILE, or ssl_{missing}_file in the settings",
        )
    if config.max_queue < 0:
        raise ConfigError(f"max_queue {config.max_queue} is less than 0")
    if not all(key.strip() for key in config.api_keys):  # --api-key "$KEY", and no such variable
        raise ConfigError(
            "api_keys (--api-key, EDGELLM_API_KEY): a key is empty, and everybody has that one",
            hint="give a key, or leave the setting out",
        )
    if config.sleep_idle_seconds is not None and not 0 <= config.sleep_idle_seconds < math.inf:
        raise ConfigError(
            f"sleep_idle_seconds {config.sleep_idle_seconds} is no time",
            hint="leave it out, and models stay loaded",
        )
    for origin in config.allowed_origins:
        _check_origin(origin, has_key=config.needs_key)
    for key, weight in config.key_weights.items():
        _check_weight(key, weight, config.api_keys)
    key_tables.check_named(config.keys)
    if not 0 <= config.usage_days <= _MOST_USAGE_DAYS:
        raise ConfigError(f"usage_days {config.usage_days} is not between 0 and {_MOST_USAGE_DAYS}")
    _check_meter(config)


def _check_meter(config: Config) -> None:
    price = config.energy_price_per_kwh
    if price is not None and not 0 <= price < math.inf:
        raise ConfigError(f"energy_price_per_kwh {price} is no price")
    if not config.currency.isprintable() or not 1 <= len(config.currency) <= 8:
        raise ConfigError(f"currency {config.currency!r} is not a word of 1 to 8 letters or signs")
    for name in ("max_temperature_c", "max_power_w"):
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(
                f"{name} {value} is no ceiling: a request would wait for ever",
                hint=f"leave {name} out for none",
            )
    if not Path(config.sensors_root).is_dir():
        raise ConfigError(
            f"sensors_root {config.sensors_root} is no folder",
            hint="in a container, mount the host's files there: -v /:/host:ro",
        )
    hook = config.health_webhook
    if hook is not None and not hook.startswith(("http://", "https://")):
        raise ConfigError("health_webhook is no address that begins with http:// or https://")


def _check_size(name: str, text: str | None) -> None:
    if text is None:
        return
    try:
        n_bytes = parse_bytes(text)
    except BadRequest as error:
        raise ConfigError(f"{name}: {error}", hint=error.hint) from error
    least_bytes = _LEAST_BYTES.get(name, 0)
    if n_bytes < least_bytes:
        raise ConfigError(f"{name} {text!r} is less than {format_bytes(least_bytes)}")


def _check_origin(origin: str, *, has_key: bool) -> None:
    if origin == "*":
        if not has_key:
            raise ConfigError(
                "allowed_origins: * lets every web page ask here, and no API key is set",
                hint="set one by EDGELLM_API_KEY, or name the origins",
            )
    elif not _ORIGIN.fullmatch(origin):
        raise ConfigError(
            f"allowed_origins: {origin!r} is no origin",
            hint="write it as browsers do, without a path: http://localhost:3000; * is every page",
        )


def _check_weight(key: str, weight: float, keys: tuple[str, ...]) -> None:
    """A key is a secret: it is never repeated in an error."""
    if key not in keys:
        raise ConfigError("key_weights: one of its keys is not in api_keys")
    key_tables.check_weight("key_weights:", weight)


def host_and_port(text: str) -> tuple[str, int | None]:
    """ "box", "box:11434", ":11434", "[::1]:80", "http://box:80/" -> host and port.

    As OLLAMA_HOST is written. Raises ConfigError.
    """
    address = text.partition("://")[2] if "://" in text else text
    address = address.partition("/")[0]
    if address.count(":") > 1 and not address.startswith("["):
        return address, None  # a bare IPv6 address
    head, colon, tail = address.rpartition(":")
    host, port = (head, tail) if colon and not address.endswith("]") else (address, "")
    if port and not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ConfigError(
            f"{text!r} is no address: {port!r} is no port", hint="write it like 127.0.0.1:8484"
        )
    return host.strip("[]") or "127.0.0.1", int(port) if port else None


def socket_path(text: str) -> str | None:
    """ "unix:/run/e.sock", "unix:///run/e.sock" -> the path, as it is written; None: no socket."""
    if not text.startswith(_UNIX):
        return None
    return text.removeprefix(_UNIX).removeprefix("//")


def _from_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        return tomllib.loads(text)
    except FileNotFoundError as error:
        if must_exist:
            hint = "EDGELLM_CONFIG names it"
            raise ConfigError(f"there is no configuration file {path}", hint=hint) from error
        return {}
    except tomllib.TOMLDecodeError as error:
        hint = _QUOTED if _UNQUOTED.search(text) else ""
        raise ConfigError(f"{path} can't be read: {error}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} can't be read: {error}", hint="TOML is UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror or error}") from error


def _by_other_tools(environ: Mapping[str, str]) -> dict[str, Any]:
    hub = hub_by_environment(environ)
    return {"hub": hub} if hub else {}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    fields = {field.name: field for field in msgspec.structs.fields(Config)}
    values: dict[str, Any] = {}
    for key, text in environ.items():
        name = key.removeprefix(_PREFIX).lower()
        if not key.startswith(_PREFIX) or key in _NOT_SETTINGS:
            continue
        if name == "host":
            values |= _place(text)
        elif name == _ONE_KEY:
            values["api_keys"] = [text]
        elif name in fields:
            values[name] = _parsed(key, text, fields[name].type)
    if "EDGELLM_PORT" in environ:  # it says more than the port within EDGELLM_HOST
        values["port"] = environ["EDGELLM_PORT"]
    return values


def _place(text: str) -> dict[str, Any]:
    """EDGELLM_HOST is where a server listens and where the commands look for it, in one."""
    text = text.strip()
    if path := socket_path(text):
        return {"unix_socket": path}
    if not text:
        return {}
    host, port = host_and_port(text)
    return {"host": host} if port is None else {"host": host, "port": port}


def _parsed(key: str, text: str, kind: Any) -> Any:
    if kind == tuple[str, ...]:
        return [word.strip() for word in text.split(",") if word.strip()]
    if kind is bool:
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            raise ConfigError(f"{key}={text!r} is neither yes nor no", hint=f"{key}=1")
        return word in _TRUE
    if kind == dict[str, float]:
        pairs = (word.rpartition("=") for word in text.split(",") if word.strip())
        return {name.strip(): number for name, _, number in pairs}
    return text
