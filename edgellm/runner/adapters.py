"""Which LoRA adapters a served model has, by which names and numbers, and which a request gets.

A number is never given twice: so a prefix that was computed with an adapter that has been unloaded
is never taken for another one's. What a request gets is decided by the first of these that says it:

    its own list   [{"id": 0, "scale": 0.5}]: these and no others (llama-server's way)
    its model      an adapter's name: this one alone (vLLM's way)
    the scales     that adapters were given for everybody
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgellm.chat.messages import AdapterSet
from edgellm.errors import BadGGUF, BadRequest, DoesNotFit, ModelNotFound
from edgellm.models import local
from edgellm.models.anatomy.adapters import check_adapter
from edgellm.models.gguf.header import GGUFHeader
from edgellm.units import format_bytes

MAX_ADAPTERS = 64
MAX_SCALE = 100.0  # a bound on what reaches native code; such a model only babbles
# Requests run together and share prefixes if their sets are equal. So scales are rounded to a grid,
# or 1.0 and 1.0001 would take turns; the grid is too fine to show in an answer.
_SCALE_STEP = 1 / 1024


@dataclass(frozen=True, slots=True)
class Adapter:
    id: int
    name: str  # a request may name it as its model
    path: str
    scale: float = 0.0  # in requests that don't say; 0: it is not used in them
    came_later: bool = False  # loaded at run time: a restarted worker may do without it


class AdapterList:
    def __init__(self, adapters: Sequence[Adapter] = ()) -> None:
        self._by_id = {adapter.id: adapter for adapter in adapters}
        self._n_given = max(self._by_id, default=-1) + 1

    def __iter__(self) -> Iterator[Adapter]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def files(self) -> tuple[tuple[tuple[int, bytes], ...], tuple[tuple[int, bytes], ...]]:
        """Ids and paths of those that the model was served with, and of those that came later."""
        pairs = [(one.came_later, (one.id, os.fsencode(one.path))) for one in self]
        return tuple(p for late, p in pairs if not late), tuple(p for late, p in pairs if late)

    def new(self, name: str, path: str, scale: float = 0.0) -> Adapter:
        """An adapter to be loaded, and then added. Raises BadRequest."""
        if self.find(name):
            raise BadRequest(
                f"an adapter {name[:80]!r} is loaded already",
                hint="unload it first, or give this one another name",
                param="lora_name",
            )
        if len(self) >= MAX_ADAPTERS:
            raise BadRequest(f"{len(self)} adapters are loaded, and no more than {MAX_ADAPTERS}")
        self._n_given += 1
        return Adapter(self._n_given - 1, name, path, scale, came_later=True)

    def add(self, adapter: Adapter) -> None:
        self._by_id[adapter.id] = adapter

    def remove(self, name: str) -> Adapter:
        """Raises ModelNotFound."""
        adapter = self.find(name)
        if adapter is None:
            raise ModelNotFound(f"no adapter {name[:80]!r} is loaded", param="lora_name")
        return self._by_id.pop(adapter.id)

    def forget(self, adapter_ids: Iterable[int]) -> None:
        """The worker no longer has them."""
        for adapter_id in adapter_ids:
            self._by_id.pop(adapter_id, None)

    def find(self, name: str) -> Adapter | None:
        wanted = name.casefold()
        return next((one for one in self if one.name.casefold() == wanted), None)

    def give_scales(self, scales: Mapping[int, float]) -> None:
        """For everybody. Adapters that aren't named are not used any more. Raises BadRequest."""
        for adapter_id in scales:
            self._check(adapter_id)
        for adapter in self:
            self.add(replace(adapter, scale=scales.get(adapter.id, 0.0)))

    def wanted(self, asked: Mapping[int, float] | None, model: str) -> AdapterSet:
        """What a request is to be computed with. Raises BadRequest."""
        if asked is not None:
            for adapter_id in asked:
                self._check(adapter_id)
            return _set(asked)
        named = self.find(model) if model else None
        if named:
            return _set({named.id: named.scale or 1.0})
        return _set({adapter.id: adapter.scale for adapter in self})

    def _check(self, adapter_id: int) -> None:
        if adapter_id not in self._by_id:
            known = ", ".join(f"{one.id} ({one.name})" for one in self) or "none is loaded"
            raise BadRequest(f"lora: no adapter has the id {adapter_id}; {known}", param="lora")


def check_room(adapter: GGUFHeader, free_bytes: int) -> None:
    """Raises DoesNotFit. At run time nothing is planned anew, and a worker without memory would be
    killed."""
    n_bytes = sum(tensor.n_bytes for tensor in adapter.tensors)
    if n_bytes > free_bytes:
        raise DoesNotFit(
            f"the adapter takes {format_bytes(n_bytes)}, and {format_bytes(free_bytes)} are free",
            hint="unload another one, or serve the model with --lora: then it is planned for",
        )


def _set(scales: Mapping[int, float]) -> AdapterSet:
    rounded = {one: round(scale / _SCALE_STEP) * _SCALE_STEP for one, scale in scales.items()}
    return tuple((one, scale) for one, scale in sorted(rounded.items()) if scale)


def read_adapter(path: Path, model: Sequence[GGUFHeader]) -> GGUFHeader:
    """Its header, which agrees with the model's. Raises BadGGUF, ModelNotFound, StorageError."""
    header = local.read_header(path)
    try:
        check_adapter(header, model)
    except BadGGUF as error:
        raise BadGGUF(f"{path.name}: {error}", hint=error.hint) from error
    return header
