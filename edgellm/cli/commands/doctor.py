"""`edgellm doctor`: what is wrong with this place, and what mends it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from edgellm.cli.flags import options
from edgellm.units import DASH

if TYPE_CHECKING:
    from edgellm.cli.doctoring.findings import Finding

_MARKS = {"ok": "ok  ", "warning": "warn", "problem": "FAIL", "unknown": f"{DASH}   "}


def doctor(as_json: options.AsJSON = False) -> None:
    """Check this installation and this machine; say what mends it.

    Ends with exit code 1 when something is a problem; warnings alone end with 0. A dash marks what
    can't be seen here.

    \b
      edgellm doctor
      edgellm doctor --json | jq '.[] | select(.fix)'
    """
    from edgellm.cli.doctoring.checks import examine
    from edgellm.cli.output import print_json
    from edgellm.cli.preparing.machine import looking

    config = options.config_from()
    with looking("checking this machine …") as waiting:
        findings = examine(config, waiting)
    if as_json:
        print_json(findings)
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{_MARKS[finding.verdict]}  {finding.name:<{width}}  {finding.message}")
            if finding.fix:
                print(f"{'':<{6 + width}}  → {finding.fix}")
        print(f"\n{_sum(findings)}")
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(1)


def _sum(findings: "Sequence[Finding]") -> str:
    """ "1 problem, 2 warnings"."""
    counts = [
        (sum(one.verdict == verdict for one in findings), verdict)
        for verdict in ("problem", "warning")
    ]
    said = [f"{n} {verdict}{'s' if n > 1 else ''}" for n, verdict in counts if n]
    return ", ".join(said) or "nothing is wrong"
