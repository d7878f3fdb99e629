"""`edgellm doctor`: what is wrong with this place, and what mends it."""

import typer

from edgellm.cli import options

_MARKS = {"ok": "ok  ", "warning": "warn", "problem": "FAIL"}


def doctor(as_json: options.AsJSON = False) -> None:
    """Check this installation and this machine; say what mends it.

    Ends with exit code 1 when something is a problem; warnings alone end with 0.

    \b
      edgellm doctor
      edgellm doctor --json | jq '.[] | select(.verdict != "ok")'
    """
    from edgellm.cli.checks import examine
    from edgellm.cli.output import print_json

    findings = examine(options.config_from())
    if as_json:
        print_json(findings)
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{_MARKS[finding.verdict]}  {finding.name:<{width}}  {finding.message}")
            if finding.fix:
                print(f"{'':<{6 + width}}  → {finding.fix}")
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(1)
