"""`edgellm doctor`: what is wrong with this place, and what mends it."""

from collections.abc import Iterator, Sequence
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
    from edgellm.cli.output import print_json, row_columns
    from edgellm.cli.preparing.machine import looking

    config = options.config_from()
    with looking("checking this machine …") as waiting:
        findings = examine(config, waiting)
    if as_json:
        print_json(findings)
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(*lines(finding, width, row_columns()), sep="\n")
        print(f"\n{_sum(findings)}")
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(1)


def lines(finding: "Finding", width: int, columns: int | None) -> Iterator[str]:
    """`width`: of the longest name. What doesn't fit beside it goes on below, between words; with
    None it is one line."""
    from edgellm.tables import wrapped

    margin = " " * (width + 8)
    room = columns and columns - len(margin)
    first, *more = wrapped(finding.message, room)
    yield f"{_MARKS[finding.verdict]}  {finding.name:<{width}}  {first}"
    yield from (margin + line for line in more)
    if finding.fix:
        first, *more = wrapped(finding.fix, room and room - 2)
        yield f"{margin}→ {first}"
        yield from (f"{margin}  {line}" for line in more)


def _sum(findings: "Sequence[Finding]") -> str:
    """ "1 problem, 2 warnings"."""
    counts = [
        (sum(one.verdict == verdict for one in findings), verdict)
        for verdict in ("problem", "warning")
    ]
    said = [f"{n} {verdict}{'s' if n > 1 else ''}" for n, verdict in counts if n]
    return ", ".join(said) or "nothing is wrong"
