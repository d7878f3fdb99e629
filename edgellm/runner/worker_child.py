"""The worker's program: `python -m edgellm.runner.worker_child`, started by the supervisor.

Frames come on stdin and go out on a duplicate of stdout. stdout itself is pointed at stderr before
llama_cpp is imported, because vendor libraries print. End of stdin means that the gateway is gone,
so the worker goes too.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from edgellm.errors import BadGGUF, EdgellmError
from edgellm.models import local
from edgellm.runner.adapters import read_adapter
from edgellm.runner.backend import tokens_of
from edgellm.runner.batch import Mask
from edgellm.runner.changing import Changing
from edgellm.runner.fingerprint import fingerprint
from edgellm.runner.frames import FrameReader, encode_frames
from edgellm.runner.intake.beside import Compiled, Fetched
from edgellm.runner.intake.questions import Questions
from edgellm.runner.loadlog import DeviceMemory
from edgellm.runner.messages import (
    FromWorker,
    Generate,
    Load,
    LoadFailed,
    Loading,
    Ready,
    Shutdown,
    ToWorker,
)
from edgellm.runner.pacing.costs import StepCosts
from edgellm.runner.pacing.layouts import LayoutChoice
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.pipes import own_stdout, write_all
from edgellm.runner.prefix_disk import PrefixDisk
from edgellm.runner.sandbox.confine import NotConfined
from edgellm.runner.sandbox.entering import enter_sandbox
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.threads.adapter_loading import AdapterLoading
from edgellm.runner.threads.compiling import Compiling, Prepared, has_long_prompt, takes_time
from edgellm.runner.threads.inbox import Inbox
from edgellm.runner.threads.looking import Looker
from edgellm.runner.threads.reading import Reading
from edgellm.runner.worker import Tell, Worker
from edgellm.selector.plan import Plan

# How long a thread that returns from native code may wait for another one's Python. A step of the
# loop returns dozens of times, and each time it might wait for Python's default of 5 ms.
_SWITCH_S = 0.0002

if TYPE_CHECKING:
    from edgellm.runner.llama.backend import LlamaBackend


def main() -> int:
    sys.setswitchinterval(_SWITCH_S)
    frames_fd = own_stdout()
    inbox, reader = Inbox(), FrameReader[ToWorker](ToWorker)

    def tell(messages: list[FromWorker]) -> None:
        write_all(frames_fd, encode_frames(messages))

    load, *others = _first(reader)
    if not isinstance(load, Load):
        return 2  # the gateway died before it said anything
    for message in others:
        inbox.put(message)
    try:
        # As long as there is a single thread: others would stay outside of the sandbox.
        landlock = enter_sandbox(load, _import, _log)
    except NotConfined as error:
        tell([LoadFailed("sandbox", str(error))])
        return 0
    threading.Thread(target=_read, args=(inbox, reader), daemon=True).start()
    try:
        _serve(load, landlock, inbox, tell)
    except BrokenPipeError:
        return 0  # the gateway is gone; nobody is owed anything
    return 0


def _import() -> None:
    from edgellm.runner.llama import backend, images, mtp  # noqa: F401


def _serve(load: Load, landlock: int | None, inbox: Inbox, tell: Tell) -> None:
    from edgellm.runner.llama.devices import as_planned, bound
    from edgellm.runner.llama.load import LoadError

    begun_s, planned = time.monotonic(), load.plan
    try:
        load = structs.replace(load, plan=bound(planned))
        backend, lost = _loaded(load, tell)
    except LoadError as error:
        tell([LoadFailed(error.kind, str(error))])
        return
    except BadGGUF as error:
        tell([LoadFailed("file", str(error))])
        return
    gc.freeze()  # or the collector would search all that was loaded, while streams wait
    memory = as_planned(backend.memory, planned, load.plan)
    ready = _ready(load, backend, memory, lost, time.monotonic() - begun_s)
    tell([structs.replace(ready, landlock=landlock)])
    _run(load, backend, lost, inbox, tell)


def _loaded(load: Load, tell: Tell) -> tuple["LlamaBackend", tuple[int, ...]]:
    """The backend, and the adapters that it has to do without. Raises LoadError, BadGGUF."""
    from edgellm.runner.llama.mtp import backend_for

    backend = backend_for(
        load.path,
        load.plan,
        lambda ratio: tell([Loading(ratio)]),
        rehearsed=load.rehearsed,
    )
    for adapter_id, path in load.adapters:
        backend.load_adapter(adapter_id, path)
    return backend, tuple(_load_later_adapters(load, backend))


def _ready(
    load: Load,
    backend: "LlamaBackend",
    memory: tuple[DeviceMemory, ...],
    lost: tuple[int, ...],
    load_s: float,
) -> Ready:
    return Ready(
        n_ctx=backend.limits.n_cells,
        n_ctx_seq=backend.limits.n_ctx_seq,
        n_vocab=backend.n_vocab,
        load_s=load_s,
        shares_prefixes=backend.limits.shares_prefixes,
        embedding=load.plan.embedding,
        pooling=backend.pooling,
        n_embd=backend.n_embd,
        n_ctx_train=backend.n_ctx_train,
        memory=memory,
        lost_adapters=lost,
        rehearsed=backend.rehearsed,
    )


def _run(
    load: Load, backend: "LlamaBackend", lost: tuple[int, ...], inbox: Inbox, tell: Tell
) -> None:
    plan = load.plan
    disk = _Disk(load, backend, inbox)
    prepare, reading = _Preparing(backend, inbox), Reading(backend, inbox.put)
    adapters = AdapterLoading(backend.load_adapter, inbox.put)
    adapter_ids = {one for one, _ in (*load.adapters, *load.later_adapters)}.difference(lost)
    if not plan.embedding:
        inbox.when_quiet = prepare.ahead
    backend.leave_room(lambda: prepare.n_computing + reading.computes + disk.n_computing)

    def begin(plan: Plan) -> Scheduler:
        disk.open(plan)
        return Scheduler(backend.limits, Pace(plan.itl_target_s, backend.costs, backend.slowdown))

    def forget(request_id: int) -> None:
        prepare.forget(request_id)
        reading.forget(request_id)

    worker = Worker(
        backend,
        begin(plan),
        take=inbox.take,
        tell=tell,
        prepare=prepare,
        read_beside=reading.read,
        questions=Questions(backend, adapter_ids, load_beside=adapters.add),
        forget=forget,
        clock=time.monotonic,
        embeds=plan.embedding,
        changing=_changing(plan, backend, begin, disk, lambda: bool(prepare.n_computing)),
    )
    try:
        worker.run()
    finally:
        for thread in (prepare, reading, adapters):
            thread.close()


def _load_later_adapters(load: Load, backend: "LlamaBackend") -> Iterator[int]:
    """Load them. Yields those whose file has changed or gone since it was first loaded: that must
    not cost the model its worker. Files are checked again, because llama.cpp asserts on some
    faults."""
    for adapter_id, path in load.later_adapters:
        file = Path(os.fsdecode(path))
        try:
            read_adapter(file, local.read_headers(Path(os.fsdecode(load.path))))
            backend.load_adapter(adapter_id, path)
        except EdgellmError as error:
            _log(f"the adapter {file.name} is left out: {error}")
            yield adapter_id


def _changing(
    plan: Plan,
    backend: "LlamaBackend",
    begin: Callable[[Plan], Scheduler],
    disk: "_Disk",
    is_busy: Callable[[], bool],
) -> Changing | None:
    """None: the layout of the KV cells stays as it is."""
    limits, known = backend.limits, backend.rehearsed
    size = limits.blob.cell_bytes if limits.blob else 0
    size = limits.state.full_cell_bytes if limits.state else size
    if not plan.other_layouts or not size or known is None:
        return None
    rows = StepCosts(known.decode, known.prompt, known.switch_s)
    return Changing(
        backend,
        plan,
        LayoutChoice(plan, rows, size, size * limits.n_cells),
        begin=begin,
        end=disk.close,
        is_busy=lambda: disk.is_busy or is_busy(),
        clock=time.monotonic,
        log=_log,
    )


class _Disk:
    """Where prefixes outlive the worker: the files of a folder, for the present layout."""

    def __init__(self, load: Load, backend: "LlamaBackend", inbox: Inbox) -> None:
        self._path, self._backend, self._inbox = load.path, backend, inbox
        self._files: PrefixDisk | None = None

    @property
    def n_computing(self) -> int:
        return self._files.n_computing if self._files else 0

    @property
    def is_busy(self) -> bool:
        return self._files is not None and self._files.is_busy

    def open(self, plan: Plan) -> None:
        """If the folder can't be used, that is logged, and nothing is kept on disk."""
        from edgellm.runner.llama.backend import library

        backend = self._backend
        if not plan.prefix_disk or not (backend.limits.blob or backend.limits.state):
            return
        try:
            known = fingerprint(self._path, plan, backend.limits.n_cells, library())
            files = PrefixDisk(Path(plan.prefix_disk), plan.prefix_disk_bytes, known)
            stored = files.scan()
        except (OSError, EdgellmError) as error:
            _log(f"prefixes are not kept on disk: {error}")
            return
        put = self._inbox.put
        backend.keep_on(files, lambda blob, elapsed_s: put(Fetched(blob, elapsed_s)))
        backend.limits = replace(backend.limits, disk_bytes=files.room_bytes, stored=stored)
        self._files = files

    def close(self) -> None:
        """Returns when all is written that was to be."""
        if self._files:
            self._files.close()
        self._files = None


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class _Preparing:
    """What takes time before a request can run, on threads beside the loop's: first its structure
    is compiled, then its pictures are looked at."""

    def __init__(self, backend: "LlamaBackend", inbox: Inbox) -> None:
        self._inbox = inbox
        self._backend = backend
        self._compiling = Compiling(
            self._make, self._make_known, backend.is_prepared, self._compiled, time.monotonic
        )
        self._looker = Looker(backend.see, backend.tokenize, inbox.put)

    def __call__(self, request: Generate) -> Compiled | None:
        if not takes_time(request):
            self._looker.look(request)
        elif not request.params.pictures and (ready := self._compiling.at_once(request)):
            return ready
        else:
            self._compiling.add(request)
        return None

    @property
    def n_computing(self) -> int:
        return self._compiling.computes + self._looker.computes

    def ahead(self) -> None:
        self._compiling.run(self._backend.prepare_ahead)

    def forget(self, request_id: int) -> None:
        self._compiling.forget(request_id)
        self._looker.forget(request_id)

    def close(self) -> None:
        self._compiling.close()
        self._looker.close()

    def _make(self, request: Generate) -> Prepared:
        mask = self._backend.prepare(request.params)
        if has_long_prompt(request):
            tokens = tokens_of(self._backend, request.prompt, "prompt")
            request = Generate(request.request_id, tuple(tokens), request.params)
        return request, mask

    def _make_known(self, request: Generate) -> Prepared | None:
        ready = self._backend.prepared(request.params)
        return (request, ready.mask) if ready else None

    def _compiled(self, request: Generate, result: Mask | EdgellmError | None) -> None:
        if isinstance(result, EdgellmError) or not request.params.pictures:
            self._inbox.put(Compiled(request, result))
        else:
            self._looker.look(request, result)


def _first(reader: FrameReader[ToWorker]) -> Sequence[ToWorker]:
    """The first message, however long it takes, and those that came together with it."""
    while data := os.read(0, 1 << 16):
        if messages := tuple(reader.feed(data)):
            return messages
    return (Shutdown(),)


def _read(inbox: Inbox, reader: FrameReader[ToWorker]) -> None:
    """Whatever ends the reading ends the worker: nobody could talk to it any more."""
    try:
        while data := os.read(0, 1 << 16):
            for message in reader.feed(data):
                inbox.put(message)
    finally:
        inbox.put(Shutdown())


if __name__ == "__main__":
    sys.exit(main())
