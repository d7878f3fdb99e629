"""The terminal's program: follows one server, and shows it on whichever screen is open.

It asks GET /edgellm/status once a second, whatever the number of screens. A server that is gone
is knocked at again; what it said last stays on the screen, greyed.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

import httpx2
from textual.app import App
from textual.reactive import reactive

from edgellm.errors import BadRequest, NotServing
from edgellm.tui.client import Backoff, Server
from edgellm.tui.recording import Moment
from edgellm.tui.replay import ReplayTransport
from edgellm.tui.screens.chat import ChatScreen
from edgellm.tui.screens.top import TopScreen
from edgellm.tui.terminal import why_not_drawn
from edgellm.tui.theme import THEME
from edgellm.tui.view import View

StartScreen = Literal["top", "chat"]


@runtime_checkable
class Drawn(Protocol):
    """A screen that shows the view."""

    def draw(self, view: View) -> None: ...


class TopApp(App[None]):
    TITLE = "edgellm"
    ENABLE_COMMAND_PALETTE = False
    SCREENS: ClassVar = {"top": TopScreen, "chat": ChatScreen}

    view: reactive[View] = reactive(lambda: View(""), init=False)

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        start_screen: StartScreen = "top",
        interval_s: float = 1.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__()
        self.register_theme(THEME)
        self.theme = THEME.name
        self.server = Server(url, api_key=api_key, transport=transport)
        self._replay = transport if isinstance(transport, ReplayTransport) else None
        self._start_screen, self._interval_s = start_screen, interval_s
        played = self._replay.played if self._replay else None
        passes_s = interval_s * played.speed if played else interval_s
        self.set_reactive(TopApp.view, View(url, passes_s, played=played))

    async def on_mount(self) -> None:
        await self.push_screen(self._start_screen)
        self.run_worker(self._follow(), name="follow")

    async def on_unmount(self) -> None:
        self.workers.cancel_all()  # before their client is closed under them
        await self.server.aclose()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Nobody in a recording answers a chat, so none is offered."""
        if action == "switch_screen" and self._replay:
            return False
        return super().check_action(action, parameters)

    async def action_switch_screen(self, screen: str) -> None:
        """Keys that were typed ahead wait here until the screen is there to take them."""
        await self.switch_screen(screen)

    def watch_view(self, view: View) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, Drawn):
                screen.draw(view)

    async def _follow(self) -> None:
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            asked_s = loop.time()
            try:
                newest = self.view.seen(await self.server.status())
                self.view = replace(newest, played=self._replay.played if self._replay else None)
            except NotServing as error:
                self.view = self.view.lost(str(error))
                await asyncio.sleep(backoff.wait_s())
            else:
                backoff.reset()
                await asyncio.sleep(max(self._interval_s - (loop.time() - asked_s), 0.05))


def run_top(
    url: str,
    *,
    api_key: str | None = None,
    start_screen: StartScreen = "top",
    interval_s: float = 1.0,
) -> None:
    """Until the user quits. Raises BadRequest where there is no terminal to draw on."""
    _check_terminal()
    TopApp(url, api_key=api_key, start_screen=start_screen, interval_s=interval_s).run()


def run_replay(name: str, moments: Sequence[Moment], speed: float) -> None:
    """As run_top, of a recording that is called `name`."""
    _check_terminal()
    played = ReplayTransport(moments, speed, time.monotonic)
    TopApp(name, interval_s=played.look_s, transport=played).run()


def _check_terminal() -> None:
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    why = why_not_drawn() if is_terminal else "this is none"
    if why:
        raise BadRequest(
            f"top draws on a terminal, and {why}", hint="the same facts as lines: edgellm ps"
        )
