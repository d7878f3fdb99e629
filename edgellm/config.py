"""Settings: defaults < the TOML file < EDGELLM_* < flags. One frozen, typed value.

The file is `config.toml` in the user's configuration folder, or what EDGELLM_CONFIG names. A key
that isn't known is an error: a typo must not silently mean the default.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from edgellm.errors import ConfigError

_PREFIX = "EDGELLM_"
# Read elsewhere: by scripts/run, or before there is a Config.
_NOT_SETTINGS = {"EDGELLM_CONFIG", "EDGELLM_WHEEL_INDEX"}


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 8484
    unix_socket: str | None = None
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()  # Host names that a reverse proxy may bring
    max_queue: int = 512  # requests that may wait; one more gets a 429
    offline: bool = False  # no network at all
    cache_dir: str | None = None  # Hugging Face's cache; None: where its own tools keep it
    limit_rate: str | None = None  # of downloads: "20MiB/s"
    reserve: str | None = None  # memory left free in every pool: "2GiB"


def config_path(environ: Mapping[str, str]) -> Path:
    named = environ.get("EDGELLM_CONFIG")
    return Path(named) if named else Path(platformdirs.user_config_dir("edgellm")) / "config.toml"


def load_config(environ: Mapping[str, str], flags: Mapping[str, Any]) -> Config:
    """`flags` whose value is None were not given. Raises ConfigError, which names the setting."""
    path = config_path(environ)
    values = {
        **_from_file(path, must_exist="EDGELLM_CONFIG" in environ),
        **_from_environment(environ),
        **{name: value for name, value in flags.items() if value is not None},
    }
    try:
        config = msgspec.convert(values, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a setting can't be: {error}", hint=f"look into {path}") from error
    if not 0 <= config.port <= 65535:
        raise ConfigError(f"port {config.port} is not between 0 and 65535")
    return config


def _from_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if must_exist:
            raise ConfigError(f"there is no configuration file {path}") from error
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    fields = {field.name: field for field in msgspec.structs.fields(Config)}
    values: dict[str, Any] = {}
    for key, text in environ.items():
        name = key.removeprefix(_PREFIX).lower()
        if not key.startswith(_PREFIX) or key in _NOT_SETTINGS:
            continue
        if name in fields:
            is_list = fields[name].type == tuple[str, ...]
            values[name] = _split(text) if is_list else text
        elif name == "api_key":
            values["api_keys"] = [text]
    return values


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
