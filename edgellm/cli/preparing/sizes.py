"""`edgellm plan MODEL --users N`: the other way round, which machines hold so many users."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from edgellm.cli.flags.described import ALL_BOARDS
from edgellm.cli.flags.pins import Pins
from edgellm.errors import BadRequest
from edgellm.units import parse_seconds
from edgellm.values import frozen

if TYPE_CHECKING:
    from edgellm.probe.hardware import Hardware
    from edgellm.selector.sizing import Demand, Sized

_USUAL_TOK_S = 10.0  # twice as fast as people read
_DROPPED_FIRST = ("CONTEXT", "FIRST", "QUANT")
_LEGEND = (
    "Each holds them all within what was asked. First whose CARDS are fewest, then whose WATTS "
    "are: what a card costs isn't known.",
    "BOARDS: how many of it are needed; CARDS: of theirs, those that so many users take (a CPU is "
    "one); USERS: how many one board holds; WATTS: of the cards, by their limits; TOK/S and FIRST: "
    "what each user gets where as many are served as it holds; BOUND BY: what allows no more users",
)


@frozen(kw_only=True)
class Users:
    HEADINGS: ClassVar = {"users": "For many users"}

    users: Annotated[
        int | None,
        typer.Option(
            help="How many of each --on BOARD (or --on all) so many users take.",
            metavar="N",
            min=1,
        ),
    ] = None
    tok_s: Annotated[
        float | None,
        typer.Option("--tok-s", help="For each of the users (10).", metavar="TOK/S", min=0),
    ] = None
    ttft: Annotated[
        str | None, typer.Option(help="The first token within: 1s, 500ms.", metavar="TIME")
    ] = None

    @property
    def are_many(self) -> bool:
        return self.users is not None

    def demand(self) -> "Demand":
        from edgellm.selector.sizing import Demand

        tok_s = _USUAL_TOK_S if self.tok_s is None else self.tok_s
        return Demand(
            self.users or 0, tok_s, None if self.ttft is None else parse_seconds(self.ttft)
        )

    def check(self, pins: Pins) -> None:
        """Raises BadRequest where a service is asked for and nobody to be served, and for pins
        of what the users' number decides."""
        flags = {"--tok-s": self.tok_s, "--ttft": self.ttft}
        named = [flag for flag, value in flags.items() if value is not None]
        if named and not self.are_many:
            raise BadRequest(
                f"{' and '.join(named)} say how each of many users is served",
                hint="say how many: --users 50; for one plan it is --min-tok-s",
            )
        sizes = {"--parallel": pins.parallel, "-c": pins.n_ctx}
        pinned = [flag for flag, value in sizes.items() if value is not None]
        if pinned and self.are_many:
            raise BadRequest(
                f"--users finds how many conversations a machine holds; {' and '.join(pinned)} "
                "would say it already",
                hint="leave one of them out; what each user gets is --ctx",
            )


def boards_of(names: Sequence[str]) -> "list[tuple[str, Hardware]]":
    """By name, or all that are described. Raises ModelNotFound."""
    from edgellm.probe.known.boards import board_names, hardware_from_board

    wanted = board_names() if ALL_BOARDS in names else tuple(dict.fromkeys(names))
    return [(name, hardware_from_board(name)) for name in wanted]


def sizes_table(model: str, rows: "Sequence[Sized]", demand: "Demand", columns: int) -> str:
    from edgellm.tables import fitting, wrapped
    from edgellm.units import DASH, format_seconds

    ttft = "" if demand.ttft_s is None else f", the first token within {demand.ttft_s:g} s"
    head = f"{model} for {demand.n_users} users, {demand.tok_s:g} tok/s each{ttft}"
    cells = [
        (
            row.board,
            str(row.n_boards),
            str(row.n_devices),
            str(row.n_users),
            DASH if row.total_power_w is None else f"{row.total_power_w:.0f}",
            row.quant,
            str(row.n_ctx_seq),
            f"{row.decode_tok_s.p50:.1f}",
            format_seconds(row.ttft_s.p50),
            row.binding,
        )
        for row in rows
    ]
    headings = (
        "BOARD", "BOARDS", "CARDS", "USERS", "WATTS", "QUANT", "CONTEXT", "TOK/S", "FIRST",
        "BOUND BY",
    )  # fmt: skip
    right = "BOARDS,CARDS,USERS,WATTS,CONTEXT,TOK/S,FIRST"
    shown = fitting(headings, cells, columns=columns, may_go=_DROPPED_FIRST, right=right)
    legend = "\n".join(line for text in _LEGEND for line in wrapped(text, columns))
    return f"{head}\n\n{shown}\n\n{legend}"


def sizes_json(model: str, rows: "Sequence[Sized]", demand: "Demand") -> dict[str, Any]:
    return {
        "model": model,
        "demand": demand,
        "boards": [
            {
                "board": row.board,
                "n_boards": row.n_boards,
                "n_devices": row.n_devices,
                "n_users": row.n_users,
                "power_w": row.power_w,
                "total_power_w": row.total_power_w,
                "quant": row.quant,
                "n_ctx_seq": row.n_ctx_seq,
                "kv_type": row.kv_type,
                "n_instances": row.n_instances,
                "placement": row.placement,
                "decode_tok_s": row.decode_tok_s,
                "ttft_s": row.ttft_s,
                "binding": row.binding,
            }
            for row in rows
        ],
    }
