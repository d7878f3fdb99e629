"""A fake engine, as strict as the real one, and a real server around it on a real socket."""

import asyncio
import threading
from array import array
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import httpx2
import openai

from edgellm.chat.events import Failed, Finished, TextDelta, Timings
from edgellm.chat.messages import GenerateParams
from edgellm.errors import BadRequest, EdgellmError, ModelNotFound, NotServing
from edgellm.probe.hardware import Cpu, Device, Hardware, MemoryPool
from edgellm.runner.adapters import AdapterList
from edgellm.runner.messages import Embedded, Gauge, Ready, Scored, Steps, Tokenized
from edgellm.selector.plan import Placement, Plan, Range, Share
from edgellm.server.app import create_app
from edgellm.server.door.terms import Terms
from edgellm.server.routes.reach import Reach
from edgellm.server.serve import Bind, serve
from edgellm.server.served import Models, Served
from edgellm.server.watch.live import Watched

HANG = object()  # in a script: the model thinks for ever
N_EMBD = 4


GAUGE = Gauge(1, 2, 3, 1024, 100, 50, 60, 30, 90, 10)


def hardware():
    return Hardware(
        devices=(
            Device("0000:01:00.0", "nvidia", "RTX", "cuda", "0000:01:00.0", ggml_name="CUDA0"),
            Device("cpu", "amd", "Ryzen", "cpu", "host"),
        ),
        pools=(
            MemoryPool("0000:01:00.0", "dedicated", 8000, None),
            MemoryPool("host", "host", 16000, 9000),
        ),
        cpu=Cpu("Ryzen", 8, 16, ("avx2",)),
    )


def plan(name="tiny", *, embedding=False, file="tiny-q8_0.gguf", pooling=None):
    share = Share("cpu", "host", (0, 1), 1000, 200, 30)
    return Plan(
        model=name, file=file, quant="Q8_0", placement=Placement((share,), 0),
        n_ctx=1024, n_ctx_seq=512,
        n_parallel=4, n_seq_max=8, kv_type_k="f16", kv_type_v="f16", kv_unified=True,
        n_batch=512, n_ubatch=512, n_outputs_max=16, n_threads=2, flash_attention=False,
        swa_full=False, embedding=embedding, pooling=pooling,
        decode_tok_s=Range(10.0, 20.0, 30.0), reasons=("it fits",),
    )  # fmt: skip


def words(text, *, reason="stop", n_prompt=7, n_cached=3, timings=None):
    """The events of an answer that says `text`, a word at a time."""
    pieces = text.split(" ")
    deltas = [TextDelta(piece if i == 0 else " " + piece) for i, piece in enumerate(pieces)]
    timings = timings or Timings(0.001, 0.020, 0.010)
    return [*deltas, Finished(reason, n_prompt, n_cached, len(pieces), timings)]


def call_cut_at(stop_word):
    """An answer whose call a stop string has ended."""
    begun = '<tool_call>\n{"name": "weather", "arguments": {"text": "first line'
    return [TextDelta(begun), Finished("stop", 7, 3, 9, stop_word=stop_word)]


class FakeLease:
    """Of an engine that takes turns: what was said of how long it stays."""

    def __init__(self, left_s=None):
        self.left_s = left_s
        self.kept = []

    def dismiss(self):
        self.kept.append("dismissed")

    def keep(self, idle_s):
        assert isinstance(idle_s, int | float)
        assert idle_s >= 0
        self.kept.append(idle_s)


