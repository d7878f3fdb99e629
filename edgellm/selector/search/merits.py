"""What one candidate's options are judged by: figures that many of them share, found once."""

from dataclasses import dataclass, field

from edgellm.selector.plan import Candidate, KVType, Placement
from edgellm.selector.quality import kv_kld, weight_kld
from edgellm.selector.search.paces import pace_of
from edgellm.selector.search.question import Question
from edgellm.selector.search.ranking import Merit, Pace
from edgellm.selector.search.settings import Setting


@dataclass(slots=True)
class Merits:
    question: Question
    candidate: Candidate
    weight_kld: float = field(init=False)
    _kv_klds: dict[tuple[KVType, KVType], float] = field(default_factory=dict)
    _paces: dict[tuple[object, ...], Pace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        quality, candidate = self.question.profiles.quality, self.candidate
        self.weight_kld = weight_kld(quality, candidate.quant, candidate.spec)

    def of(self, setting: Setting, pace: Pace, n_devices: int, watts: float | None) -> Merit:
        return Merit(
            spec=self.candidate.spec,
            setting=setting,
            pace=pace,
            weight_kld=self.weight_kld,
            kv_kld=self._cache_kld(setting),
            n_devices=n_devices,
            power_w=watts,
        )

    def pace(self, setting: Setting, placement: Placement) -> Pace:
        """The context's size changes where layers go, and with the same placement no speed."""
        key = (
            *((share.device_id, share.layers, share.expert_layers) for share in placement.shares),
            placement.expert_parts, placement.split_mode, placement.op_offload,
            placement.no_host, placement.disk_bytes,
            setting.n_ubatch, setting.n_parallel, setting.kv_type_k, setting.kv_type_v,
            setting.kv_unified,
        )  # fmt: skip
        if key not in self._paces:
            self._paces[key] = pace_of(self.question, self.candidate.spec, setting, placement)
        return self._paces[key]

    def _cache_kld(self, setting: Setting) -> float:
        pair = setting.kv_type_k, setting.kv_type_v
        if pair not in self._kv_klds:
            self._kv_klds[pair] = kv_kld(self.question.profiles.quality, *pair)
        return self._kv_klds[pair]
