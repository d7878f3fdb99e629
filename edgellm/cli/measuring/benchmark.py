"""The measuring of `edgellm bench`: requests to a server, timed by its worker, not by our clock."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from statistics import median

from edgellm.cli.output import say
from edgellm.cli.serving import busy
from edgellm.cli.serving.busy import Crowd
from edgellm.cli.serving.client import Client
from edgellm.errors import ContextTooLong, EdgellmError, ModelNotFound
from edgellm.status import ModelStatus, Status
from edgellm.tui.told.answers import Timings

PASSAGE = (
    "The river begins in the hills, runs past two villages and a mill, and is in no hurry at all. "
    "In spring it takes the bridge with it, and in summer children walk across on the stones. "
)
_SHORT_PROMPT = 8
_SOAK_EDGE_RATIO = 0.1  # of the time: what counts as cold at its begin, and as warm at its end


@dataclass(frozen=True, slots=True)
class Sizes:
    n_prompt: int
    n_generate: int
    n_runs: int


@dataclass(frozen=True, slots=True)
class Row:
    """`tok_s` in the order of the runs."""

    test: str  # "prefill", "decode"
    n_prompt: int  # tokens that are read, or that lie before the written ones
    n_tokens: int  # tokens that the rate counts
    tok_s: tuple[float, ...]

    @property
    def median_tok_s(self) -> float:
        return median(self.tok_s)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the plan said of one stream; None: it said nothing."""

    p10: float | None
    p50: float | None
    p90: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    model: str
    quant: str | None
    url: str
    version: str
    device: str
    rows: tuple[Row, ...]
    expected_decode_tok_s: Expected
    crowd: Crowd | None = None  # others were in the way: nothing of it is kept for the next plan


@dataclass(frozen=True, slots=True)
class Moment:
    at_s: float  # since the begin
    decode_tok_s: float
    temperature_c: float | None  # of the hottest device
    power_w: float | None  # of all devices that tell it
    throttle: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Soaked:
    model: str
    seconds: float
    cold_tok_s: float
    warm_tok_s: float
    moments: tuple[Moment, ...]
    crowd: Crowd | None = None

    @property
    def warm_ratio(self) -> float:
        return self.warm_tok_s / self.cold_tok_s


