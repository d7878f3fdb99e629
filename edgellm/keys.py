"""Who may ask, and how much: API keys, by name. What the settings say of them, and what a server
keeps: a key's digest, never the key.

A key of the plain list `api_keys` is one that may everything; `key_weights` weighs it. A table
`[keys.NAME]` says more of one, and its name is what logs, screens and counts show.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from edgellm.errors import ConfigError
from edgellm.files import path_of

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")  # none of these is a plain key's
_SHA256: Final = "sha256:"
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
_MOST_KEYS: Final = 256  # each is a row of every screen and every scrape
_MOST_KEY_BYTES: Final = 4096
_BOUNDS: Final = ("tokens_per_minute", "tokens_per_day", "max_concurrent")


class KeySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table `[keys.NAME]`."""

    key: str | None = None  # or "sha256:" and its digest, so that the file holds no secret
    key_file: str | None = None  # in whose first line it is
    weight: float = 1.0
    models: tuple[str, ...] | None = None  # that it may ask; None: all
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    max_concurrent: int | None = None  # requests that run or wait at once
    admin: bool = False  # it may change what is served, and see what others use


@dataclass(frozen=True, slots=True)
class Key:
    """Without a name and a digest: whoever asks where no key is needed."""

    name: str = ""
    digest: bytes = b""  # its SHA-256
    weight: float = 1.0  # of a busy machine
    models: tuple[str, ...] | None = None  # None: all
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    max_concurrent: int | None = None
    admin: bool = True


ANYBODY: Final = Key()


def digest_of(key: str, encoding: str = "utf-8") -> bytes:
    """`encoding`: in a header letters are bytes, latin-1; those of a key are UTF-8."""
    return hashlib.sha256(key.encode(encoding, "surrogateescape")).digest()


def plain(keys: Iterable[str], weights: Mapping[str, float] | None = None) -> tuple[Key, ...]:
    """Keys of the list, called by their places in it. One without a weight has 1."""
    return tuple(
        Key(f"key {i}", digest_of(key), (weights or {}).get(key, 1.0))
        for i, key in enumerate(keys, start=1)
    )


def joined(
    tables: Mapping[str, KeySettings],
    api_keys: Iterable[str] = (),
    weights: Mapping[str, float] | None = None,
) -> tuple[Key, ...]:
    """All of them; one that has a table is not in the list, too. Raises ConfigError for a file that
    can't be read, and for one key under two names."""
    found: dict[bytes, Key] = {}
    for name, table in tables.items():
        key = Key(
            name, _digest(name, table), table.weight, table.models,
            table.tokens_per_minute, table.tokens_per_day, table.max_concurrent, table.admin,
        )  # fmt: skip
        if other := found.get(key.digest):
            raise ConfigError(f"keys.{name} and keys.{other.name} have the same key")
        found[key.digest] = key
    for key in plain(api_keys, weights):
        found.setdefault(key.digest, key)
    return tuple(found.values())


def secret_of(name: str, table: KeySettings) -> str | None:
    """None where only its digest is known. Raises ConfigError."""
    if table.key_file is None:
        return None if table.key is None or table.key.startswith(_SHA256) else table.key
    try:
        with path_of(table.key_file).open("rb") as file:
            line = file.read(_MOST_KEY_BYTES + 1).partition(b"\n")[0].strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"keys.{name}: key_file {table.key_file} can't be read: {why}",
            hint="a file whose first line is the key, and which the server's user may read",
        ) from error
    if not 0 < len(line) <= _MOST_KEY_BYTES:
        raise ConfigError(
            f"keys.{name}: the first line of key_file {table.key_file} is no key",
            hint=f"it is to hold the key alone, of at most {_MOST_KEY_BYTES} bytes",
        )
    return line.decode("utf-8", "surrogateescape")


def check_named(tables: Mapping[str, KeySettings]) -> None:
    """What needs no look at the disk. A key is a secret: no error repeats it. Raises ConfigError"""
    if len(tables) > _MOST_KEYS:
        raise ConfigError(f"keys: {len(tables)} are more than {_MOST_KEYS}")
    for name, table in tables.items():
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"keys.{name[:64]!r} is no name of a key",
                hint="write 1 to 32 letters, digits, dots, dashes and underscores",
            )
        _check_secret(name, table)
        check_weight(f"keys.{name}: weight", table.weight)
        for bound in _BOUNDS:
            value = getattr(table, bound)
            if value is not None and not 1 <= value <= 10**15:
                raise ConfigError(
                    f"keys.{name}: {bound} {value} is no bound",
                    hint="leave it out for none; a key that may nothing is one to be left out",
                )
        if table.models is not None and not all(model.strip() for model in table.models):
            raise ConfigError(f"keys.{name}: models has a name that is empty")
        if table.models == ():
            raise ConfigError(f"keys.{name}: models is empty", hint="leave it out for all of them")


def check_weight(what: str, weight: float) -> None:
    """Raises ConfigError."""
    if not 0.01 <= weight <= 100:
        raise ConfigError(f"{what} {weight} is not between 0.01 and 100")


def _check_secret(name: str, table: KeySettings) -> None:
    if (table.key is None) == (table.key_file is None):
        both = "both key and key_file" if table.key is not None else "neither key nor key_file"
        raise ConfigError(f"keys.{name} has {both}", hint="give one of them")
    if table.key is None:
        return
    if not table.key.strip():
        raise ConfigError(f"keys.{name}: the key is empty, and everybody has that one")
    if table.key.startswith(_SHA256) and not _DIGEST.fullmatch(table.key.removeprefix(_SHA256)):
        raise ConfigError(
            f"keys.{name}: what follows {_SHA256} is no SHA-256, 64 digits of 0-9 and a-f",
            hint='printf %s "$KEY" | sha256sum',
        )


def _digest(name: str, table: KeySettings) -> bytes:
    secret = secret_of(name, table)
    if secret is not None:
        return digest_of(secret)
    return bytes.fromhex((table.key or "").removeprefix(_SHA256))
