"""A benchmark as a table and a plot."""

from edgellm.cli.measuring.benchmark import Expected, Measured, Row, Soaked
from edgellm.cli.measuring.plotting import plot
from edgellm.cli.serving.busy import Crowd
from edgellm.tables import table
from edgellm.units import DASH, format_rate, format_seconds


def report(measured: Measured) -> str:
    rows = [_cells(row) for row in measured.rows]
    decode = [row for row in measured.rows if row.test == "decode"]
    return "\n".join(
        [
            f"{measured.model} {measured.quant or DASH} on {measured.device or DASH}, "
            f"edgellm {measured.version}",
            "",
            table(
                ("TEST", "TOKENS", "AFTER", "TOK/S", "LOWEST", "HIGHEST", "RUNS"),
                rows,
                right="TOKENS,AFTER,TOK/S,LOWEST,HIGHEST,RUNS",
            ),
            "",
            _expectation(measured.expected_decode_tok_s, decode[0].median_tok_s),
            "",
            plot(
                [row.n_prompt for row in decode],
                [row.median_tok_s for row in decode],
                "decode tok/s after so many tokens",
            ),
        ]
    )


def unkept(crowd: Crowd) -> str:
    return (
        f"nothing of this is kept for the next plan: others keep this machine busy (load "
        f"{crowd.load:.1f}, at most {crowd.most:g} would do); measure again when it is idle"
    )


def report_soak(soaked: Soaked) -> str:
    last = soaked.moments[-1]
    throttle = ", ".join(dict.fromkeys(why for one in soaked.moments for why in one.throttle))
    rows = [
        (
            "cold",
            format_rate(soaked.cold_tok_s, ""),
            _degrees(soaked.moments[0].temperature_c),
        ),
        ("warm", format_rate(soaked.warm_tok_s, ""), _degrees(last.temperature_c)),
    ]
    lost = 1 - soaked.warm_ratio
    verdict = f"warm is {lost:.0%} slower than cold" if lost >= 0.005 else "warm is as fast as cold"
    return "\n".join(
        [
            f"{soaked.model}, {len(soaked.moments)} answers in {format_seconds(soaked.seconds)}",
            "",
            table(("", "TOK/S", "°C"), rows, right="TOK/S,°C"),
            "",
            verdict + (f"; throttled by: {throttle}" if throttle else ""),
            "",
            plot(
                [one.at_s for one in soaked.moments],
                [one.decode_tok_s for one in soaked.moments],
                "decode tok/s over seconds",
            ),
        ]
    )


def _cells(row: Row) -> tuple[str, ...]:
    rates = (row.median_tok_s, min(row.tok_s), max(row.tok_s))
    after = DASH if row.test == "prefill" else str(row.n_prompt)
    shown = (format_rate(rate, "") for rate in rates)
    return (row.test, str(row.n_tokens), after, *shown, str(len(row.tok_s)))


def _expectation(expected: Expected, median_tok_s: float) -> str:
    if expected.p10 is None or expected.p90 is None:
        return "the plan made no prediction"
    low, high = format_rate(expected.p10, ""), format_rate(expected.p90, "")
    words = f"the plan expected {low} – {high} tok/s of one stream: "
    if median_tok_s < expected.p10:
        return words + f"this is {1 - median_tok_s / expected.p10:.0%} below; `edgellm doctor`?"
    return words + ("this is above" if median_tok_s > expected.p90 else "as it is")


def _degrees(temperature_c: float | None) -> str:
    return DASH if temperature_c is None else f"{temperature_c:.0f}"
