"""`tune --power` as a program, for test_tune_power.py: two cards of one driver, its nvidia-smi
first on the PATH, the demo model on the CPU. Words: "--yes" for no question.

The fake keeps to what nvidia-smi does: it takes the arguments that are used here and no others,
refuses whoever is not root and what is out of range with its own words and codes, and keeps limits
in a file, as the driver does when the program that set them is long gone.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from real_model import demo_path, plan
from selector_specs import dense

from edgellm.chat.templating.template import ChatTemplate
from edgellm.cli.commands.tune import _tune_power
from edgellm.cli.output import say_error
from edgellm.cli.preparing.prepare import Prepared
from edgellm.errors import EdgellmError
from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool
from edgellm.selector.plan import Placement, Share

CARDS = ("0000:0b:00.0", "0000:41:00.0")
QUERY = "--query-gpu=power.min_limit,power.max_limit,power.default_limit,power.limit"
LEAST_W, MOST_W, DEFAULT_W = 200.0, 700.0, 700.0

NVIDIA_SMI = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path

state = Path(__file__).with_name("limits.json")
kept = json.loads(state.read_text())
card = sys.argv[1].removeprefix("--id=")
name = "0000" + card.upper()
if card not in kept["limits"]:
    sys.exit("No devices were found")
if sys.argv[2:] == [{QUERY!r}, "--format=csv,noheader,nounits"]:
    print("{LEAST_W:.2f}, {MOST_W:.2f}, {DEFAULT_W:.2f}, %.2f" % kept["limits"][card])
    sys.exit()
(option,) = sys.argv[2:]
assert option.startswith("--power-limit="), option
watts, now = float(option.partition("=")[2]), kept["limits"][card]
if not kept["is_root"]:
    print(f"Failed to set power management limit for GPU {{name}}: Insufficient Permissions")
    print("Terminating early due to previous errors.")
    sys.exit(4)
if not {LEAST_W} <= watts <= {MOST_W}:
    print(f"Provided power limit {{watts:.2f}} W is not a valid power limit which should be "
          f"between {LEAST_W:.2f} W and {MOST_W:.2f} W for GPU {{name}}")
    print("Terminating early due to previous errors.")
    sys.exit(2)
kept["limits"][card] = watts
kept["history"].append([card, watts])
new = state.with_suffix(f".{{os.getpid()}}")
new.write_text(json.dumps(kept))
new.rename(state)
print(f"Power limit for GPU {{name}} was set to {{watts:.2f}} W from {{now:.2f}} W.")
print("All done.")
"""


def install(folder: Path, *, is_root: bool, limits=(650.25, 700.0)) -> Path:
    """The file that says which limits there are, and which there were."""
    tool = folder / "nvidia-smi"
    tool.write_text(NVIDIA_SMI)
    tool.chmod(0o755)
    state = folder / "limits.json"
    kept = {"is_root": is_root, "limits": dict(zip(CARDS, limits, strict=True)), "history": []}
    state.write_text(json.dumps(kept))
    return state


def machine() -> Hardware:
    cards = [Device(id_, "nvidia", "H100", "cuda", id_, ggml_name="CUDA0") for id_ in CARDS]
    pools = [MemoryPool(id_, "dedicated", 80 << 30, None) for id_ in CARDS]
    cpu = Device("cpu", "cpu", "CPU", "cpu", "host")
    host = MemoryPool("host", "host", 16 << 30, None)
    return Hardware((*cards, cpu), (*pools, host), Cpu("CPU", 2, 2, ()))


def main() -> None:
    """On the cards by the plan's word, and by the worker's on the CPU: this machine has none."""
    shares = tuple(Share(id_, id_, (), 0, 0, 0) for id_ in (*CARDS, "cpu"))
    shares = (*shares[:-1], replace(shares[-1], pool_id="host"))
    on_cards = replace(plan(), placement=Placement(shares, 0))
    prepared = Prepared(
        "demo", demo_path(), on_cards, lambda failed: None, ChatTemplate(None), dense()
    )
    try:
        _tune_power(prepared, machine(), asks="--yes" not in sys.argv, as_json=False)
    except EdgellmError as error:
        say_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
