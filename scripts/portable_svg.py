"""An exported terminal picture that looks the same everywhere.

Rich writes each run of text as one element and trusts the viewer to have Fira Code, from the
network, with braille and frames as wide as letters. Here words are placed one by one, and what is
drawn with characters (frames, bars, braille) becomes lines and dots.
"""

import html
import re
from collections.abc import Iterator

_COLUMN, _ROW = 12.2, 24.4  # Rich's cell
_TOP = 18.5  # from a baseline up to its cell's upper edge
_TEXT = re.compile(
    r'<text class="(?P<style>[^"]+)" x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)"[^>]*>'
    r"(?P<text>[^<]*)</text>"
)
_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_FILL = re.compile(r"\.(\S+) \{ fill: (#[0-9a-f]{6})")
_RUN = re.compile(r"[─━╌│╭╮╰╯╸]+|[\u2800-\u28ff]+|[^\s\u00a0─━╌│╭╮╰╯╸\u2800-\u28ff]+")
_FONTS = "ui-monospace, SFMono-Regular, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
_DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))  # bit n: column, row


def portable(svg: str) -> str:
    """No font from the network, no width that depends on one."""
    svg = _FACE.sub("", svg)
    fills = dict(_FILL.findall(svg))
    svg = _TEXT.sub(lambda found: _redrawn(found, fills), svg)
    return svg.replace("font-family: Fira Code, monospace", f"font-family: {_FONTS}")


def _redrawn(found: re.Match[str], fills: dict[str, str]) -> str:
    style, text = found["style"], html.unescape(found["text"])
    if style not in fills:
        return found[0]  # the title
    x, y = float(found["x"]), float(found["y"])
    parts = []
    for run in _RUN.finditer(text):
        left = x + run.start() * _COLUMN
        first = run[0][0]
        if "\u2800" <= first <= "\u28ff":
            parts.append(_braille(run[0], left, y - _TOP, fills[style]))
        elif first in "─━╌│╭╮╰╯╸":
            parts.append(_lines(run[0], left, y - _TOP, fills[style]))
        else:
            width = len(run[0]) * _COLUMN
            parts.append(
                f'<text class="{style}" x="{left:.1f}" y="{y:.1f}" textLength="{width:.1f}">'
                f"{html.escape(run[0])}</text>"
            )
    return "".join(parts)


def _braille(text: str, left: float, top: float, fill: str) -> str:
    dots = "".join(
        f"M{left + i * _COLUMN + 3.05 + 6.1 * column:.1f} {top + 3.05 + 6.1 * row:.1f}h0"
        for i, character in enumerate(text)
        for bit, (column, row) in enumerate(_DOTS)
        if (ord(character) - 0x2800) >> bit & 1
    )
    return f'<path d="{dots}" stroke="{fill}" stroke-width="4" stroke-linecap="round"/>'


def _lines(text: str, left: float, top: float, stroke: str) -> str:
    return "".join(
        f'<path d="{path}" stroke="{stroke}" fill="none" stroke-width="{width}"/>'
        for path, width in _paths(text, left, top)
    )


def _paths(text: str, left: float, top: float) -> Iterator[tuple[str, float]]:
    """Runs of the same character are one line."""
    for same in re.finditer(r"(.)\1*", text):
        x, n_columns = left + same.start() * _COLUMN, len(same[0])
        right, middle, y = x + n_columns * _COLUMN, x + _COLUMN / 2, top + _ROW / 2
        bottom, r = top + _ROW, 5
        match same[1]:
            case "─":
                yield f"M{x:.1f} {y:.1f}H{right:.1f}", 1.3
            case "━":
                yield f"M{x:.1f} {y:.1f}H{right:.1f}", 4
            case "╸":
                yield f"M{x:.1f} {y:.1f}H{middle:.1f}", 4
            case "╌":
                dashes = (f"M{x + 6.1 * i:.1f} {y:.1f}h4" for i in range(2 * n_columns))
                yield "".join(dashes), 1.3
            case "│":
                yield f"M{middle:.1f} {top:.1f}V{bottom:.1f}", 1.3
            case "╭":
                yield f"M{middle:.1f} {bottom:.1f}V{y + r:.1f}q0 -{r} {r} -{r}H{right:.1f}", 1.3
            case "╮":
                yield f"M{x:.1f} {y:.1f}H{middle - r:.1f}q{r} 0 {r} {r}V{bottom:.1f}", 1.3
            case "╰":
                yield f"M{middle:.1f} {top:.1f}V{y - r:.1f}q0 {r} {r} {r}H{right:.1f}", 1.3
            case _:
                yield f"M{x:.1f} {y:.1f}H{middle - r:.1f}q{r} 0 {r} -{r}V{top:.1f}", 1.3
