"""On which terms requests come in: whose, how fast, in what heat, and how much of them is kept."""

from dataclasses import dataclass, field

from edgellm.meter.guardrails import Ceilings
from edgellm.meter.usage.diary import Diary
from edgellm.server.door.access import Access
from edgellm.server.door.gate import Tell, nobody_listens
from edgellm.server.door.patience import Patience
from edgellm.units import MIB


@dataclass(frozen=True, slots=True)
class Terms:
    access: Access = field(default_factory=Access)
    patience: Patience = field(default_factory=Patience)
    ceilings: Ceilings = field(default_factory=Ceilings)
    responses_bytes: int = 8 * MIB  # that may be asked for again; 0: none may
    on_held: Tell = nobody_listens  # is told when requests begin to wait for the ceilings
    diary: Diary | None = None  # of who has used what; None: none is kept
    on_trouble: Tell = nobody_listens  # is told when it can't be
