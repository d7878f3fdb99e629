"""What the search passes over: where a large context lies whole, a smaller one is no faster."""

from dataclasses import field

from edgellm.selector.placing.devices import DeviceSet
from edgellm.selector.search.settings import Setting
from edgellm.values import frozen


@frozen
class Tried:
    """Settings that lie whole on equal devices."""

    _whole: dict[tuple[object, ...], list[Setting]] = field(default_factory=dict)

    def add(self, setting: Setting, devices: DeviceSet) -> None:
        self._whole.setdefault(self._key(setting, devices), []).append(setting)

    def cover(self, setting: Setting, devices: DeviceSet) -> bool:
        larger = self._whole.get(self._key(setting, devices), ())
        return any(_covers(better, setting) for better in larger)

    def _key(self, setting: Setting, devices: DeviceSet) -> tuple[object, ...]:
        return (*devices, setting.kv_type_k, setting.kv_type_v)


def _covers(better: Setting, setting: Setting) -> bool:
    return better.n_parallel >= setting.n_parallel and better.n_ctx_seq >= setting.n_ctx_seq
