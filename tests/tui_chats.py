"""A chat with a server on loopback: what is asked, what stands on the screen."""

from contextlib import asynccontextmanager

from textual.widgets import Static
from textual.widgets._footer import FooterKey
from tui_samples import ordinary
from tui_status_server import StatusServer, until

from edgellm.tui.app import TopApp
from edgellm.tui.prompt import Prompt


@asynccontextmanager
async def chat(newest=None, **options):
    async with StatusServer(newest or ordinary()) as server:
        for name, value in options.items():
            setattr(server, name, value)
        app = TopApp(server.url, start_screen="chat", interval_s=0.05)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(lambda: app.view.status is not None)
            yield app, pilot, server


def transcript(app):
    return "\n".join(str(static.content) for static in app.screen.query(Static))


def legend(app):
    return [key.description for key in app.screen.query(FooterKey)]


async def ask(pilot, text):
    pilot.app.screen.query_one(Prompt).insert(text)
    await pilot.press("enter")
