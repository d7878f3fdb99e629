"""What is below every screen: one server, asked for its status once a second, whoever shows it.

A server that is gone is knocked at again; what it said last stays, and is known to be old.
"""

import asyncio
from dataclasses import replace
from typing import Protocol, runtime_checkable

import httpx2
from textual.app import App
from textual.reactive import reactive

from edgellm.errors import NotServing
from edgellm.tui.client import Backoff, Server
from edgellm.tui.replay import ReplayTransport
from edgellm.tui.signing import Key
from edgellm.tui.view import View


@runtime_checkable
class Drawn(Protocol):
    """A screen that shows the view."""

    def draw(self, view: View) -> None: ...


class Follower(App[None]):
    """An app without screens of its own: they are a subclass's, and find this one behind them."""

    view: reactive[View] = reactive(lambda: View(""), init=False)

    def __init__(
        self,
        url: str,
        *,
        api_key: Key,
        interval_s: float,
        transport: httpx2.AsyncBaseTransport | None,
    ) -> None:
        super().__init__()
        self.server = Server(url, api_key=api_key, transport=transport)
        self.replay = transport if isinstance(transport, ReplayTransport) else None
        self._interval_s = interval_s
        played = self.replay.played if self.replay else None
        passes_s = interval_s * played.speed if played else interval_s
        self.set_reactive(Follower.view, View(url, passes_s, played=played))

    async def on_mount(self) -> None:
        self.run_worker(self._follow(), name="follow")

    async def on_unmount(self) -> None:
        self.workers.cancel_all()  # before their client is closed under them
        await self.server.aclose()

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
                self.view = replace(newest, played=self.replay.played if self.replay else None)
            except NotServing as error:
                self.view = self.view.lost(str(error))
                await asyncio.sleep(backoff.wait_s())
            else:
                backoff.reset()
                await asyncio.sleep(max(self._interval_s - (loop.time() - asked_s), 0.05))