class Bench:
    """Raises NotServing without a server, ContextTooLong when the sizes don't fit into it.
    `least_load`: this machine's, of the times at which an answer was whole."""

    def __init__(
        self, url: str, model: str, sizes: Sizes, load: Callable[[], float] = busy.load
    ) -> None:
        self._url, self._model, self._sizes, self._load = url, model, sizes, load
        self._first_tokens = itertools.count()
        self.least_load = inf

    def measure(self) -> Measured:
        sizes = self._sizes
        with Client(self._url) as client:
            status = client.status()
            served = self._served(status)
            words = self._words(client)
            self._decode(client, words, _SHORT_PROMPT)  # pages the weights in
            prefill = self._row("prefill", sizes.n_prompt, partial(self._prefill, client, words))
            decode = (
                self._row("decode", depth, partial(self._decode, client, words, depth))
                for depth in _depths(sizes.n_prompt)
            )
            rows = (prefill, *decode)
        plan = served.plan
        return Measured(
            model=served.name,
            quant=plan.quant if plan else None,
            url=self._url,
            version=status.version,
            device=", ".join(device.name for device in status.devices),
            rows=rows,
            expected_decode_tok_s=Expected(
                plan.decode_tok_s_p10 if plan else None,
                plan.decode_tok_s_p50 if plan else None,
                plan.decode_tok_s_p90 if plan else None,
            ),
        )

    def soak(self, seconds: float) -> Soaked:
        """One stream after the other for so long; at least two."""
        moments: list[Moment] = []
        with Client(self._url) as client:
            self._served(client.status())
            words = self._words(client)
            self._decode(client, words, _SHORT_PROMPT)
            begun_s = time.monotonic()
            while (at_s := time.monotonic() - begun_s) < seconds or len(moments) < 2:
                rate = self._decode(client, words, _SHORT_PROMPT)
                moments.append(_moment(at_s, rate, client.status()))
        total_s = time.monotonic() - begun_s
        edge_s = total_s * _SOAK_EDGE_RATIO
        cold = [one.decode_tok_s for one in moments if one.at_s <= edge_s]
        warm = [one.decode_tok_s for one in moments if one.at_s >= total_s - edge_s]
        return Soaked(
            model=self._model,
            seconds=total_s,
            cold_tok_s=median(cold or [moments[0].decode_tok_s]),
            warm_tok_s=median(warm or [moments[-1].decode_tok_s]),
            moments=tuple(moments),
        )

    def _served(self, status: Status) -> ModelStatus:
        found = next((one for one in status.models if one.name == self._model), None)
        if found is None or found.embedding:
            raise ModelNotFound(f"{self._url} serves no generative model {self._model!r}")
        room = found.plan.n_ctx_seq if found.plan else None
        wanted = self._sizes.n_prompt + self._sizes.n_generate
        if room is not None and wanted > room:
            raise ContextTooLong(
                f"{wanted} tokens are wanted, a conversation has {room}",
                hint="give smaller -p and -n, or serve with a larger --ctx",
            )
        return found

    def _words(self, client: Client) -> tuple[int, ...]:
        tokens = client.tokenize(self._model, PASSAGE)
        if not tokens:
            raise EdgellmError(f"{self._model} makes no tokens of English words")
        return tokens

    def _row(self, test: str, n_prompt: int, run: Callable[[], float]) -> Row:
        say(f"{test} {n_prompt} …")
        n_tokens = n_prompt if test == "prefill" else self._sizes.n_generate
        return Row(test, n_prompt, n_tokens, tuple(run() for _ in range(self._sizes.n_runs)))

    def _prefill(self, client: Client, words: tuple[int, ...]) -> float:
        """Each prompt begins otherwise, so that no cache can know it."""
        prompt = repeated(words, self._sizes.n_prompt, next(self._first_tokens))
        timings = self._complete(client, prompt, n_tokens=1, cached=False)
        return _rate(timings.prompt_n, timings.prompt_ms)

    def _decode(self, client: Client, words: tuple[int, ...], depth: int) -> float:
        prompt = repeated(words, depth)
        timings = self._complete(client, prompt, n_tokens=self._sizes.n_generate, cached=True)
        return _rate(timings.predicted_n - 1, timings.predicted_ms)

    def _complete(
        self, client: Client, prompt: tuple[int, ...], *, n_tokens: int, cached: bool
    ) -> Timings:
        timings = client.complete(
            self._model,
            prompt,
            max_tokens=n_tokens,
            temperature=0,
            ignore_eos=True,
            cache_prompt=cached,
        )
        self.least_load = min(self.least_load, self._load())
        return timings


def repeated(words: tuple[int, ...], n_tokens: int, first: int = 0) -> tuple[int, ...]:
    """`n_tokens` of these tokens, from the one at `first` on, over and over."""
    return tuple(words[(first + i) % len(words)] for i in range(n_tokens))


def _depths(n_prompt: int) -> tuple[int, ...]:
    """From almost nothing to the whole prompt, in four steps."""
    return tuple(sorted({max(_SHORT_PROMPT, n_prompt * i // 3) for i in range(4)}))


def _rate(n_tokens: int, milliseconds: float) -> float:
    return 1000 * n_tokens / milliseconds if milliseconds > 0 else 0.0


def _moment(at_s: float, rate: float, status: Status) -> Moment:
    hot = [one.temperature_c for one in status.devices if one.temperature_c is not None]
    power = [one.power_w for one in status.devices if one.power_w is not None]
    return Moment(
        at_s=at_s,
        decode_tok_s=rate,
        temperature_c=max(hot, default=None),
        power_w=sum(power) if power else None,
        throttle=tuple(dict.fromkeys(why for one in status.devices for why in one.throttle)),
    )
