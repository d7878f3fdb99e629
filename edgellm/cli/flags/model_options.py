"""How a model is to run, as flags say it, or its table in the settings: the same words for both."""

from dataclasses import fields, replace
from typing import Any, TypeVar

from edgellm.cli.flags.adapting import Adapting
from edgellm.cli.flags.drafting import Drafting
from edgellm.cli.flags.pins import Pins
from edgellm.cli.flags.seeing import Seeing
from edgellm.values import frozen

_T = TypeVar("_T")


@frozen(kw_only=True)
class ModelOptions:
    """What is said of one model; a field at its default says nothing."""

    pins: Pins = Pins()
    drafting: Drafting = Drafting()
    seeing: Seeing = Seeing()
    adapting: Adapting = Adapting()
    sleep_idle_seconds: float | None = None

    def over(self, other: "ModelOptions") -> "ModelOptions":
        """These, and what they don't say as `other` says it. Whoever names a projector, or who
        guesses, has said all there is to say of that."""
        pins, drafting = other.pins, other.drafting
        if self.drafting.draft:
            pins = replace(pins, speculate=None)
        if self.drafting.named(self.pins) is not None:
            drafting = self.drafting
        idle_s = self.sleep_idle_seconds
        return ModelOptions(
            pins=_over(self.pins, pins),
            drafting=drafting,
            seeing=other.seeing if self.seeing == Seeing() else self.seeing,
            adapting=_over(self.adapting, other.adapting),
            sleep_idle_seconds=other.sleep_idle_seconds if idle_s is None else idle_s,
        )


def _over(mine: _T, other: _T) -> _T:
    given: dict[str, Any] = {
        field.name: value
        for field in fields(mine)  # type: ignore[arg-type]
        if (value := getattr(mine, field.name)) != field.default
    }
    return replace(other, **given)  # type: ignore[type-var]
