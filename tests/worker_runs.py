"""The worker's loop over the strict fake, fed and listened to."""

import itertools

from runner_fakes import FakeBackend, next_token

from edgellm.chat.messages import GenerateParams, SamplingParams
from edgellm.runner.intake.beside import AdapterLoaded, Compiled
from edgellm.runner.intake.questions import Questions
from edgellm.runner.kv.memory import Limits
from edgellm.runner.messages import Delta, Done, Rejected, Shutdown
from edgellm.runner.pacing.pace import Pace
from edgellm.runner.scheduler import Scheduler
from edgellm.runner.threads.reading import Reading
from edgellm.runner.worker import Worker

LIMITS = Limits(
    n_cells=400, n_ctx_seq=100, n_batch=32, n_seq_max=4, n_ids=8, shares_prefixes=True,
    n_draft_rows=8,
)  # fmt: skip


def serve(*arrivals, embeds=False, end_after=None, say=next_token, prepares=True, at_once=False):
    """Feed one list of messages a step, then run dry and shut down. What was told, in order.

    Without `prepares` the arrivals bring what was prepared, too; `at_once`, it takes no time.
    """
    queue, told = [list(messages) for messages in arrivals], []
    backend = FakeBackend(LIMITS, end_after=end_after, say=say)
    ticks = itertools.count()

    def take(wait):
        if queue:
            return queue.pop(0)
        return [Shutdown()] if wait else []

    def prepare(request):
        if at_once:
            return Compiled(request, None)
        if not prepares:
            return None
        try:
            backend.prepare(request.params)
        except Exception as error:  # noqa: BLE001 - the fake's own refusal, passed on
            queue.insert(0, [Compiled(request, error)])
        return None

    def read(asked):
        arrived = []
        reading = Reading(backend, arrived.append)
        reading.read(asked)
        reading._pool.shutdown()
        if prepares:
            queue.insert(0, arrived)

    def load(asked):
        backend.load_adapter(asked.adapter_id, asked.path)
        queue.insert(0, [AdapterLoaded(asked)])

    Worker(
        backend,
        Scheduler(LIMITS),
        take=take,
        tell=told.extend,
        prepare=prepare,
        read_beside=read,
        questions=Questions(backend, load_beside=load),
        clock=lambda: next(ticks) * 0.01,
        embeds=embeds,
    ).run()
    return told


def text_of(told, request_id):
    return "".join(m.text for m in told if isinstance(m, Delta) and m.request_id == request_id)


def endings(told, request_id):
    kinds = Done | Rejected
    return [m for m in told if isinstance(m, kinds) and m.request_id == request_id]


def greedy(n, **more):
    return GenerateParams(SamplingParams(temperature=0), max_tokens=n, **more)


def shown(tokens):
    return "".join(f"{token} " for token in tokens)


def run_worker(backend, take, tell, scheduler=None, clock=None, embeds=False, changing=None):
    ticks = itertools.count()
    Worker(
        backend,
        scheduler or Scheduler(backend.limits, Pace(0.1)),
        take=take,
        tell=tell,
        prepare=lambda request: None,
        read_beside=lambda asked: None,
        questions=Questions(backend, load_beside=lambda asked: None),
        clock=clock or (lambda: next(ticks) * 0.01),
        embeds=embeds,
        changing=changing,
    ).run()