@dataclass(eq=False)
class FakeEngine:
    """Says what its script says. One script for each request to come, the last one for ever."""

    plan: Plan = field(default_factory=plan)
    scripts: list = field(default_factory=lambda: [words("Hello there")])
    state: str = "ready"
    progress_ratio: float | None = None
    gauge: Gauge | None = None
    n_restarts: int = 0
    pid: int | None = None
    failure: EdgellmError | None = None
    missing_device: str | None = None
    log: deque = field(default_factory=deque)
    asked: list = field(default_factory=list)
    recorded: tuple = ()  # StepRecords
    on_left: object = lambda key, finished: None
    adapters: AdapterList = field(default_factory=AdapterList)
    lease: object = None
    rehearsed: object = None
    can_fill: bool = True
    n_open: int = 0
    n_cancelled: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        embedding = self.plan.embedding
        self.ready = Ready(
            n_ctx=1024, n_ctx_seq=512, n_vocab=512, load_s=0.5, shares_prefixes=True,
            embedding=embedding, n_embd=N_EMBD, n_ctx_train=2048,
            pooling=(self.plan.pooling or "mean") if embedding else None,
        )  # fmt: skip

    async def start(self):
        raise AssertionError("the server starts no engine")

    async def stop(self, grace_s=5.0):
        raise AssertionError("the server stops no engine")

    def generate(self, prompt, params):
        self._must_be_ready()
        assert not self.plan.embedding
        assert isinstance(params, GenerateParams)
        assert params.n == 1, "an engine gives one answer to one request"
        assert isinstance(prompt, str) or (
            isinstance(prompt, tuple) and all(isinstance(token, int) for token in prompt)
        )
        assert isinstance(params.stop, tuple)
        self.asked.append((prompt, params))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, Exception):
            raise script
        return self._play(script)

    async def _play(self, script):
        """As a worker does, it says of an answer that its reader left how far that had come."""
        self.n_open += 1
        self.begun.set()
        ended, n_told, key = False, 0, self.asked[-1][1].claim.key
        try:
            for item in script:
                n_told += isinstance(item, TextDelta)
                assert not ended, "a script goes on after its ending"
                if item is HANG:
                    await asyncio.Event().wait()
                if isinstance(item, Exception):
                    raise item
                ended = isinstance(item, Finished | Failed)
                yield item
                await asyncio.sleep(0)
        except (asyncio.CancelledError, GeneratorExit):
            if not ended:
                self.on_left(key, Finished("cancelled", 7, 3, n_told, n_computed=4 + n_told))
                self.n_cancelled += 1
                self.cancelled.set()
            raise
        finally:
            self.n_open -= 1

    async def embed(self, inputs, norm=2):
        """Without pooling each input has two tokens."""
        self._must_be_ready()
        assert self.plan.embedding
        self.asked.append((inputs, norm))
        vector = array("f", [0.5, 0.5, -0.5, 0.5]).tobytes()
        vector = vector * 2 if self.plan.pooling == "none" else vector
        return Embedded(1, (vector,) * len(inputs), n_tokens=3 * len(inputs))

    async def rerank(self, query, documents, max_doc_tokens=None):
        """The longer, the better."""
        self._must_be_ready()
        assert self.plan.pooling == "rank"
        self.asked.append((query, documents, max_doc_tokens))
        return Scored(1, tuple(float(len(each)) for each in documents), n_tokens=7)

    async def steps(self, n):
        self._must_be_ready()
        return Steps(1, self.recorded[-n:])

    async def tokenize(self, text, add_special, *, parse_special=True, with_pieces=False):
        """A token a byte; <s> is token 1."""
        self._must_be_ready()
        data = text.encode()
        data = data.replace(b"<s>", b"\x01") if parse_special else data
        told = _tokenized(*((1,) if add_special else ()), *data)
        return told if with_pieces else Tokenized(1, told.tokens)

    async def detokenize(self, tokens):
        self._must_be_ready()
        if any(token > 255 for token in tokens):
            raise BadRequest("token 999 is not in the vocabulary of 256 tokens", param="tokens")
        return _tokenized(*tokens)

    async def infill(self, asked):
        self._must_be_ready()
        if not self.can_fill:
            raise BadRequest("this model can't fill in the middle", param="model")
        self.asked.append((asked, None))
        return (40, *asked.prefix.encode(), 41, *asked.suffix.encode(), 42)

    async def load_adapter(self, name, path):
        self._must_be_ready()
        if not path.is_file():
            raise ModelNotFound(f"there is no file {path.name}")
        adapter = self.adapters.new(name, str(path))
        self.adapters.add(adapter)
        return adapter

    async def unload_adapter(self, name):
        self._must_be_ready()
        return self.adapters.remove(name)

    def _must_be_ready(self):
        if self.state != "ready":
            raise NotServing(f"the model is {self.state}")


def _tokenized(*tokens):
    return Tokenized(1, tokens, tuple(b"<s>" if one == 1 else bytes([one]) for one in tokens))


class SlowEngine(FakeEngine):
    """Says a word every 50 ms."""

    async def _play(self, script):
        async for event in super()._play(script):
            yield event
            await asyncio.sleep(0.05)


@dataclass
class LiveServer:
    url: str
    app: object
    models: Models
    thread: threading.Thread

    @property
    def gateway(self):
        return self.app.state.gateway

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])


@contextmanager
def live_server(
    *served, bind=None, grace_s=5.0, insecure=False, most=None, watched=None, lora_dir=None,
    aliases=(), **terms
):  # fmt: skip
    """A server in a thread of its own: the sync client's blocking calls must not stop it."""
    models = Models(served, aliases)
    watched = watched or Watched()
    app = create_app(models, terms=Terms(**terms), watched=watched, reach=Reach(lora_dir))
    for one in served:  # as a Fleet does
        one.engine.on_left = partial(app.state.gateway.left, one)
    started, trouble = threading.Event(), []
    urls = []

    def on_started(url):
        urls.append(url)
        started.set()

    def run():
        try:
            asyncio.run(
                serve(
                    app,
                    bind or Bind(port=0),
                    on_started=on_started,
                    grace_s=grace_s,
                    insecure=insecure,
                    max_connections=most,
                )
            )
        except BaseException as error:  # noqa: BLE001  # raised by the test's own thread
            trouble.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="server under test")
    thread.start()
    assert started.wait(60)
    if trouble:
        thread.join()
        raise trouble[0]
    try:
        yield LiveServer(urls[0], app, models, thread)
    finally:
        app.state.gateway.stopping.set()
        thread.join(grace_s + 5)
        assert not thread.is_alive(), "the server did not stop"
        assert not trouble, trouble


@contextmanager
def clients_of(live, *keys):
    """The openai package's, one a key."""
    with ExitStack() as open_ones:
        how = {"base_url": f"{live.url}/v1", "max_retries": 0, "_strict_response_validation": True}
        yield [open_ones.enter_context(openai.OpenAI(api_key=key, **how)) for key in keys]


def scraped(live, **headers):
    """What /metrics says, by name and labels as they are written there."""
    lines = httpx2.get(f"{live.url}/metrics", headers=headers).text.splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def refusals(live, **headers):
    """How many by each reason."""
    name = 'edgellm_refused_requests_total{reason="'
    found = scraped(live, **headers).items()
    return {one.removeprefix(name)[:-2]: n for one, n in found if one.startswith(name)}


def served(name="tiny", **how):
    engine = how.pop("engine", None) or FakeEngine(plan(name))
    return Served(name, engine, created=1_700_000_000, **how)


def served_embedding(name="mini", pooling="mean"):
    file = f"{name}.gguf"
    return Served(name, FakeEngine(plan(name, embedding=True, file=file, pooling=pooling)))
