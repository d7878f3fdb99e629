"""What `edgellm cost` is told: prices, and figures in the place of measured ones."""

from typing import Annotated

import typer

from edgellm.values import frozen


@frozen(kw_only=True)
class CostInputs:
    """None: not known, which is not the same as free."""

    capex: Annotated[
        float | None, typer.Option(help="What the machine cost.", metavar="MONEY", min=0)
    ] = None
    monthly: Annotated[
        float | None, typer.Option(help="Standing charges: a rack, a line.", metavar="MONEY", min=0)
    ] = None
    years: Annotated[
        float, typer.Option(help="To write it off over.", metavar="YEARS", min=0.01)
    ] = 3.0
    utilisation: Annotated[
        float,
        typer.Option(
            help="The share of all hours in which it writes.", metavar="0-1", min=0.001, max=1
        ),
    ] = 1.0
    requests_per_day: Annotated[
        float | None, typer.Option(help="For the cost of one.", metavar="N", min=0.001)
    ] = None
    per_kwh: Annotated[
        float | None,
        typer.Option(help="Instead of energy_price_per_kwh.", metavar="MONEY", min=0),
    ] = None
    tok_s: Annotated[
        float | None,
        typer.Option(help="Instead of the measured speed.", metavar="TOK/S", min=0.001),
    ] = None
    watts: Annotated[
        float | None, typer.Option(help="Instead of the measured power.", metavar="W", min=0)
    ] = None
    usd: Annotated[
        float | None,
        typer.Option(help="One dollar in your currency.", metavar="RATE", min=0.000001),
    ] = None
