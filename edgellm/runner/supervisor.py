"""One loaded model, kept alive: starts the worker, passes requests down and answers up.

When the worker dies, everyone it owed an answer is told so, once. Another one is started, and
requests that come meanwhile wait for it. restarts.py says when, and when the model is given up.
"""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil

from edgellm.chat.events import Event, Finished
from edgellm.chat.messages import Claim, GenerateParams
from edgellm.errors import EdgellmError, NotServing, Overloaded, WorkerDied
from edgellm.models import local
from edgellm.runner.adapters import Adapter, AdapterList, check_room, read_adapter
from edgellm.runner.child import DEATH_S, exit_code, kill, load_error, start_worker
from edgellm.runner.engine import EngineState, Lease
from edgellm.runner.frames import encode_frame, encode_request
from edgellm.runner.inflight import Inflight, Reply
from edgellm.runner.liveness import Heard, Patience, patience_for, until_hung
from edgellm.runner.messages import (
    Cancel,
    Detokenize,
    Embed,
    Embedded,
    FromWorker,
    Gauge,
    Generate,
    Infill,
    Load,
    LoadAdapter,
    LoadFailed,
    Loading,
    Obeyed,
    Question,
    ReadSteps,
    Ready,
    Rerank,
    Scored,
    Shutdown,
    Steps,
    Tokenize,
    Tokenized,
    UnloadAdapter,
)
from edgellm.runner.outbox import Outbox
from edgellm.runner.pacing.rehearsal import Rehearsed
from edgellm.runner.receiver import Receiver
from edgellm.runner.restarts import Restarts, again
from edgellm.runner.sandbox.rules import USUAL, Wish
from edgellm.runner.words import Words
from edgellm.selector.plan import Plan

_MAX_UNREAD_BYTES = 256 << 20  # of requests; each of a queue of them may have 16 MiB of pictures

_Reply = TypeVar("_Reply", bound=Reply)


