"""The terminal's program: which screens there are, and with which one it begins."""

import sys
import time
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import httpx2

from edgellm.errors import BadRequest
from edgellm.tui.plain import in_cells
from edgellm.tui.screens.chat import ChatScreen
from edgellm.tui.screens.top import TopScreen
from edgellm.tui.terminal import is_gone, why_not_drawn
from edgellm.tui.theme import THEME
from edgellm.tui.told.auth import Key
from edgellm.tui.told.follower import Follower
from edgellm.tui.told.recording import Moment, Span
from edgellm.tui.told.replay import ReplayTransport

StartScreen = Literal["top", "chat"]

_TERMINAL_S = 1.0  # between two looks whether it is still there


class TopApp(Follower):
    TITLE = "edgellm"
    ENABLE_COMMAND_PALETTE = False
    SCREENS: ClassVar = {"top": TopScreen, "chat": ChatScreen}

    def __init__(
        self,
        url: str,
        *,
        api_key: Key = lambda: None,
        start_screen: StartScreen = "top",
        interval_s: float = 1.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(url, api_key=api_key, interval_s=interval_s, transport=transport)
        self.register_theme(THEME)
        self.theme = THEME.name
        self._start_screen = start_screen

    def run(self, *, headless: bool = False, **kwargs: Any) -> Any:
        """Until the user quits. Raises BadRequest where there is no terminal to draw on."""
        if not headless:
            _check_terminal()
        with in_cells(sys.__stderr__):  # where Textual draws
            return super().run(headless=headless, **kwargs)

    async def on_mount(self) -> None:
        """Before Follower's: what it learns first is drawn."""
        await self.push_screen(self._start_screen)
        if not self.is_headless:
            self.set_interval(_TERMINAL_S, self._leave_with_terminal)

    def _leave_with_terminal(self) -> None:
        """Where it vanishes nobody can press `q`; and only a controlling terminal says so by a
        signal. Textual would read its end over and over."""
        if is_gone(sys.__stdin__):
            self.exit()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nobody in a recording answers a chat, so none is offered."""
        if action == "switch_screen" and self.replay:
            return False
        return super().check_action(action, parameters)

    async def action_switch_screen(self, screen: str) -> None:
        """Keys that were typed ahead wait here until the screen is there to take them."""
        await self.switch_screen(screen)


def run_replay(name: str, moments: Iterable[Moment], span: Span, speed: float) -> None:
    """As TopApp.run, of a recording that is called `name`."""
    played = ReplayTransport(moments, span, speed, time.monotonic)
    TopApp(name, interval_s=played.look_s, transport=played).run()


def _check_terminal() -> None:
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    why = why_not_drawn() if is_terminal else "this is none"
    if why:
        raise BadRequest(
            f"top draws on a terminal, and {why}", hint="the same facts as lines: edgellm ps"
        )
