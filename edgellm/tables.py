"""Tables and wrapped lines of plain text, as the commands print them."""

import textwrap
from collections.abc import Iterator, Sequence

_GAP = "  "
_LEAST_COLUMNS = 20  # of a last column that is wrapped
# What devices' names have in common, the least telling first.
_NOISE = ("(R)", "(TM)", "(tm)", " Processor", "NVIDIA ", "GeForce ", "AMD ", "Radeon ", "Intel ")


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: str = "",
    columns: int | None = None,
) -> str:
    """Columns as wide as their widest cell; those named in `right` are aligned to the right.

    With `columns` the last one is wrapped into what the others leave of so many.
    """
    last = len(headings) - 1
    widths = [max(len(row[i]) for row in (headings, *rows)) for i in range(last + 1)]
    to_right = {i for i, heading in enumerate(headings) if heading in right.split(",")}
    used = sum(widths[:last]) + len(_GAP) * last
    room = None if columns is None else max(_LEAST_COLUMNS, columns - used)
    lines = []
    for row in (headings, *rows):
        first, *more = wrapped(row[last], room)
        cells = [
            cell.rjust(width) if i in to_right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip((*row[:last], first), widths, strict=True))
        ]
        lines.append(_GAP.join(cells).rstrip())
        lines += [" " * used + text for text in more]
    return "\n".join(lines)


def fitting(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    columns: int | None,
    ornaments: Sequence[str] = (),
    may_go: Sequence[str] = (),
    right: str = "",
    above: bool = False,
) -> str:
    """As `table`, without as many of the `ornaments`, then of the columns that `may_go`, in their
    order, as make it fit. None: any width does.

    With `above` the first cell, a name that is long and may not be cut, stands in a line of its own
    above the others before any of those that `may_go` goes.
    """
    goes = (*ornaments, *may_go)
    for n_gone in range(len(goes) + 1):
        kept = [i for i, heading in enumerate(headings) if heading not in goes[:n_gone]]
        shown = [headings[i] for i in kept], [[row[i] for i in kept] for row in rows]
        text = table(*shown, right=right, columns=columns)
        if above and n_gone >= len(ornaments) and not _fits(text, columns):
            text = _below_names(*shown, right)
        if _fits(text, columns):
            break
    return text


def _fits(text: str, columns: int | None) -> bool:
    """But for a word that is longer than any line."""
    lines = text.split("\n")
    return columns is None or all(len(line) <= columns or len(line.split()) == 1 for line in lines)


def _below_names(headings: Sequence[str], rows: Sequence[Sequence[str]], right: str) -> str:
    """Each row's first cell, and under it the others, which stand in columns as before."""
    names, others = [row[0] for row in rows], [row[1:] for row in rows]
    inner = table(headings[1:], others, right=right).split("\n")
    lines = zip((headings[0], *names), inner, strict=True)
    return "\n".join(f"{name}\n  {line}" for name, line in lines)


def short_name(name: str, columns: int) -> str:
    """A device's: what tells two of them apart stands last, so as much of what they have in common
    goes as makes it fit. It may still be too long; who draws it knows where to cut."""
    for noise in _NOISE:
        if len(name) <= columns:
            break
        name = " ".join(name.replace(noise, " ").split())
    return name


def wrapped(text: str, columns: int | None) -> list[str]:
    """At least one line; None: never cut. A word that is longer stays whole."""
    if columns is None or len(text) <= columns:
        return [text]
    return textwrap.wrap(text, columns, break_long_words=False, break_on_hyphens=False)


def bullets(texts: Sequence[str], columns: int | None) -> Iterator[str]:
    """ "  · a sentence that goes on", its next lines under its first word."""
    for text in texts:
        first, *more = wrapped(text, columns and columns - 4)
        yield f"  · {first}"
        yield from (f"    {line}" for line in more)
