"""A model that is loaded on demand: one Engine to the rest of the program, a Supervisor for each
stay.

A Supervisor that has not been started yet holds what it is asked, as one does whose worker is being
restarted. So whoever waits for the next stay already waits in its Supervisor, is counted there, and
is ended there exactly once, however the load turns out. If it runs out of memory, and a smaller
plan is tried, whoever waits asks that one's Supervisor instead.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar, cast

from edgellm.chat.events import Event, Failed, Finished
from edgellm.chat.messages import GenerateParams
from edgellm.errors import DeadlinePassed, DoesNotFit, EdgellmError, NotServing, WorkerDied
from edgellm.runner.adapters import Adapter, AdapterList
from edgellm.runner.engine import Engine, EngineState, Lease
from edgellm.runner.messages import Embedded, Gauge, Infill, Ready, Scored, Steps, Tokenized
from edgellm.runner.on_demand.caretaker import Caretaker
from edgellm.runner.on_demand.room import Stay, Tenant
from edgellm.runner.pacing.rehearsal import Rehearsed
from edgellm.selector.plan import Plan

New: TypeAlias = Callable[[Plan], Engine]
# Starts this engine; or, if it runs out of memory, the first of smaller plans that loads: these are
# given to the second argument, which makes engines of them.
Start: TypeAlias = Callable[[Engine, Callable[[Plan], Engine]], Awaitable[object]]
_Reply = TypeVar("_Reply")


class OnDemand:
    def __init__(
        self,
        caretaker: Caretaker,
        plan: Plan,
        new: New,
        start: Start,
        keep_s: float = float("inf"),
    ) -> None:
        """`keep_s`: how long it may be idle before it is unloaded, even if nobody needs the
        room."""
        first = new(plan)
        self._caretaker, self._new, self._start = caretaker, new, start
        self.tenant = Tenant(plan.model, plan.most_bytes_by_pool, keep_s=keep_s)
        self._engines: dict[Stay, Engine] = {self.tenant.coming: first}
        self._is_awaited = False  # the server's start waits for it to be loaded
        self._is_stopped = False
        self._changed = asyncio.Event()  # a stay has another engine, or has ended
        self.lease: Lease | None = self
        caretaker.add(self)

    # ── what is seen of it ───────────────────────────────────────────────────

    @property
    def _shown(self) -> Engine:
        """The engine of the present stay, or else that of the next one."""
        return self._engines[self.tenant.here or self.tenant.coming]

    @property
    def state(self) -> EngineState:
        if self._is_stopped:
            return "stopped"
        if self.tenant.here is None and not self._is_awaited:
            return "sleeping"
        state = self._shown.state
        return "waking" if state in ("starting", "loading") and not self._is_awaited else state

    @property
    def plan(self) -> Plan:
        return self._shown.plan

    @property
    def progress_ratio(self) -> float | None:
        return self._shown.progress_ratio

    @property
    def ready(self) -> Ready | None:
        return self._shown.ready

    @property
    def gauge(self) -> Gauge | None:
        return self._shown.gauge

    @property
    def n_restarts(self) -> int:
        return self._shown.n_restarts

    @property
    def failure(self) -> EdgellmError | None:
        return self._shown.failure

    @property
    def missing_device(self) -> str | None:
        return self._shown.missing_device

    @property
    def log(self) -> deque[str]:
        return self._shown.log

    @property
    def adapters(self) -> AdapterList:
        return self._shown.adapters

    @adapters.setter
    def adapters(self, adapters: AdapterList) -> None:
        self._shown.adapters = adapters

    @property
    def rehearsed(self) -> Rehearsed | None:
        return self._shown.rehearsed

    @rehearsed.setter
    def rehearsed(self, told: Rehearsed | None) -> None:
        self._shown.rehearsed = told

    @property
    def pid(self) -> int | None:
        return self._shown.pid

    @property
    def on_death(self) -> Callable[[str], None]:
        return self._shown.on_death

    @on_death.setter
    def on_death(self, tell: Callable[[str], None]) -> None:
        self._shown.on_death = tell

    @property
    def on_left(self) -> Callable[[str, Finished], None]:
        return self._shown.on_left

    @on_left.setter
    def on_left(self, tell: Callable[[str, Finished], None]) -> None:
        self._shown.on_left = tell

    # ── life ─────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Loads it before anybody asks. Raises as any engine's `start`."""
        self._is_awaited = True
        try:
            with self._visit() as (_, stay):
                await self._caretaker.loaded(stay)
        finally:
            self._is_awaited = False

    async def stop(self, grace_s: float = 5.0) -> None:
        self._is_stopped = True
        self._caretaker.remove(self)
        await asyncio.gather(*(engine.stop(grace_s) for engine in self._engines.values()))

    def dismiss(self) -> None:
        self._caretaker.dismiss(self.tenant)

    def keep(self, idle_s: float) -> None:
        self._caretaker.keep(self.tenant, idle_s)

    @property
    def left_s(self) -> float | None:
        return self._caretaker.left_s(self.tenant)

    async def wake(self) -> None:
        """Load it. Called by the caretaker, as `sleep` is."""
        try:
            await self._start(self._shown, self._smaller)
        except EdgellmError:
            self._end_stay()
            raise
        except Exception as error:
            self._end_stay()  # whatever broke, all who wait must be told
            raise WorkerDied(f"{self.tenant.name} could not be loaded: {error}") from error

    async def sleep(self) -> None:
        await self._shown.stop()
        self._end_stay()

    def _smaller(self, plan: Plan) -> Engine:
        """An engine in the place of one that ran out of memory."""
        self._check_lives()  # otherwise nobody would ever stop the new one
        assert self.tenant.here is not None
        engine = self._engines[self.tenant.here] = self._anew(plan)
        self.tenant.needs = plan.most_bytes_by_pool
        self._tell_change()
        return engine

    def _end_stay(self) -> None:
        assert self.tenant.here is not None
        coming = self._engine_of(self.tenant.coming)
        ended = self._engines.pop(self.tenant.here)
        if coming.plan == ended.plan:
            coming.rehearsed = ended.rehearsed
        coming.log.clear()
        coming.log.extend(ended.log)
        self._tell_change()

    def _engine_of(self, stay: Stay) -> Engine:
        if stay not in self._engines:
            self._engines[stay] = self._anew(self._shown.plan)
        return self._engines[stay]

    def _anew(self, plan: Plan) -> Engine:
        engine = self._new(plan)
        engine.adapters = self._shown.adapters
        engine.on_death = self._shown.on_death
        engine.on_left = self._shown.on_left
        return engine

    @contextmanager
    def _visit(self, keep_s: float | None = None) -> Iterator[tuple[Engine, Stay]]:
        """For one request, from its arrival to its end: the engine and stay that serve it. Raises
        NotServing if it is stopped, as there is no next stay."""
        self._check_lives()
        stay = self._caretaker.enter(self.tenant, keep_s)
        try:
            engine = self._engine_of(stay)
            yield engine, stay
        finally:
            if stay is self.tenant.here and self._shown.state == "failed":
                self._caretaker.dismiss(self.tenant)  # the next request tries it anew
            self._caretaker.leave(self.tenant, stay)

    def _check_lives(self) -> None:
        if self._is_stopped:
            raise NotServing(f"{self.tenant.name} is not being served (stopped)")

    # ── requests ─────────────────────────────────────────────────────────────

    async def generate(
        self, prompt: str | tuple[int, ...], params: GenerateParams
    ) -> AsyncIterator[Event]:
        asked: tuple[str | tuple[int, ...], GenerateParams] | None = (prompt, params)
        deadline_s, keep_s, failed = params.claim.deadline_s, params.claim.keep_s, None
        del prompt, params  # perhaps megabytes, which nobody needs while the answer is written
        with self._visit(keep_s) as (engine, stay):
            while asked:
                try:
                    after = await _by(deadline_s, self._after(engine, stay))
                except TimeoutError:
                    yield _too_late()
                    return
                if failed and after is None:
                    yield failed
                    return
                engine, failed = after or engine, None
                events = cast(AsyncGenerator[Event, None], engine.generate(*asked))
                async with aclosing(events):
                    async for event in events:
                        if isinstance(event, Failed) and self._runs_out(engine, stay):
                            failed = event  # unless a smaller one answers
                            break
                        asked = None
                        yield event

    async def _ask(self, question: Callable[[Engine], Awaitable[_Reply]]) -> _Reply:
        with self._visit() as (engine, stay):
            while True:
                engine = await self._after(engine, stay) or engine
                try:
                    return await question(engine)
                except EdgellmError:
                    if await self._after(engine, stay) is None:
                        raise

    async def _after(self, engine: Engine, stay: Stay) -> Engine | None:
        """The engine with a smaller plan that takes this one's place, if this one ran out of memory
        while it loaded. None: it didn't, or there is no smaller plan."""
        if not self._runs_out(engine, stay):
            return None
        while self._engines.get(stay) is engine:
            await self._changed.wait()
        return self._engines.get(stay)

    @staticmethod
    def _runs_out(engine: Engine, stay: Stay) -> bool:
        return stay.loaded_s == float("inf") and isinstance(engine.failure, DoesNotFit)

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def embed(self, inputs: tuple[str | tuple[int, ...], ...], norm: int = 2) -> Embedded:
        return await self._ask(lambda engine: engine.embed(inputs, norm))

    async def rerank(
        self, query: str, documents: tuple[str, ...], max_doc_tokens: int | None = None
    ) -> Scored:
        return await self._ask(lambda engine: engine.rerank(query, documents, max_doc_tokens))

    async def tokenize(
        self, text: str, add_special: bool, *, parse_special: bool = True, with_pieces: bool = False
    ) -> Tokenized:
        return await self._ask(
            lambda engine: engine.tokenize(
                text, add_special, parse_special=parse_special, with_pieces=with_pieces
            )
        )

    async def detokenize(self, tokens: tuple[int, ...]) -> Tokenized:
        return await self._ask(lambda engine: engine.detokenize(tokens))

    async def load_adapter(self, name: str, path: Path) -> Adapter:
        return await self._ask(lambda engine: engine.load_adapter(name, path))

    async def unload_adapter(self, name: str) -> Adapter:
        with self._visit() as (engine, _):
            return await engine.unload_adapter(name)

    async def infill(self, asked: Infill) -> tuple[int, ...]:
        return await self._ask(lambda engine: engine.infill(asked))

    async def steps(self, n: int) -> Steps:
        """Doesn't load the model for that: raises NotServing if it isn't loaded."""
        if self.state == "sleeping":
            raise NotServing(f"{self.tenant.name} sleeps")
        return await self._shown.steps(n)


async def _by(deadline_s: float | None, coming: Awaitable[_Reply]) -> _Reply:
    """Raises TimeoutError."""
    async with asyncio.timeout(None if deadline_s is None else deadline_s - time.monotonic()):
        return await coming


def _too_late() -> Failed:
    words = "the deadline passed while the model was planned anew: it had run out of memory"
    return Failed(words, DeadlinePassed.http_status, kind=DeadlinePassed.__name__)
