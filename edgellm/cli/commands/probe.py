"""`edgellm probe`: what this machine is, and what llama.cpp will use of it."""

from typing import Annotated

import typer

from edgellm.cli.flags import options
from edgellm.cli.flags.described import Sysroot


def probe(
    as_json: options.AsJSON = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="What each source said, as it said it.")
    ] = False,
    sysroot: Sysroot = None,
) -> None:
    """Show this machine, and what llama.cpp will use of it.

    Processors, memory with its measured bandwidth, accelerators, and why one is not used.
    The first time after a boot the measuring takes about a second.

    \b
      edgellm probe
      edgellm probe --json | jq '.pools[].bandwidth_bytes_s'
      edgellm probe --raw > probe.txt         # to go with a bug report
    """
    from edgellm.cli.flags.described import sources
    from edgellm.cli.output import columns, print_json
    from edgellm.cli.preparing.machine import looking
    from edgellm.probe.asked.evidence import Evidence
    from edgellm.probe.detect import examine
    from edgellm.probe.report import as_json as hardware_json
    from edgellm.probe.report import as_text, raw_as_json, raw_as_text

    evidence = Evidence(sources(sysroot))
    with looking() as waiting:
        hardware = examine(evidence, waiting=waiting)
    if raw and as_json:
        print_json(raw_as_json(evidence.answers))
    elif raw:
        print(raw_as_text(evidence.answers), end="")
    elif as_json:
        print_json(hardware_json(hardware))
    else:
        print(as_text(hardware, columns()), end="")
