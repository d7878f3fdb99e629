"""One loaded model, kept alive: starts the worker, passes requests down and answers up.

When the worker dies, everyone it owed an answer is told so, once; it is started again, and what
came meanwhile waits for it. A worker that can't load again is given up after a few tries.
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable

from edgellm.chat.events import Event, Failed, Finished
from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadGGUF, DoesNotFit, EdgellmError, NotServing, Overloaded, WorkerDied
from edgellm.runner.child import describe_exit, start_worker, was_killed_for_memory
from edgellm.runner.engine import EngineState
from edgellm.runner.frames import FrameReader, encode_frame
from edgellm.runner.inflight import Inflight
from edgellm.runner.messages import (
    Cancel,
    Embed,
    Embedded,
    FromWorker,
    Gauge,
    Generate,
    Load,
    LoadFailed,
    Loading,
    Ready,
    Shutdown,
    Tokenize,
    Tokenized,
    ToWorker,
)
from edgellm.selector.plan import Plan

_MAX_FAILED_STARTS = 3  # in a row, without one answer between them
_LOG_LINES = 200


class Supervisor:
    def __init__(self, path: str, plan: Plan, *, max_queue: int = 512) -> None:
        self.path, self.plan, self.max_queue = path, plan, max_queue
        self.state: EngineState = "starting"
        self.progress_ratio: float | None = None
        self.ready: Ready | None = None
        self.gauge: Gauge | None = None
        self.n_restarts = 0
        self.failure: EdgellmError | None = None
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self._inflight = Inflight()
        self._held: dict[int, ToWorker] = {}  # came while no worker was ready
        self._request_ids = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._life: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()  # ready, or given up

    @property
    def pid(self) -> int | None:
        running = self._process and self._process.returncode is None
        return self._process.pid if self._process and running else None

    # ── life ─────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Returns when ready. Raises BadGGUF, DoesNotFit, WorkerDied."""
        self._life = asyncio.create_task(self._live())
        await self._settled.wait()
        if self.failure:
            raise self.failure

    async def stop(self, grace_s: float = 5.0) -> None:
        """Ask, wait, insist. Whoever still waits for an answer is told."""
        self.state = "stopping"
        self._inflight.fail(self._inflight.request_ids, NotServing("the model is being unloaded"))
        self._held.clear()
        if self._process and self.pid:
            self._write(Shutdown())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace_s)
            if self.pid:
                self._process.kill()
        if self._life:
            await self._life
        self.state = "stopped"

    async def _live(self) -> None:
        """One worker after the other, until stopped or given up."""
        n_failed_starts = 0
        while self.state not in ("stopping", "stopped"):
            cause = await self._one_life()
            if self.state in ("stopping", "stopped"):
                break
            was_ready, self.ready = self.ready is not None, None
            n_failed_starts = 0 if was_ready else n_failed_starts + 1
            owed = self._inflight.request_ids - set(self._held)
            self._inflight.fail(owed, cause)
            if (not was_ready and not self.n_restarts) or n_failed_starts >= _MAX_FAILED_STARTS:
                self._give_up(cause)
                return
            self.n_restarts += 1
            self.state = "restarting"
        self._settled.set()

    async def _one_life(self) -> EdgellmError:
        """From start to end of one process. Returns why it ended."""
        process = self._process = await start_worker()
        self.gauge, self.progress_ratio = None, 0.0
        if self.state == "starting":
            self.state = "loading"
        assert process.stdout
        assert process.stderr
        self._write(Load(self.path, self.plan))
        last_words = asyncio.create_task(self._read_log(process.stderr))
        load_failed = await self._read_frames(process.stdout)
        code = await process.wait()
        await last_words
        return load_failed or self._obituary(code)

    def _give_up(self, cause: EdgellmError) -> None:
        self.state, self.failure = "failed", cause
        self._inflight.fail(self._inflight.request_ids, cause)
        self._held.clear()
        self._settled.set()

    def _obituary(self, code: int) -> EdgellmError:
        ending = describe_exit(code)
        if was_killed_for_memory(code, while_loading=self.ready is None):
            return DoesNotFit(
                f"the system killed the model's process ({ending}) while it loaded: "
                "that is what running out of memory looks like",
                hint="try a smaller --ctx or a smaller quantization",
            )
        words = "; ".join(line for line in list(self.log)[-3:] if line)
        return WorkerDied(f"the model's process ended ({ending})" + (f": {words}" if words else ""))

    # ── pipes ────────────────────────────────────────────────────────────────

    async def _read_frames(self, stdout: asyncio.StreamReader) -> EdgellmError | None:
        """Until the end of the pipe. Returns the worker's own word on a failed load."""
        reader: FrameReader[FromWorker] = FrameReader(FromWorker)
        load_failed: EdgellmError | None = None
        while data := await stdout.read(1 << 18):
            for message in reader.feed(data):
                match message:
                    case Ready():
                        self._on_ready(message)
                    case Loading(progress_ratio):
                        self.progress_ratio = progress_ratio
                    case LoadFailed(kind, text):
                        load_failed = _load_error(kind, text)
                    case Gauge():
                        self.gauge = message
                    case _:
                        self._inflight.deliver(message)
        return load_failed

    def _on_ready(self, ready: Ready) -> None:
        self.ready, self.state, self.progress_ratio = ready, "ready", None
        held, self._held = list(self._held.values()), {}
        for message in held:
            self._write(message)
        self._settled.set()

    async def _read_log(self, stderr: asyncio.StreamReader) -> None:
        while line := await stderr.readline():
            self.log.append(line.decode("utf-8", "replace").rstrip())

    def _write(self, message: ToWorker) -> None:
        """Never blocks: a worker that doesn't read is busy computing, and frames are small."""
        process = self._process
        if process and process.stdin and not process.stdin.is_closing():
            process.stdin.write(encode_frame([message]))

    # ── requests ─────────────────────────────────────────────────────────────

    def generate(
        self, prompt: str | tuple[int, ...], params: GenerateParams
    ) -> AsyncIterator[Event]:
        """Deltas, then exactly one Finished or Failed; closing the iterator cancels.

        Raises Overloaded when the queue is full, NotServing when the model is gone for good.
        """
        self._check_room()
        request_id = next(self._request_ids)
        self._inflight.open(request_id)
        self._send(request_id, Generate(request_id, prompt, params))
        return EventStream(request_id, self._inflight, self._abandon)

    async def embed(self, inputs: tuple[str | tuple[int, ...], ...]) -> Embedded:
        """Raises what the worker refuses it with, and WorkerDied."""
        self._check_room()
        request_id = next(self._request_ids)
        reply = self._inflight.expect(request_id)
        self._send(request_id, Embed(request_id, inputs))
        answer = await reply
        assert isinstance(answer, Embedded)
        return answer

    async def tokenize(self, text: str, add_special: bool) -> tuple[int, ...]:
        self._check_room()
        request_id = next(self._request_ids)
        reply = self._inflight.expect(request_id)
        self._send(request_id, Tokenize(request_id, text, add_special))
        answer = await reply
        assert isinstance(answer, Tokenized)
        return answer.tokens

    def _abandon(self, request_id: int) -> None:
        """The client left before its answer ended."""
        if self._held.pop(request_id, None) is None:
            self._write(Cancel(request_id))

    def _send(self, request_id: int, message: ToWorker) -> None:
        if self.state == "ready":
            self._write(message)
        else:
            self._held[request_id] = message

    def _check_room(self) -> None:
        if self.state in ("failed", "stopping", "stopped"):
            reason = f": {self.failure}" if self.failure else ""
            raise NotServing(f"{self.plan.model} is not being served ({self.state}{reason})")
        limit = self.plan.n_parallel + self.max_queue
        if len(self._inflight) >= limit:
            raise Overloaded(
                f"{len(self._inflight)} requests are running or waiting; the limit is {limit}",
                hint="come back later, or serve with a larger --max-queue",
            )


class EventStream(AsyncIterator[Event]):
    """One answer. `aclose` before its end cancels it, also when nobody has begun to read."""

    def __init__(self, request_id: int, inflight: Inflight, abandon: Callable[[int], None]) -> None:
        self._request_id, self._inflight, self._abandon = request_id, inflight, abandon
        self._ended = False

    async def __anext__(self) -> Event:
        if self._ended:
            raise StopAsyncIteration
        event = await self._inflight.next(self._request_id)
        if isinstance(event, Finished | Failed):
            self._ended = True
            self._inflight.close(self._request_id)
        return event

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            self._inflight.close(self._request_id)
            self._abandon(self._request_id)


def _load_error(kind: str, text: str) -> EdgellmError:
    if kind == "memory":
        return DoesNotFit(text, hint="try a smaller --ctx or a smaller quantization")
    if kind == "file":
        return BadGGUF(text, hint="download it again, or check it with 'edgellm show'")
    return EdgellmError(text)
