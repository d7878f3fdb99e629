"""What is below every screen: one server, asked for its status once a second, whoever shows it;
more often while its model loads, so that nobody waits a second too long.

A server that is gone is knocked at again; what it said last stays, and is known to be old.
"""

import asyncio
from dataclasses import replace
from typing import Protocol, runtime_checkable

import httpx2
from textual.app import App
from textual.reactive import reactive

from edgellm.errors import ConfigError, KeyRefused, NotServing
from edgellm.tui.told.auth import Key
from edgellm.tui.told.client import Backoff, Server, Stranger
from edgellm.tui.told.replay import ReplayTransport
from edgellm.tui.view import View

_SOON_S = 0.2
_EARLY_S = 0.01  # a timer may wake a little before its time


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
        due_s = loop.time()
        while True:
            asked_s = loop.time()
            is_due = asked_s >= due_s - _EARLY_S
            try:
                status = await self.server.status()
            except (NotServing, ConfigError) as error:  # settings may break while it is watched
                is_refused = isinstance(error, Stranger | KeyRefused | ConfigError)
                self.view = self.view.lost(str(error), is_refused=is_refused)
                due_s = asked_s
                await asyncio.sleep(backoff.wait_s())
            else:
                newest = self.view.seen(status) if is_due else self.view.glimpsed(status)
                self.view = replace(newest, played=self.replay.played if self.replay else None)
                backoff.reset()
                due_s = asked_s + self._interval_s if is_due else due_s
                soon_s = asked_s + _SOON_S if newest.is_on_its_way and not self.replay else due_s
                await asyncio.sleep(max(min(soon_s, due_s) - loop.time(), 0.05))
