"""What is told when nothing fits: what was tried, and what would fit instead."""

from collections.abc import Iterator, Sequence

from edgellm.cli.output import columns, print_json
from edgellm.errors import DoesNotFit, EdgellmError
from edgellm.probe.hardware import Hardware
from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.explain import rejected_table
from edgellm.selector.instead import instead, sentences
from edgellm.selector.plan import Candidate, Goal, Rejected
from edgellm.selector.plan_json import refusal_json
from edgellm.tables import bullets

_MOST_BOARDS = 3


def tell_refusal(
    error: DoesNotFit,
    name: str,
    hardware: Hardware,
    candidates: Sequence[Candidate],
    goal: Goal,
    *,
    as_json: bool,
) -> None:
    """On stdout; the error itself is `main`'s to say."""
    rejected: tuple[Rejected, ...] = getattr(error, "rejected", ())
    if as_json:
        print_json(refusal_json(name, error, rejected))
        return
    if rejected:
        print("tried, the nearest first")
        print(
            "\n".join(f"  {line}" for line in rejected_table(rejected, columns() - 2).split("\n"))
        )
        print()
    wishes = [*sentences(instead(hardware, candidates, goal, load_profiles()))]
    boards = [*_boards(candidates, goal)]
    if wishes or boards:
        print("what would fit instead")
        print("\n".join(bullets([*wishes, *boards], columns())), end="\n\n")


def _boards(candidates: Sequence[Candidate], goal: Goal) -> Iterator[str]:
    """The smallest described machines that hold it, as it was asked for."""
    from edgellm.probe.boards import board_names, hardware_from_board

    machines = sorted(
        ((name, hardware_from_board(name)) for name in board_names()),
        key=lambda named: sum(pool.total_bytes for pool in named[1].pools),
    )
    smallest = min(candidates, key=lambda one: one.file_bytes)
    n_found = 0
    for name, hardware in machines:
        try:
            plan = choose(hardware, [smallest], goal, load_profiles())
        except EdgellmError:
            continue
        pace = f", {plan.decode_tok_s.p50:.1f} tok/s" if plan.decode_tok_s else ""
        yield f"--on {name}: {plan.quant}, {plan.n_parallel} × {plan.n_ctx_seq} tokens{pace}"
        n_found += 1
        if n_found == _MOST_BOARDS:
            return
