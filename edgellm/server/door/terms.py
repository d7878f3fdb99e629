"""On which terms requests come in: whose, how fast, and in what heat."""

from dataclasses import dataclass, field

from edgellm.meter.guardrails import Ceilings
from edgellm.server.door.access import Access
from edgellm.server.door.gate import Tell, nobody_listens
from edgellm.server.door.patience import Patience


@dataclass(frozen=True, slots=True)
class Terms:
    access: Access = field(default_factory=Access)
    patience: Patience = field(default_factory=Patience)
    ceilings: Ceilings = field(default_factory=Ceilings)
    on_held: Tell = nobody_listens  # is told when requests begin to wait for the ceilings
