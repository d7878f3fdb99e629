"""After how many seconds a card is called lost whose vendor has a command-line tool and no library,
and what must not be called so: a tool that is slow, hangs, is restarted or being replaced.

    python scripts/bench/lost_card.py [SECONDS]

A tool of two cards that takes a second, one for each line, does what the line says from the worst
moment on: just after it was asked. Sampler and watch are the server's own, the model idles. Ends
with 1 where a lost card was not named within ten seconds, or one was named that is not lost.
"""

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgellm.meter.health import Vitals, Watch
from edgellm.meter.readers.tool import ToolSensor
from edgellm.meter.sampler import Sampler
from edgellm.probe.hardware import Device
from edgellm.probe.sources import ForwardingSources, NoAnswer, Output, SystemSources
from edgellm.probe.vendors import huawei

ONE, TWO = "0000:01:00.0", "0000:c1:00.0"
_NAMED_S = 10.0
_ASKED_S = 4.0  # until the next reading, of five seconds' which begin with the one that is over
_ROWS = (
    "| 0 910B3 | OK | 95.0 50 0 / 0 |\\n| 0 | 0000:01:00.0 | 0 0 / 0 3400 / 65536 |\\n",
    "| 1 910B3 | OK | 95.0 50 0 / 0 |\\n| 0 | 0000:c1:00.0 | 0 0 / 0 3400 / 65536 |\\n",
)
_WELL = f"printf '{''.join(_ROWS)}'"
_REFUSES = "echo 'dcmi module initialize failed. ret is -8005'; exit 1"


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    tool: str | None  # the script that it becomes; None: it is deleted
    is_lost: bool
    for_s: float = 3600.0  # and then it is well again


CASES = (
    Case("it refuses for all cards", f"sleep 1; {_REFUSES}", True),
    Case("it names one card less", f"sleep 1; printf '{_ROWS[1]}'", True),
    Case("one card drops off its bus, and it hangs", "sleep 600", True),
    Case("it refuses for a second and a half", _REFUSES, False, for_s=_ASKED_S + 1.5),
    Case("half of one table", f"printf '{_ROWS[1]}'", False, for_s=_ASKED_S + 0.5),
    Case("it takes three and a half seconds", f"sleep 3.5; {_WELL}", False),
    Case("it hangs", "sleep 600", False),
    Case("it is gone", None, False),
)


class ToolIn(ForwardingSources):
    """The machine below a folder, and its npu-smi."""

    def __init__(self, folder: Path) -> None:
        self._files = SystemSources(folder)
        super().__init__(self._files)
        self.path = folder / "npu-smi"

    def run(self, argv: tuple[str, ...], timeout_s: float) -> Output | NoAnswer:
        if argv != huawei.TABLE:  # the chips' order, which doesn't matter here
            return Output("")
        return self._files.run((str(self.path), *argv[1:]), timeout_s)

    def becomes(self, script: str | None) -> None:
        if script is None:
            self.path.unlink()
            return
        new = self.path.with_suffix(".new")
        new.write_text(f"#!/bin/sh\n{script}\n")
        new.chmod(0o755)
        new.rename(self.path)


def named_s(case: Case, seconds: float) -> float | None:
    """After which of it the watch says lost; None: never."""
    with tempfile.TemporaryDirectory() as folder:
        tool = ToolIn(Path(folder))
        links = [Path(folder) / f"sys/bus/pci/devices/{i}/current_link_width" for i in (ONE, TWO)]
        for link in links:
            link.parent.mkdir(parents=True)
            link.write_text("16\n")
        tool.becomes(f"sleep 1; {_WELL}")
        npus = [Device(id_, "huawei", "Ascend910B3", "cann", id_) for id_ in (ONE, TWO)]
        sampler, watch = Sampler((ToolSensor("npu-smi", huawei.readings, tool, npus),)), Watch()
        sampler.start()
        try:
            while not sampler.latest():
                time.sleep(0.01)
            began_s = time.monotonic()
            if "bus" in case.name:
                links[0].write_text("63\n")
            tool.becomes(case.tool)
            while (now_s := time.monotonic()) < began_s + seconds:
                if now_s > began_s + case.for_s:
                    tool.becomes(f"sleep 1; {_WELL}")
                here = tuple(sample.device_id for sample in sampler.latest())
                look = Vitals(now_s, planned_devices=(ONE, TWO), present_devices=here)
                if watch.look(look).state == "lost":
                    return time.monotonic() - began_s
                time.sleep(1.0)
            return None
        finally:
            sampler.stop()


def main(seconds: float) -> int:
    with ThreadPoolExecutor(len(CASES)) as pool:
        told = list(pool.map(lambda case: named_s(case, seconds), CASES))
    n_wrong = 0
    for case, after_s in zip(CASES, told, strict=True):
        is_right = (after_s is not None and after_s <= _NAMED_S) is case.is_lost
        n_wrong += not is_right
        word = f"not lost in {seconds:g} s" if after_s is None else f"lost after {after_s:.1f} s"
        print(f"{case.name:<42} {word}{'' if is_right else '   WRONG'}")
    return 1 if n_wrong else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
