"""For the child programs: one JSON value on stdout and nothing else, whatever a driver prints.

Vendor libraries write to fd 1 as they please. So the real stdout is put aside under another
number, and fd 1 is pointed at stderr before any of them is loaded.
"""

import json
import os
import sys
from collections.abc import Callable


def answer(make: Callable[[], object]) -> None:
    """Calls `make`, writes its value to the real stdout, and ends the process."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(stdout, "w", encoding="utf-8") as out:
        json.dump(make(), out)
        out.flush()
        sys.stderr.flush()
        os._exit(0)  # a driver's exit handlers may hang or crash, and the answer is given
