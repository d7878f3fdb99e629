"""Tables of the settings that are about no model, which a typing error makes them.

A model that is named, lies here, or is in the catalog and may come, can have one before it is here.
"""

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgellm.cli.flags.table_names import Meant, meant_by
from edgellm.cli.flags.tables import Table, check_tables
from edgellm.cli.preparing.resolve import DEMO
from edgellm.cli.preparing.store import store_of
from edgellm.config import Config
from edgellm.errors import EdgellmError
from edgellm.models.elsewhere.tools import found_models
from edgellm.models.known import catalog
from edgellm.values import frozen

_MOST_NAMES = 3
_ALIKE_RATIO = 0.8  # of a file's name, which may lie anywhere, to one that is known


@frozen
class UnmatchedTable:
    """`near`: names that are spelt like its own."""

    table: Table
    near: tuple[str, ...]

    @property
    def advice(self) -> str:
        return (
            f"did you mean {' or '.join(self.near)}?" if self.near else "edgellm list shows what is"
        )

    def __str__(self) -> str:
        return f"{self.table.where}: no model is here by that name; {self.advice}"


def unmatched_tables(config: Config, named: Sequence[str] = ()) -> tuple[UnmatchedTable, ...]:
    """`named`: models that are to be served. Raises ConfigError, StorageError."""
    return tuple(_unmatched(config, named)) if config.models else ()


def _unmatched(config: Config, named: Sequence[str]) -> Iterator[UnmatchedTable]:
    stored = store_of(config).list()
    names = [*named, DEMO, *(one.name for one in stored), *(one.name for one in found_models())]
    here = [*_meant([*names, *(f"{one.repo}/{file}" for one in stored for file in one.files)])]
    known = [*names, *(one.repo for one in stored), *catalog.names("")]
    for name, (meant, table) in zip(config.models, check_tables(config).items(), strict=True):
        if any(meant.holds(one) for one in here):
            continue
        if meant.model and not meant.stem and not _may_come(meant, here):
            yield UnmatchedTable(
                table, _near(name, [*known, *(one.name for one in catalog.load_catalog())])
            )
        elif meant.model and meant.stem and not _is_there(meant.model):
            yield UnmatchedTable(table, _near(name, _beside(name, meant)))
        elif not meant.model and (near := _near(name, known, _ALIKE_RATIO)):
            yield UnmatchedTable(table, near)  # else it is a file's that lies who knows where


def _meant(names: Iterable[str]) -> Iterator[Meant]:
    for name in names:
        with contextlib.suppress(EdgellmError):
            yield meant_by(name)


def _may_come(meant: Meant, here: Sequence[Meant]) -> bool:
    """Of what is here in another quantization, that one was meant perhaps."""
    if any(one.model == meant.model for one in here):
        return False
    return any((one.repo or one.name).casefold() == meant.model for one in catalog.load_catalog())


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # nobody may look: whoever is to serve it may as little
        return False


def _beside(name: str, meant: Meant) -> Iterator[str]:
    """The models in its folder, written as it is; none where nobody may look."""
    folder = name[: name.rfind("/") + 1]
    with contextlib.suppress(OSError):
        yield from (folder + path.name for path in Path(meant.model).parent.glob("*.gguf"))


def _near(name: str, known: Iterable[str], ratio: float = 0.6) -> tuple[str, ...]:
    shown = {_spelt(one): one for one in known}
    found = difflib.get_close_matches(_spelt(name), shown, n=_MOST_NAMES, cutoff=ratio)
    return tuple(dict.fromkeys(shown[one] for one in found))


def _spelt(name: str) -> str:
    """Without what all such names share."""
    own = name.casefold().removeprefix("hf.co/")
    return own.rpartition("/")[2].removesuffix(".gguf") if own.endswith(".gguf") else own
