"""`edgellm usage`: who has used what of the machine."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import completing, options

if TYPE_CHECKING:
    from datetime import date

    from edgellm.meter.usage.counts import Report

_ROWS = ("key", "model", "day")


def usage(
    since: Annotated[
        str, typer.Option(metavar="DAY", help="The first day: 2026-11-01, or 7d for a week.")
    ] = "30d",
    until: Annotated[
        str | None, typer.Option(metavar="DAY", help="The last one; without: today.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help=f"What a row is of: {', '.join(_ROWS)}.",
            autocompletion=completing.words(*_ROWS),
        ),
    ] = "key",
    host: options.Host = None,
    as_json: options.AsJSON = False,
) -> None:
    """Show who has used what: requests, tokens, time, energy, money.

    A server that runs is asked; where none does, what the last ones have left on this disk is told.
    PROMPT has all prompt tokens, CACHED those of them that were found in the prefix cache. TIME is
    the model's, of each step its part. A key that isn't an admin's sees its own. For money, set
    energy_price_per_kwh in the settings.

    \b
      edgellm usage
      edgellm usage --since 2026-11-01 --until 2026-11-30 --by day
      edgellm usage --json | jq '.rows[] | select(.key == "anna")'
    """
    from datetime import date

    from edgellm.cli.measuring.usage_report import report_text
    from edgellm.cli.output import print_json, row_columns
    from edgellm.errors import BadRequest

    if by not in _ROWS:
        raise BadRequest(f"--by {by!r} is not known", hint=f"one of {', '.join(_ROWS)}")
    today = date.today()
    first = _day(since, "--since", today)
    last = today if until is None else _day(until, "--until", today)
    if first > last:
        raise BadRequest(
            f"{first} is after {last}", hint="--since DAY is the first, --until the last"
        )
    told = _report(first.isoformat(), last.isoformat(), host)
    if as_json:
        print_json(told)
    else:
        print(report_text(told, by, first.isoformat(), last.isoformat(), row_columns()))


def _report(since: str, until: str, host: str | None) -> "Report":
    """Raises NotServing for a server that can't be asked, StorageError for files that can't."""
    from edgellm.cli.serving.client import Client
    from edgellm.cli.serving.find import look, only

    found = look(host)
    if found.answering or found.silent:
        url, _ = only(found, or_model="")
        with Client(url) as client:
            return client.usage(since, until)
    return _on_disk(since, until)


def _on_disk(since: str, until: str) -> "Report":
    """Raises StorageError."""
    from edgellm.meter.usage.counts import report
    from edgellm.meter.usage.diary import users_diary

    config = options.config_from()
    days = users_diary(config.kept_days).between(since, until)
    return report(days, price=config.energy_price_per_kwh, currency=config.currency)


def _day(text: str, flag: str, today: "date") -> "date":
    """Raises BadRequest."""
    import re
    from datetime import date, timedelta

    from edgellm.errors import BadRequest

    try:
        if back := re.fullmatch(r"([0-9]{1,5})d", text):
            return today - timedelta(days=max(0, int(back[1]) - 1))
        return date.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        words = f"{flag} {text[:40]!r} is no day"
        raise BadRequest(words, hint="write it like 2026-11-01, or 7d for a week") from error
