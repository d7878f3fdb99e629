"""One server from start to end: it listens first, loads then, and stops its engines at last.

Listening first means that a taken port is told at once and not after minutes of loading, that
/health says "Loading model" meanwhile, and that the screen shows how far it is.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette

from edgellm.cli.garbage import collect_while_serving
from edgellm.cli.output import say
from edgellm.cli.preparing.precheck import bind_of, names_of
from edgellm.cli.preparing.prepare import Prepared
from edgellm.cli.serving import state
from edgellm.cli.serving.certificate_renewal import keep_renewed
from edgellm.cli.serving.engines import Fleet
from edgellm.cli.serving.observing import Observer
from edgellm.cli.serving.salvage import Salvage
from edgellm.cli.serving.sharing import Shared
from edgellm.config import Config
from edgellm.files import path_of
from edgellm.meter.guardrails import Ceilings
from edgellm.meter.health import Health
from edgellm.meter.sampler import Sampler
from edgellm.meter.sensors import sampler_for
from edgellm.meter.usage.diary import users_diary
from edgellm.probe.hardware import Hardware
from edgellm.probe.sources import SystemSources
from edgellm.runner.on_demand.caretaker import Caretaker
from edgellm.runner.on_demand.room import Room
from edgellm.runner.sandbox.rules import Wish
from edgellm.server.app import create_app
from edgellm.server.door.access import Access
from edgellm.server.door.bodies import bodies_bytes
from edgellm.server.door.connections import most_connections
from edgellm.server.door.terms import Terms
from edgellm.server.gateway import Gateway
from edgellm.server.responses.store import store_bytes
from edgellm.server.routes.image_hosts import ImageHosts
from edgellm.server.routes.reach import Pulling, Reach, Removing
from edgellm.server.serve import Bind, serve
from edgellm.server.served import Models, Served
from edgellm.server.watch.checkup import OnChange
from edgellm.server.watch.joules import Tariff
from edgellm.server.watch.live import Watched
from edgellm.server.watch.webhook import Webhook


def _nothing(*_: object) -> None:
    pass


async def _no_errand(fleet: Fleet) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Instance:
    """What one server is asked to be. The callbacks run in its event loop.

    `errand` begins when everything is ready and ends with the server: it may swap models.
    """

    config: Config
    hardware: Hardware
    prepared: Sequence[Prepared]
    insecure: bool = False
    is_announced: bool = True  # found by `ps`, `run` and `stop`
    wakes_first: bool = True  # of those that take turns, the first is loaded before it is asked for
    grace_s: float = 30.0
    say: Callable[[str], None] = say
    on_listening: Callable[[str], None] = _nothing  # the URL
    on_loading: Callable[[Models], None] = _nothing  # loaded one after the other
    on_ready: Callable[[str, Models], None] = _nothing  # the URL, and what is served there
    on_closing: Callable[[], None] = _nothing  # the URL may be anybody's after that
    errand: Callable[[Fleet], Awaitable[None]] = field(default=_no_errand)
    puller: Pulling | None = None  # None: no request downloads a model
    remover: Removing | None = None  # None: none removes one


async def run_instance(instance: Instance) -> None:
    """Returns when somebody said stop. To cancel it says no more than that, however often: what it
    has started it stops. Signals are another matter: once the port is closed SIGTERM and Ctrl-C are
    the program's own again, and on the command line end it at once. Raises AddressInUse,
    ConfigError, and as Fleet.load does."""
    stop = asyncio.Event()
    life = asyncio.create_task(_live(instance, stop))
    while not life.done():
        try:
            await asyncio.shield(life)
        except asyncio.CancelledError:
            stop.set()
    life.result()


async def _live(instance: Instance, stop: asyncio.Event) -> None:
    sampler = sampler_for(instance.hardware, SystemSources(Path(instance.config.sensors_root)))
    config = instance.config
    observer = Observer(instance.hardware, sampler.latest, sandbox=_sandbox(config))
    shared = Shared(instance.hardware, config.reserve, sampler.latest)
    caretaker = Caretaker(Room({}), look=shared.budgets)
    fleet = Fleet(config.max_queue, instance.say, observer.supervise, config.aliases, caretaker)
    shared.models = fleet.models
    hearers = _hearers(instance)
    bind = bind_of(config)
    app = _app(instance, bind, fleet, sampler, hearers)
    gateway: Gateway = app.state.gateway
    fleet.on_left = gateway.left
    uses = (gateway.live.use, shared.use)
    salvage = Salvage(fleet, instance.hardware, say=instance.say, uses=uses)
    hearers.append(salvage.noticed)
    with state.Announcement() as announcement:
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(_serve(instance, bind, app, announcement, listening))
        loading = asyncio.create_task(_load(instance, fleet, observer, listening))
        told = asyncio.create_task(stop.wait())
        renewing = asyncio.create_task(keep_renewed(bind.tls, announcement.shows, instance.say))
        sampler.start()
        try:
            await asyncio.wait({serving, loading, told}, return_when=asyncio.FIRST_COMPLETED)
            for task in (loading, serving):
                if task.done():
                    task.result()
        finally:
            gateway.stopping.set()
            told.cancel()
            loading.cancel()
            renewing.cancel()
            salvage.stop()
            await asyncio.gather(loading, serving, told, renewing, return_exceptions=True)
            await fleet.stop()
            sampler.stop()


async def _serve(
    instance: Instance,
    bind: Bind,
    app: Starlette,
    announcement: state.Announcement,
    listening: "asyncio.Future[str]",
) -> None:
    """Others find the server as long as it listens."""

    def listens(url: str) -> None:
        collect_while_serving()
        if instance.is_announced:
            tls = bind.tls
            announcement.listening(url, time.time(), tls.own if tls else None)
        listening.set_result(url)

    def closes() -> None:
        announcement.stopping()
        instance.on_closing()

    def waits(n_answers: int) -> None:
        have = "1 answer still runs and has"
        if n_answers > 1:
            have = f"{n_answers} answers still run and have"
        instance.say(f"{have} {instance.grace_s:g} s to end; Ctrl-C again ends now")

    await serve(
        app,
        bind,
        on_started=listens,
        on_closing=closes,
        on_waiting=waits,
        grace_s=instance.grace_s,
        insecure=instance.insecure,
        max_connections=most_connections(instance.config.max_queue),
    )


def _app(
    instance: Instance, bind: Bind, fleet: Fleet, sampler: Sampler, hearers: Sequence[OnChange]
) -> Starlette:
    config = instance.config

    def tell_all(served: Served, health: Health) -> None:
        for hear in hearers:
            hear(served, health)

    return create_app(
        fleet.models,
        terms=_terms(instance, bind),
        watched=Watched(
            instance.hardware,
            sampler.latest,
            lambda: fleet.download,
            Tariff(config.energy_price_per_kwh, config.currency),
            tell_all,
        ),
        reach=Reach(
            path_of(config.lora_dir) if config.lora_dir else None,
            ImageHosts(() if config.offline else config.image_hosts),
            instance.puller,
            instance.remover,
        ),
    )


def _terms(instance: Instance, bind: Bind) -> Terms:
    config, memory_bytes = instance.config, instance.hardware.host.total_bytes
    access = Access.of(
        keys=config.all_keys(),
        host_names=(*config.allowed_hosts, *names_of(bind)),
        origins=config.allowed_origins,
        all_bodies_bytes=bodies_bytes(config.request_memory, memory_bytes),
    )
    ceilings = Ceilings(config.max_temperature_c, config.max_power_w)
    keeps = config.kept_days if instance.is_announced else 0  # a private one is nobody's server
    return Terms(
        access,
        ceilings=ceilings,
        responses_bytes=store_bytes(config.response_memory, memory_bytes),
        on_held=instance.say,
        diary=users_diary(keeps) if keeps else None,
        on_trouble=instance.say,
    )


def _sandbox(config: Config) -> Wish:
    """Adapters may come from one folder at run time."""
    reach = (os.fsencode(path_of(config.lora_dir).absolute()),) if config.lora_dir else ()
    return Wish(config.sandbox, reach)


def _hearers(instance: Instance) -> list[OnChange]:
    """Who is told of a model's health: the terminal, and the webhook. Raises ConfigError."""

    def say(served: Served, health: Health) -> None:
        instance.say(f"{served.name} is {health}")

    url = instance.config.health_webhook
    if url and instance.config.offline:
        instance.say("offline: health_webhook is told nothing")
        url = None
    return [say, Webhook(url, instance.say).tell] if url else [say]


def _tell_of_unserved(instance: Instance, models: Models) -> None:
    """A name in a key's `models` that is spelt otherwise would be no model, and no error."""
    for name, key in instance.config.keys.items():
        missing = [model for model in key.models or () if not tuple(models.only((model,)))]
        if missing:
            instance.say(f"keys.{name}: not served now: {', '.join(missing)}")


async def _load(
    instance: Instance, fleet: Fleet, observer: Observer, listening: "asyncio.Future[str]"
) -> None:
    """The models one after the other, of those that take turns the first at most; then the errand.
    Lasts until it is cancelled."""
    url = await listening
    instance.on_listening(url)
    listed = [(prepared, fleet.add(prepared)) for prepared in instance.prepared]
    instance.on_loading(fleet.models)
    _tell_of_unserved(instance, fleet.models)
    for prepared, served in listed:
        is_first = served is listed[0][1] and instance.wakes_first
        if prepared.sleeps and not is_first:
            continue
        before = observer.used_bytes()
        loaded = await fleet.start(served)
        observer.begin(loaded.engine, before)
    instance.on_ready(url, fleet.models)
    await instance.errand(fleet)
    await asyncio.get_running_loop().create_future()
