"""How long a probe takes, on captured machines whose programs answer as slowly as real ones do.

    python scripts/bench/probe_time.py [CAPTURE …]

Files are read at the speed of this disk; programs answer after the seconds below. What is
measured is ours: that readers run side by side, and that one which hangs costs its own time-out
and nobody else's fields. The last two columns are the same machine with its vendor's programs
hanging: for the first time, and at the next probe, which remembers it.
"""

import sys
import tempfile
import time
from pathlib import Path

from edgellm.probe.asked.hangs import HangSkippingSources
from edgellm.probe.detect import detect
from edgellm.probe.sources import NoAnswer, Output, Sources, SysrootSources, capture_name

CAPTURES = Path(__file__).parents[2] / "tests" / "probe" / "captures"

# Seconds. npu-smi and its likes take about one; NVML with persistence mode and 8 cards some
# tenths; ggml's list 0.3 s and up, for a CUDA context a card.
_SLOW = {
    "nvml_child": 0.35, "registry_child": 0.8, "bandwidth_child": 0.1, "intel_child": 0.1,
    "sysctl": 0.02, "vm_stat": 0.02, "ioreg": 0.1, "vcgencmd": 0.02, "nvpmodel": 0.05,
}  # fmt: skip
_TOOL_S = 0.6


class Slow(SysrootSources):
    def __init__(self, directory: Path, hanging: bool = False) -> None:
        super().__init__(directory)
        self._hanging = hanging

    def run(self, argv: tuple[str, ...], timeout_s: float) -> Output | NoAnswer:
        answer = super().run(argv, timeout_s)
        name = capture_name(argv)
        if isinstance(answer, NoAnswer):
            return answer
        if self._hanging and name not in ("registry_child", "bandwidth_child"):
            time.sleep(timeout_s)
            return NoAnswer("timeout", f"{name} gave no answer within {timeout_s:g} s")
        time.sleep(_SLOW.get(name.partition(" ")[0], _TOOL_S))
        return answer


def took_s(sources: Sources) -> tuple[float, int]:
    began_s = time.perf_counter()
    hardware = detect(sources)
    return time.perf_counter() - began_s, len(hardware.devices)


def main(names: list[str]) -> None:
    print(f"{'machine':<28} {'devices':>7} {'probe':>8} {'one hangs':>11} {'the next':>9}")
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            seconds, n_devices = took_s(Slow(CAPTURES / name))
            hanging = Slow(CAPTURES / name, hanging=True)
            hanging_s, next_s = (
                took_s(HangSkippingSources(hanging, Path(place)))[0] for _ in range(2)
            )
        print(
            f"{name:<28} {n_devices:>7} {seconds:>6.2f} s {hanging_s:>9.2f} s {next_s:>7.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:] or sorted(place.name for place in CAPTURES.iterdir() if place.is_dir()))
