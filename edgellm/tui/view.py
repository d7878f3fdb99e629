"""What the screens draw: the newest status, the histories, and whether the server still answers.

A value: each answer of the server, and each silence, makes the next one.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

from edgellm.status import DeviceStatus, ModelStatus, Status

History: TypeAlias = tuple[float | None, ...]  # one value an answer, the newest last
PASSING = frozenset({"starting", "loading", "waking", "restarting"})  # it will be ready by itself
_LENGTH = 600  # ten minutes at 1 Hz: more than the widest graph shows


@dataclass(frozen=True, slots=True)
class Played:
    """Where a recording stands: seconds of it, and how many of them pass in one of ours."""

    at_s: float
    length_s: float
    speed: float


@dataclass(frozen=True, slots=True)
class View:
    url: str
    interval_s: float = 1.0
    status: Status | None = None  # the last one known
    problem: str | None = "connecting"  # why there is no newer one; None: it is live
    is_refused: bool = False  # there is one that tells us nothing, or our settings are broken
    decode_tok_s: History = ()
    prefill_tok_s: History = ()
    busy: tuple[tuple[str, History], ...] = ()  # by device id
    played: Played | None = None  # None: a server, and no recording
    chosen: str | None = None  # the model that the screen is to be about; None: nobody said

    @property
    def is_live(self) -> bool:
        return self.problem is None

    @property
    def models(self) -> tuple[ModelStatus, ...]:
        return self.status.models if self.status else ()

    @property
    def devices(self) -> tuple[DeviceStatus, ...]:
        return self.status.devices if self.status else ()

    @property
    def model(self) -> ModelStatus | None:
        """The one the screen is about: the chosen one; else the first that generates, of several
        that take turns the first that is there; else the first."""

        def rank(m: ModelStatus) -> tuple[bool, ...]:
            return m.name != self.chosen, m.embedding, m.state == "sleeping"

        return min(self.models, key=rank, default=None)

    @property
    def choices(self) -> tuple[str, ...]:
        """Of which one can be chosen: those that generate, by name."""
        return tuple(m.name for m in self.models if not m.embedding)

    @property
    def is_on_its_way(self) -> bool:
        """Whether the model changes its state in a moment, by itself."""
        return self.model is not None and self.model.state in PASSING

    @property
    def can_switch_thoughts(self) -> bool:
        """Also where nobody tells: then it may be asked for, and changes nothing."""
        return self.model is None or self.model.switches_thoughts is not False

    @property
    def others(self) -> tuple[ModelStatus, ...]:
        return tuple(m for m in self.models if m is not self.model)

    @property
    def all_decode_tok_s(self) -> float | None:
        """Of all models together; None where nothing is written."""
        return sum(m.decode_tok_s for m in self.models if m.decode_tok_s is not None) or None

    def busy_of(self, device: DeviceStatus) -> History:
        return next((history for id, history in self.busy if id == device.id), ())

    def seen(self, status: Status) -> "View":
        """The server answered. Where it had been away, the graphs show a gap."""
        view = self if self.is_live else self._with_gap()
        answered = view.glimpsed(status)
        model = answered.model
        return replace(
            answered,
            decode_tok_s=_appended(view.decode_tok_s, model.decode_tok_s if model else None),
            prefill_tok_s=_appended(view.prefill_tok_s, model.prefill_tok_s if model else None),
            busy=tuple(
                (device.id, _appended(view.busy_of(device), device.busy_ratio))
                for device in status.devices
            ),
        )

    def glimpsed(self, status: Status) -> "View":
        """The server answered between two looks: the graphs keep their step."""
        return replace(self, status=status, problem=None, is_refused=False)

    def about(self, name: str) -> "View":
        """Another model's graphs begin anew."""
        if self.model is not None and self.model.name == name:
            return replace(self, chosen=name)
        return replace(self, chosen=name, decode_tok_s=(), prefill_tok_s=())

    def about_next(self) -> "View":
        """The next of its choices, in the server's order."""
        shown = self.model.name if self.model else ""
        after = self.choices.index(shown) + 1 if shown in self.choices else 0
        return self.about(self.choices[after % len(self.choices)]) if self.choices else self

    def lost(self, problem: str, *, is_refused: bool = False) -> "View":
        """The server did not answer, or another did. What was known last stays."""
        return replace(self, problem=problem, is_refused=is_refused)

    def _with_gap(self) -> "View":
        if self.status is None:
            return self
        return replace(
            self,
            decode_tok_s=_appended(self.decode_tok_s, None),
            prefill_tok_s=_appended(self.prefill_tok_s, None),
            busy=tuple((id, _appended(history, None)) for id, history in self.busy),
        )


def _appended(history: History, value: float | None) -> History:
    return (*history[1 - _LENGTH :], value)
