"""The dashboard's screen: one canvas, and the key legend."""

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Footer

from edgellm.tui.canvas import Canvas
from edgellm.tui.dashboard import dashboard
from edgellm.tui.details import plan_details
from edgellm.tui.legend import legend
from edgellm.tui.log import whole_log
from edgellm.tui.screens.sheet import Sheet
from edgellm.tui.view import View

if TYPE_CHECKING:
    from edgellm.tui.app import TopApp


class TopScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.quit", "quit"),
        Binding("ctrl+c", "app.quit", show=False, priority=True),
        # With priority: taken in the app's own turn, so that no key typed after it overtakes it.
        Binding("c", "app.switch_screen('chat')", "chat", priority=True),
        Binding("p", "plan", "plan"),
        Binding("l", "log", "log"),
        Binding("question_mark", "help", "help", key_display="?"),
    ]
    DEFAULT_CSS = """
    TopScreen Canvas { width: 1fr; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._canvas = Canvas(id="dashboard")

    def compose(self) -> ComposeResult:
        yield self._canvas
        yield Footer()

    def on_screen_resume(self) -> None:
        self.draw(cast("TopApp", self.app).view)

    def on_resize(self, _: Resize) -> None:
        self.call_after_refresh(self.on_screen_resume)

    def draw(self, view: View) -> None:
        canvas = self._canvas
        if canvas.size.area:
            canvas.set_class(not view.is_live and view.status is not None, "-stale")
            canvas.show(dashboard(view, canvas.size.width, canvas.size.height))

    def action_plan(self) -> None:
        self.app.push_screen(Sheet("plan", plan_details))

    def action_log(self) -> None:
        self.app.push_screen(Sheet("log", whole_log, at_end=True))

    def action_help(self) -> None:
        self.app.push_screen(Sheet("help", legend))
