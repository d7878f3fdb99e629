"""The widget that paints blocks of lines, and repaints only the lines that changed."""

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from edgellm.tui.drawn.lines import TONES, Block, Line, Tone


class Canvas(Widget):
    """`show` it a block; it draws what differs from the last one.

    Each tone is a component class, `canvas--good` and so on, so that the theme decides on
    colours. With the class `-stale` all of it is grey: old facts, not live ones.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"canvas--{tone}" for tone in TONES}
    DEFAULT_CSS = """
    Canvas {
        .canvas--text { color: $foreground; }
        .canvas--strong { color: $foreground; text-style: bold; }
        .canvas--label { color: $tone-label; }
        .canvas--dim { color: $tone-dim; }
        .canvas--border { color: $tone-border; }
        .canvas--accent { color: $primary; text-style: bold; }
        .canvas--good { color: $success; }
        .canvas--warn { color: $warning; }
        .canvas--bad { color: $error; }
        .canvas--fill { color: $primary; }
        .canvas--track { color: $tone-track; }
        .canvas--decode { color: $tone-decode; }
        .canvas--prefill { color: $tone-prefill; }
    }
    Canvas.-stale {
        .canvas--text, .canvas--strong, .canvas--label, .canvas--accent, .canvas--good,
        .canvas--bad, .canvas--fill, .canvas--decode, .canvas--prefill {
            color: $tone-dim; text-style: none;
        }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._block: Block = []
        self._strips: list[Strip | None] = []
        self._styles_by_tone: dict[Tone, Style] = {}

    def show(self, block: Block) -> None:
        """The lines that differ are repainted, the others cost a comparison."""
        old, self._block = self._block, block
        if len(old) != len(block):
            self._strips = [None] * len(block)
            self.refresh(layout=self.styles.height is not None and self.styles.height.is_auto)
            return
        changed = [y for y, (was, now) in enumerate(zip(old, block, strict=True)) if was != now]
        for y in changed:
            self._strips[y] = None
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def text(self) -> str:
        """What can be read on it."""
        return "\n".join("".join(span.text for span in line).rstrip() for line in self._block)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self._block):
            return Strip.blank(width, self.rich_style)
        strip = self._strips[y]
        if strip is None or strip.cell_length != width:
            strip = self._painted(self._block[y]).adjust_cell_length(width, self.rich_style)
            self._strips[y] = strip
        return strip

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._block)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_by_tone.clear()
        self._strips = [None] * len(self._block)

    def _painted(self, line: Line) -> Strip:
        return Strip([Segment(span.text, self._style(span.tone)) for span in line])

    def _style(self, tone: Tone) -> Style:
        style = self._styles_by_tone.get(tone)
        if style is None:
            style = self.get_component_rich_style(f"canvas--{tone}")
            self._styles_by_tone[tone] = style
        return style
