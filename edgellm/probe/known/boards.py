"""profiles/boards/*.toml: whole machines, for `edgellm plan MODEL --on NAME`.

A board says what is bought together and how much of it is free; what a device can do stands in
profiles/devices.toml, and the board only names its row.
"""

import difflib
from collections.abc import Iterator

from edgellm.errors import BadRequest, ConfigError, ModelNotFound
from edgellm.probe.hardware import Backend, Cpu, Hardware, MemoryPool
from edgellm.probe.known import catalog
from edgellm.probe.known.catalog import DeviceRow
from edgellm.probe.known.described import Part, assemble, hardware_from_devices, link_of
from edgellm.resources import ProfileRow, profiles_dir, read_profile
from edgellm.units import GIB

_MAX_NEAR = 5


class _BoardDevice(ProfileRow, frozen=True, kw_only=True):
    device: str  # a row of devices.toml
    free_gib: float | None = None  # None: it lives in the host's memory
    count: int = 1
    bridged: bool = False  # the bridge between two cards was bought
    backend: Backend | None = None  # where another than the usual one is meant
    link: str | None = None  # where the slot is narrower than the card


class _Board(ProfileRow, frozen=True, kw_only=True):
    name: str
    system: str = "Linux"
    ram_gib: float
    ram_free_gib: float
    ram_bandwidth_gb_s: float | None = None  # None: that of the device that lives in it
    cpu: str
    n_physical_cores: int
    n_logical_cores: int
    isa: tuple[str, ...] = ()
    device: tuple[_BoardDevice, ...] = ()


def board_names() -> tuple[str, ...]:
    return tuple(path.stem for path in sorted((profiles_dir() / "boards").glob("*.toml")))


def hardware_from_board(name: str) -> Hardware:
    """Its name in any case. Raises ModelNotFound for one that no board has, ConfigError for a
    broken file."""
    names = {known.casefold(): known for known in board_names()}
    if (known := names.get(name.casefold())) is None:
        hint = _instead_of(name, tuple(names.values()))
        raise ModelNotFound(f"no board is called {name!r}", hint=hint)
    board = _read(known)
    try:
        return _hardware(board)
    except BadRequest as error:
        raise ConfigError(f"profiles/boards/{known}.toml: {error}", hint=error.hint) from error


def _read(known: str) -> _Board:
    """Raises ConfigError for a broken file."""
    return read_profile(profiles_dir() / "boards" / f"{known}.toml", _Board)


def _instead_of(name: str, names: tuple[str, ...]) -> str:
    """The nearest names, and how any other machine is described."""
    by_key = {_key(known): known for known in names}
    key = _key(name)
    near = [known for k, known in by_key.items() if key and (key in k or k in key)]
    near += [known for known in names if key and key in _key(_read(known).name)]
    near += [by_key[k] for k in difflib.get_close_matches(key, by_key, n=_MAX_NEAR)]
    asked = ", ".join(list(dict.fromkeys(near))[:_MAX_NEAR])
    other = f"any machine can be described by its parts: {_by_parts(name)}"
    if asked:
        return f"did you mean {asked}? Else {other}"
    some = ", ".join(names[:: len(names) // _MAX_NEAR or 1][:_MAX_NEAR])
    return f"{len(names)} are described, such as {some}; {other}"


def _by_parts(spec: str) -> str:
    """ "8xH200" is no board, but eight of a card that is known. A whole machine has its memory."""
    try:
        pools = hardware_from_devices((spec,)).pools
    except (BadRequest, ModelNotFound):
        return '--device "RTX 4090" --ram 64GiB'
    return f'--device "{spec}"' + (" --ram 64GiB" if len(pools) > 1 else "")


def _key(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def _hardware(board: _Board) -> Hardware:
    parts = tuple(_parts(board))
    sharing = next((part.row for part in parts if part.free_bytes is None), None)
    cpu = Cpu(board.cpu, board.n_physical_cores, board.n_logical_cores, board.isa)
    return assemble(parts, _host(board, sharing), cpu, board.system)


def _parts(board: _Board) -> Iterator[Part]:
    for said in board.device:
        row = catalog.load().named(said.device)
        free = None if said.free_gib is None else int(said.free_gib * GIB)
        part = Part(row, free, said.link or link_of(row), said.bridged, said.backend)
        yield from (part,) * said.count


def _host(board: _Board, sharing: DeviceRow | None) -> MemoryPool:
    bandwidth = board.ram_bandwidth_gb_s or (sharing.bandwidth_gb_s if sharing else None)
    return MemoryPool(
        "host",
        "unified" if sharing else "host",
        int(board.ram_gib * GIB),
        int(board.ram_free_gib * GIB),
        bandwidth and bandwidth * 1e9,
    )
