"""A sheet over the dashboard: the plan, the log, the help. It shows one page, and scrolls.

The key that opens a page closes it, too; another page's key turns to that one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Footer

from edgellm.tui.canvas import Canvas
from edgellm.tui.drawn.details import plan_details
from edgellm.tui.drawn.legend import legend
from edgellm.tui.drawn.lines import Block
from edgellm.tui.drawn.log import whole_log
from edgellm.tui.told.follower import Follower
from edgellm.tui.view import View

_ROOMY_COLUMNS = 100
Sketch: TypeAlias = Callable[[View, int], Block]  # a view and a width, to lines


@dataclass(frozen=True, slots=True)
class Page:
    """`at_end`: opens at its last line, and stays there until somebody scrolls."""

    title: str
    key: str
    sketch: Sketch
    at_end: bool = False

    def binding(self, action: str) -> Binding:
        shown = {"question_mark": "?"}.get(self.key, self.key)
        return Binding(self.key, f"{action}('{self.title}')", self.title, key_display=shown)


PAGES = {
    page.title: page
    for page in (
        Page("plan", "p", plan_details),
        Page("log", "l", whole_log, at_end=True),
        Page("help", "question_mark", legend),
    )
}


class Sheet(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,t,q", "dismiss", "back", key_display="esc"),
        Binding("up,k", "sheet('scroll_up')", "scroll", key_display="↑↓"),
        Binding("down,j", "sheet('scroll_down')", show=False),
        Binding("pageup", "sheet('scroll_page_up')", show=False),
        Binding("pagedown,space", "sheet('scroll_page_down')", show=False),
        Binding("home", "sheet('scroll_home')", show=False),
        Binding("end", "sheet('scroll_end')", show=False),
        Binding("ctrl+c", "app.quit", show=False, priority=True),
        *(page.binding("turn") for page in PAGES.values()),
    ]
    DEFAULT_CSS = """
    Sheet { align: center middle; background: $background 60%; }
    Sheet VerticalScroll {
        width: 90%; max-width: 108; height: auto; max-height: 100%; margin: 1 0 0 0;
        border: round $primary; border-title-color: $foreground; border-title-style: bold;
        padding: 0 1; background: $background; scrollbar-size: 0 1;
        scrollbar-gutter: stable;
    }
    /* No row for a bar that is never there: with a stable gutter Textual would add one. */
    Sheet.-wide VerticalScroll { width: 100%; max-width: 100%; }
    Sheet Canvas { width: 1fr; height: auto; }
    """

    def __init__(self, page: Page) -> None:
        super().__init__()
        self._page = page
        self._canvas = Canvas()
        self._sheet = VerticalScroll(self._canvas)
        self._sheet.border_title = page.title

    def compose(self) -> ComposeResult:
        yield self._sheet
        yield Footer()

    def on_mount(self) -> None:
        self._widen()
        if self._page.at_end:
            self._sheet.anchor()

    def on_screen_resume(self) -> None:
        self.draw(cast("Follower", self.app).view)

    def on_resize(self, _: Resize) -> None:
        self._widen()
        self.call_after_refresh(self.on_screen_resume)

    def draw(self, view: View) -> None:
        width = self._sheet.scrollable_content_region.width
        if width:
            self._canvas.show(self._page.sketch(view, width))

    def _widen(self) -> None:
        """A small screen has no room for a margin, and long lines want all there is."""
        self.set_class(self._page.at_end or self.app.size.width < _ROOMY_COLUMNS, "-wide")

    def action_turn(self, title: str) -> None:
        if title == self._page.title:
            self.dismiss()
        else:
            self.app.switch_screen(Sheet(PAGES[title]))

    def action_sheet(self, move: str) -> None:
        sheet = self._sheet
        moves = {
            "scroll_up": sheet.scroll_up,
            "scroll_down": sheet.scroll_down,
            "scroll_page_up": sheet.scroll_page_up,
            "scroll_page_down": sheet.scroll_page_down,
            "scroll_home": sheet.scroll_home,
            "scroll_end": sheet.scroll_end,
        }
        moves[move](animate=False)