class Supervisor:
    def __init__(
        self,
        path: str,
        plan: Plan,
        *,
        max_queue: int = 512,
        adapters: Sequence[Adapter] = (),
        patience: Patience | None = None,
        sandbox: Wish = USUAL,
    ) -> None:
        self.path, self.plan, self.max_queue = path, plan, max_queue
        self.adapters = AdapterList(adapters)
        self._loading_adapter = asyncio.Lock()  # a name is taken once it is loaded
        self.state: EngineState = "starting"
        self.progress_ratio: float | None = None
        self.ready: Ready | None = None
        self.gauge: Gauge | None = None
        self.n_restarts = 0
        self.failure: EdgellmError | None = None
        self.missing_device: str | None = None
        self.on_death: Callable[[str], None] = lambda line: None
        self.on_left: Callable[[str, Finished], None] = lambda key, finished: None
        self.lease: Lease | None = None
        self.rehearsed: Rehearsed | None = None
        self._last_words = Words()
        self.log = self._last_words.log
        self._patience, self._sandbox = patience or patience_for(plan), sandbox
        self._inflight = Inflight(on_left=lambda *told: self.on_left(*told))
        self._outbox = Outbox()
        self._request_ids = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._life: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()  # ready, given up, or stopped
        self._stopping = asyncio.Event()
        self._has_answered = False  # since this worker was started
        self._load_failed: EdgellmError | None = None  # as the worker itself put it

    @property
    def pid(self) -> int | None:
        running = self._process and self._process.returncode is None
        return self._process.pid if self._process and running else None

    # ── life ─────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Returns when ready. Raises BadGGUF, DoesNotFit, WorkerDied; NotServing: stopped first."""
        self._life = asyncio.create_task(self._live())
        await self._settled.wait()
        if self.failure:
            raise self.failure
        if self._stopping.is_set():
            raise NotServing(f"{self.plan.model} was stopped while it loaded")

    async def stop(self, grace_s: float = 5.0) -> None:
        """Ask, wait, insist. Whoever still waits for an answer is told."""
        self._stopping.set()
        self.state = "stopping"
        self._outbox.clear()
        self._inflight.fail(self._inflight.request_ids, NotServing("the model is being unloaded"))
        if self._life:
            self._outbox.write(encode_frame([Shutdown()]))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._life), grace_s)
            if self._process and self.pid:
                self._process.kill()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._life, DEATH_S)
        self.state = "stopped"

    async def _live(self) -> None:
        """One worker after the other, until stopped or given up."""
        restarts, is_first = Restarts(), True
        while not self._stopping.is_set():
            cause = await self._one_life()
            if self._stopping.is_set():
                break
            was_ready, self.ready = self.ready is not None, None
            wait_s = restarts.wait_s(was_ready=was_ready, has_answered=self._has_answered)
            told = {one for one in self._inflight.request_ids if one not in self._outbox}
            self._inflight.fail(told, cause)
            if is_first and not was_ready:
                self._give_up(cause)  # who started it raises it
                return
            self._tell_death(cause, again(wait_s))
            if wait_s is None:
                self._give_up(cause)
                return
            is_first = False
            self.n_restarts += 1
            self.state = "restarting"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)
        self._settled.set()

    async def _one_life(self) -> EdgellmError:
        """From start to end of one process. Returns why it ended; never raises."""
        self.gauge, self.progress_ratio, self._has_answered = None, 0.0, False
        self._load_failed = None
        self._last_words.begin()
        try:
            received = Receiver[FromWorker](FromWorker, self._take)
            self._process = await start_worker(received)
            self._outbox.begin(self._process.stdin)
            return await self._attend(self._process, received)
        except Exception as error:  # noqa: BLE001 - whatever broke, everyone who waits must be told
            if self._process and self.pid:
                await kill(self._process)
            return WorkerDied(f"the model's process could not be kept: {error}")

    async def _attend(
        self, process: asyncio.subprocess.Process, received: Receiver[FromWorker]
    ) -> EdgellmError:
        if self._stopping.is_set():
            process.kill()  # stop() came while it was being started, and could not reach it
        elif self.state == "starting":
            self.state = "loading"
        assert process.stderr
        path, adapters = os.fsencode(self.path), self.adapters.files()
        load = Load(path, self.plan, *adapters, self.rehearsed, self._sandbox)
        self._outbox.write(encode_frame([load]))
        last_words = asyncio.create_task(self._last_words.read(process.stderr))
        hung = asyncio.create_task(
            until_hung(process.pid, self._patience, lambda: self._heard(received))
        )
        try:
            await asyncio.wait((received.ended, hung), return_when=asyncio.FIRST_COMPLETED)
            self._outbox.close()
            if not received.ended.done():
                await kill(process)
                received.close()
                return WorkerDied(f"the model's process {await hung}")
            await received.ended
            code = await exit_code(process, last_words)
            if code is None:
                return WorkerDied("the model's process has closed its pipe, and did not end")
        finally:
            hung.cancel()
            last_words.cancel()
        return self._load_failed or self._last_words.obituary(code, self.ready is None)

    def _heard(self, received: Receiver[FromWorker]) -> Heard:
        is_loading = self.ready is None
        return Heard(received.n_bytes, is_loading or bool(self._inflight), is_loading)

    def _tell_death(self, cause: EdgellmError, then: str) -> None:
        words = str(cause) if isinstance(cause, WorkerDied) else f"it did not load again: {cause}"
        line = f"{self.plan.model}: {words}; {then}"
        self.log.append(line)
        # A terminal may be closed, or lack a letter's encoding; the log has the line in any case.
        with contextlib.suppress(OSError, ValueError):
            self.on_death(line)

    def _give_up(self, cause: EdgellmError) -> None:
        self.state, self.failure = "failed", cause
        self._inflight.fail(self._inflight.request_ids, cause)
        self._outbox.clear()
        self._settled.set()

    # ── what the worker says ─────────────────────────────────────────────────

    def _take(self, message: FromWorker) -> None:
        match message:
            case Ready():
                self._on_ready(message)
            case Loading(progress_ratio):
                self.progress_ratio = progress_ratio
            case LoadFailed(kind, text):
                self._load_failed = load_error(kind, text)
                self.missing_device = text if kind == "device" else None
            case Gauge():
                self.gauge = message
            case _:
                self._has_answered = True
                self._inflight.deliver(message)

    def _on_ready(self, ready: Ready) -> None:
        if self._stopping.is_set():
            return
        self.ready, self.state, self.progress_ratio = ready, "ready", None
        self.missing_device, self.rehearsed = None, ready.rehearsed
        self._last_words.is_ready()
        self.adapters.forget(ready.lost_adapters)
        self._outbox.open()
        self._settled.set()

    # ── requests ─────────────────────────────────────────────────────────────

    def generate(
        self, prompt: str | tuple[int, ...], params: GenerateParams
    ) -> AsyncIterator[Event]:
        """Deltas, then exactly one Finished or Failed; closing the iterator cancels.

        Raises Overloaded when the queue is full, NotServing when the model is gone for good.
        """
        self._check_room()
        self._check_share(params.claim)
        request_id = next(self._request_ids)
        frame = encode_request(Generate(request_id, prompt, params))
        stream = self._inflight.open(request_id, self._abandon, params.claim, self._outbox)
        self._outbox.send(request_id, frame)
        return stream

    async def embed(self, inputs: tuple[str | tuple[int, ...], ...], norm: int = 2) -> Embedded:
        """Raises what the worker refuses it with, and WorkerDied."""
        return await self._ask(Embed(next(self._request_ids), inputs, norm), Embedded)

    async def rerank(
        self, query: str, documents: tuple[str, ...], max_doc_tokens: int | None = None
    ) -> Scored:
        asked = Rerank(next(self._request_ids), query, documents, max_doc_tokens)
        return await self._ask(asked, Scored)

    async def tokenize(
        self, text: str, add_special: bool, *, parse_special: bool = True, with_pieces: bool = False
    ) -> Tokenized:
        request_id = next(self._request_ids)
        asked = Tokenize(request_id, text, add_special, parse_special, with_pieces)
        return await self._ask(asked, Tokenized)

    async def detokenize(self, tokens: tuple[int, ...]) -> Tokenized:
        return await self._ask(Detokenize(next(self._request_ids), tokens), Tokenized)

    async def infill(self, asked: Infill) -> tuple[int, ...]:
        """The prompt's tokens; the request's id is ours to give."""
        asked = msgspec.structs.replace(asked, request_id=next(self._request_ids))
        return (await self._ask(asked, Tokenized)).tokens

    async def load_adapter(self, name: str, path: Path) -> Adapter:
        """Returns when requests can ask for it. Raises BadGGUF, BadRequest, ModelNotFound,
        DoesNotFit."""
        async with self._loading_adapter:
            adapter = self.adapters.new(name, str(path))
            await asyncio.to_thread(self._check_adapter, path)
            asked = LoadAdapter(next(self._request_ids), adapter.id, os.fsencode(path))
            try:
                await self._ask(asked, Obeyed)
            except asyncio.CancelledError:
                self._unload(adapter)  # the worker may have loaded it, and it is on no list
                raise
            self.adapters.add(adapter)
            return adapter

    def _check_adapter(self, path: Path) -> None:
        header = read_adapter(path, local.read_headers(Path(self.path)))
        check_room(header, psutil.virtual_memory().available)

    async def unload_adapter(self, name: str) -> Adapter:
        """Requests for it are refused from here on; answers that use it go on to their end."""
        self._check_room()  # before it leaves the list: the worker must be told once it has
        adapter = self.adapters.remove(name)
        try:
            await self._ask(UnloadAdapter(next(self._request_ids), adapter.id), Obeyed)
        except asyncio.CancelledError:
            self._unload(adapter)
            raise
        return adapter

    def _unload(self, adapter: Adapter) -> None:
        """Whoever asked has left; a question of theirs that was held has left with them."""
        request_id = next(self._request_ids)
        self._outbox.send(request_id, encode_request(UnloadAdapter(request_id, adapter.id)))

    async def steps(self, n: int) -> Steps:
        return await self._ask(ReadSteps(next(self._request_ids), n), Steps)

    async def _ask(
        self, question: Embed | Rerank | Question | ReadSteps, kind: type[_Reply]
    ) -> _Reply:
        """Its answer, which is of this kind. Raises what the worker refuses it with."""
        self._check_room()
        frame = encode_request(question)
        reply = self._inflight.expect(question.request_id)
        self._outbox.send(question.request_id, frame)
        try:
            answer = await reply
        except asyncio.CancelledError:
            self._abandon(question.request_id)
            raise
        assert isinstance(answer, kind)
        return answer

    def _abandon(self, request_id: int) -> None:
        """The client left before its answer ended."""
        if not self._outbox.take_back(request_id):
            self._outbox.write(encode_frame([Cancel(request_id)]))

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
        if (n_bytes := self._outbox.n_bytes) > _MAX_UNREAD_BYTES:
            raise Overloaded(
                f"{len(self._inflight)} requests wait, {n_bytes} bytes of which the model's "
                "process has not read yet",
                hint="come back later",
            )

    def _check_share(self, claim: Claim) -> None:
        """A key may fill its own part of the queue only."""
        limit = self.plan.n_parallel + int(claim.queue_ratio * self.max_queue)
        if claim.queue_ratio < 1 and self._inflight.n_of(claim.key) >= limit:
            raise Overloaded(
                f"{limit} requests of this API key are running or waiting: that is its part",
                hint="come back later; the weights of keys in the settings divide the queue",
            )
