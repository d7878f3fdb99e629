"""A model in every context that is tried, added up once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgellm.models.spec import ModelSpec
from edgellm.selector.memory.buffers import Buffers
from edgellm.selector.memory.load import Bulk, Load
from edgellm.selector.search.settings import Setting


@dataclass(slots=True)
class Loads:
    """`wished`: settings of one layout, whose buffers are assumed together."""

    spec: ModelSpec
    wished: Sequence[Setting]
    bulk: Bulk = field(init=False)
    _buffers: Buffers = field(init=False)
    _by_setting: dict[Setting, Load] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bulk = Bulk.of(self.spec)
        self._buffers = _buffers(self.spec, self.wished)

    def of(self, setting: Setting) -> Load:
        if setting not in self._by_setting:
            is_alike = setting.kv_unified == self.wished[0].kv_unified
            assumed = self._buffers if is_alike else None
            self._by_setting[setting] = self.bulk.load(setting.shape, assumed)
        return self._by_setting[setting]


def _buffers(spec: ModelSpec, wished: Sequence[Setting]) -> Buffers:
    cells = [setting.shape.cells_per_stream for setting in wished]
    n_seq_max = max(setting.n_seq_max for setting in wished)
    n_outputs_max = max(setting.n_outputs_max for setting in wished)
    return Buffers(spec, min(cells), max(cells), n_seq_max, max(n_seq_max, n_outputs_max))
