"""The whole program below the command line: a real server with a real model behind it."""

import asyncio
import contextlib
import threading
from pathlib import Path

from real_model import demo_path, plan

from edgellm.chat.templating.template import ChatTemplate
from edgellm.models import local
from edgellm.runner.sandbox.rules import Wish
from edgellm.runner.supervisor import Supervisor
from edgellm.server.app import create_app
from edgellm.server.routes.reach import Reach
from edgellm.server.serve import Bind, serve
from edgellm.server.served import Models, Served


class Live:
    """`url` and `engine` of a server that runs on a thread of its own."""

    def __init__(
        self, path: Path, name: str, max_queue: int, adapters=(), lora_dir=None, **choices
    ):
        self.engine = Supervisor(
            str(path),
            plan(**choices),
            max_queue=max_queue,
            adapters=adapters,
            sandbox=Wish(reach=(bytes(lora_dir),) if lora_dir else ()),
        )
        header = local.read_header(path)
        template = ChatTemplate(
            header.chat_template, header.bos_token or "", header.eos_token or "",
            adds_bos=header.add_bos is not False,
        )  # fmt: skip
        self.models = Models([Served(name, self.engine, template)])
        self.app = create_app(self.models, reach=Reach(lora_dir))
        self.url = ""
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self):
        try:
            await self.engine.start()
            await serve(self.app, Bind(port=0), on_started=self._on_started, grace_s=2.0)
        finally:
            await self.engine.stop()
            self._started.set()

    def _on_started(self, url):
        self.url = url
        self._loop = asyncio.get_running_loop()
        self._started.set()

    def start(self):
        self._thread.start()
        self._started.wait(60)
        assert self.url, "the server did not start"

    def stop(self):
        self._loop.call_soon_threadsafe(self.app.state.gateway.stopping.set)
        self._thread.join(30)
        assert not self._thread.is_alive(), "the server did not stop"


@contextlib.contextmanager
def live_server(path: Path | None = None, name: str = "demo", max_queue: int = 512, **choices):
    live = Live(path or demo_path(), name, max_queue, **choices)
    live.start()
    try:
        yield live
    finally:
        live.stop()
