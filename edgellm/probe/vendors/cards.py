"""An accelerator as its vendor's tool or driver describes it, before llama.cpp is asked."""

from edgellm.probe.hardware import LinkKind
from edgellm.values import frozen


@frozen
class Peer:
    """The shortest way to another card."""

    address: str
    kind: LinkKind
    bytes_s: float | None = None  # one direction


@frozen
class Card:
    """`total_bytes` is its own memory; a unified one has none and shares the host's. `None` means
    that the vendor's source doesn't say."""

    vendor: str
    name: str
    address: str | None = None  # normal PCI address
    total_bytes: int | None = None
    free_bytes: int | None = None
    is_unified: bool = False
    is_carved_out: bool = False  # its own memory is a part of the host's modules, and as fast
    limit_bytes: int | None = None  # of the host's memory, for a unified one
    bandwidth_bytes_s: float | None = None
    architecture: str | None = None
    n_gpu_cores: int | None = None  # where chips of one name differ in them
    link: str | None = None
    power_limit_w: float | None = None  # as set now
    power_default_w: float | None = None  # as its maker set it
    note: str | None = None
    has_driver: bool = True  # False: only the PCI bus shows it
    is_slice: bool = False  # a part of the card, with that part of its bandwidth (MIG)
    part: int | None = None  # of a board whose chips share an address
    index: int | None = None  # as the vendor's own tool counts
    link_now: str | None = None
    numa_node: int | None = None
    visible_bytes: int | None = None
    driver: str | None = None
    toolkit: str | None = None
    peers: tuple[Peer, ...] = ()
