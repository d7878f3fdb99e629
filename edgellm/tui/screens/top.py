"""The dashboard's screen: one canvas, and the key legend."""

from typing import ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Footer

from edgellm.tui.canvas import Canvas
from edgellm.tui.drawn.dashboard import dashboard
from edgellm.tui.screens.sheet import PAGES, Sheet
from edgellm.tui.told.follower import Follower
from edgellm.tui.view import View


class TopScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.quit", "quit"),
        Binding("ctrl+c", "app.quit", show=False, priority=True),
        # With priority: taken in the app's own turn, so that no key typed after it overtakes it.
        Binding("c", "app.switch_screen('chat')", "chat", priority=True),
        Binding("m", "next_model", "model"),  # hidden where there is no other
        *(page.binding("open") for page in PAGES.values()),
    ]
    DEFAULT_CSS = """
    TopScreen Canvas { width: 1fr; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._canvas = Canvas(id="dashboard")
        self._has_choice = False  # as the key legend has it

    def compose(self) -> ComposeResult:
        yield self._canvas
        yield Footer()

    def on_screen_resume(self) -> None:
        self.draw(cast("Follower", self.app).view)

    def on_resize(self, _: Resize) -> None:
        self.call_after_refresh(self.on_screen_resume)

    def draw(self, view: View) -> None:
        canvas = self._canvas
        if (len(view.choices) > 1) != self._has_choice:
            self._has_choice = not self._has_choice
            self.refresh_bindings()
        if canvas.size.area:
            canvas.set_class(not view.is_live and view.status is not None, "-stale")
            canvas.show(dashboard(view, canvas.size.width, canvas.size.height))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._has_choice if action == "next_model" else True

    def action_next_model(self) -> None:
        follower = cast("Follower", self.app)
        follower.view = follower.view.about_next()

    def action_open(self, title: str) -> None:
        self.app.push_screen(Sheet(PAGES[title]))
