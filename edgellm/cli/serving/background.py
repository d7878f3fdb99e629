"""A server on a thread of its own: under the terminal's screen, for one chat, for the library.

The gateway is one event loop that computes nothing (the models are processes), so a thread
carries it; there is no second program to find, to start and to lose.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Self

from edgellm.cli.serving.serving import Instance, run_instance
from edgellm.errors import EdgellmError, WorkerDied
from edgellm.server.served import Models

_LOOK_EVERY_S = 0.25
_GRACE_S = 1.0  # who started it is leaving: nobody waits for the answers


class BackgroundServer:
    """`url` is known once `start` has returned. `on_end` is called from its thread."""

    def __init__(
        self,
        instance: Instance,
        *,
        waits_for_models: bool = True,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.url = ""
        self.models = Models()  # what it serves, once they are ready and were waited for
        self.failure: EdgellmError | None = None
        self._has_closed = False
        self._on_end = on_end
        self._settled = threading.Event()
        self._instance = replace(
            instance,
            grace_s=_GRACE_S,
            on_closing=self._closes,
            on_listening=instance.on_listening if waits_for_models else self._is_there,
            on_ready=self._is_ready if waits_for_models else instance.on_ready,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="edgellm-server", daemon=True)

    def start(self) -> Self:
        """Returns when it can be asked. Raises what kept it from that."""
        self._thread.start()
        while not self._settled.wait(_LOOK_EVERY_S):
            pass  # Ctrl-C may have been told to another thread: it wakes nobody who waits for good
        if self.failure:
            self._thread.join()
            raise self.failure
        return self

    def stop(self) -> None:
        """Returns when its models are stopped, whoever else has told it to end."""
        if self._loop and self._task:
            with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    @property
    def is_listening(self) -> bool:
        """Else its URL is not its own: nobody's yet, or anybody's."""
        return bool(self.url) and not self._has_closed

    @property
    def api_key(self) -> str | None:
        """None once it listens no more: whoever takes its place is not sent its key."""
        return None if self._has_closed else self._instance.config.own_key()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except EdgellmError as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001 - whoever waits for the start must hear of it
            self.failure = WorkerDied(f"the server failed: {type(error).__name__}: {error}")
        finally:
            self._closes()
            self._settled.set()
            self._on_end()

    async def _main(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        await run_instance(self._instance)

    def _closes(self) -> None:
        self._has_closed = True

    def _is_ready(self, url: str, models: Models) -> None:
        self.models = models
        self._is_there(url)

    def _is_there(self, url: str) -> None:
        self.url = url
        self._settled.set()
