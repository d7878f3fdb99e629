"""What a speed depends on, under one name."""

from edgellm.models.spec import ModelSpec
from edgellm.probe.hardware import Hardware
from edgellm.selector.memory.shape import ContextShape
from edgellm.selector.plan import Placement
from edgellm.selector.speed.speed_profile import SpeedProfile
from edgellm.values import frozen


@frozen
class Setup:
    """A model in a context, placed on a machine. `profile`: what is known of how fast that is."""

    spec: ModelSpec
    shape: ContextShape
    placement: Placement
    hardware: Hardware
    profile: SpeedProfile
