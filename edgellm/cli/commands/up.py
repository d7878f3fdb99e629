"""`edgellm up`: the one command. Looks at the machine, chooses, serves, and shows it."""

import shlex
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from edgellm.cli.flags import options
from edgellm.cli.flags.drafting import Drafting
from edgellm.cli.flags.listening import Listening
from edgellm.cli.flags.model_options import ModelOptions
from edgellm.cli.flags.pins import Pins

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgellm.cli.preparing.best import Choice
    from edgellm.cli.preparing.prepare import Prepared
    from edgellm.cli.preparing.resolve import Resolved
    from edgellm.cli.serving.already import AlreadyServing
    from edgellm.cli.serving.serving import Instance
    from edgellm.config import Config
    from edgellm.errors import BadRequest
    from edgellm.probe.hardware import Hardware
    from edgellm.selector.plan import Goal


def up(
    pins: Pins,
    listening: Listening,
    drafting: Drafting,
    model: Annotated[str | None, typer.Argument(metavar="", hidden=True)] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Download the best model without asking.")
    ] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Serve the demo, whatever is here.")] = False,
    headless: Annotated[
        bool, typer.Option("--headless", help="No screen; print the address.")
    ] = False,
    offline: options.Offline = False,
) -> None:
    """Choose the best model for this machine, serve it, show it.

    A model that was downloaded before is served without a question; of several, the best. Without
    one, the tiny demo that ships with edgellm answers at once, and on a terminal with network you
    are asked whether to download the best real model; the demo chats until it is here. Without a
    terminal nothing is downloaded unless --yes says so. Where `up` or `serve` runs at that address
    already, its screen is shown.

    \b
      edgellm up
      edgellm up --yes --headless      # on a server: download, then serve
      edgellm up --demo                # nothing but what ships with edgellm
    """
    from edgellm.cli.output import is_terminal
    from edgellm.cli.serving.already import AlreadyServing

    if model is not None:
        raise _chooses_itself(model)
    config = listening.config(offline=offline, reserve=pins.reserve, draft=drafting.named(pins))
    goal = pins.goal(config.reserve)
    is_watched = is_terminal() and not headless
    shows_screen = is_watched and _can_draw()
    try:
        listening.check(config)
    except AlreadyServing as there:
        if not shows_screen or yes or demo or pins.given() or drafting.given():
            raise
        _watch(there)
        return
    flags = ModelOptions(pins=pins, drafting=drafting)
    consent = _Consent(demo, asks=is_watched and not yes, agrees=yes)
    chosen = _chosen(config, goal, flags, consent)
    if shows_screen:
        _with_screen(chosen, insecure=listening.insecure)
    else:
        _headless(chosen, insecure=listening.insecure)


def _chooses_itself(model: str) -> "BadRequest":
    from edgellm.errors import BadRequest

    named = shlex.quote(model)
    return BadRequest(
        "up chooses the model itself",
        hint=f"edgellm serve {named} serves that one, edgellm run {named} talks with it",
    )


def _watch(there: "AlreadyServing") -> None:
    """Its screen in place of one more server's."""
    from edgellm.cli.output import say
    from edgellm.cli.serving.find import host_flag
    from edgellm.cli.serving.screen import watch

    say(f"{there}: here is its screen")
    watch(there.url)
    say(f"the server goes on; it ends by: edgellm stop{host_flag(there.url)}")


@dataclass(frozen=True, slots=True)
class _Consent:
    """What the user will have."""

    only_demo: bool
    asks: bool  # he can be asked
    agrees: bool  # to a download, without being asked


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What is served, and what will be once it is here."""

    config: "Config"
    hardware: "Hardware"
    prepared: "Prepared"
    wished: "Choice | None"
    flags: ModelOptions


def _chosen(config: "Config", goal: "Goal", flags: ModelOptions, consent: _Consent) -> _Chosen:
    from edgellm.cli.output import say
    from edgellm.cli.preparing import machine
    from edgellm.cli.preparing.best import best_on_disk
    from edgellm.cli.preparing.requested import RequestedModel
    from edgellm.cli.preparing.several import prepare_all

    say("looking at this machine …")
    hardware = machine.look()
    found = None if consent.only_demo else best_on_disk(config, hardware, goal)
    resolved = _resolved(found)
    one = RequestedModel.of(resolved.name, config, flags)
    if found:
        say(f"the best model on this disk: {found.name}")
        resolved = one.with_draft(resolved)
    elif config.draft:
        say("no draft model is loaded: the demo needs none")
    (prepared,) = prepare_all([one.with_extras(resolved)], hardware)
    is_enough = found or consent.only_demo or config.offline
    wished = None if is_enough else _wished(config, hardware, goal, consent)
    return _Chosen(config, hardware, prepared, wished, flags)


def _can_draw() -> bool:
    from edgellm.cli.output import say
    from edgellm.tui.terminal import why_not_drawn

    why = why_not_drawn()
    if why:
        say(f"{why}, so there is no screen, as with --headless")
    return why is None


def _resolved(found: "Choice | None") -> "Resolved":
    from edgellm.cli.preparing.resolve import Resolved, demo

    if not found:
        return demo()
    return Resolved(found.name, (found.candidate,))


def _wished(
    config: "Config", hardware: "Hardware", goal: "Goal", consent: _Consent
) -> "Choice | None":
    """What to download, if the user wants it and the network is there."""
    from edgellm.cli.output import agrees, say
    from edgellm.cli.preparing.best import best_to_download
    from edgellm.cli.preparing.network import hub_is_reachable
    from edgellm.models.hubs import SITES

    if not (consent.asks or consent.agrees):
        say("no model on this disk: serving the demo; `edgellm up --yes` would download one")
        return None
    if not hub_is_reachable(config.hub):
        site = SITES[config.hub]
        say(f"{site.title} can't be reached: serving the demo; {site.another}")
        return None
    best = best_to_download(config, hardware, goal)
    if best is None:
        say("no model of the catalog fits this machine: serving the demo")
        return None
    offer = f"{best.name} {best.plan.quant}, {_gb(best)}{_pace(best)}"
    if consent.agrees:
        say(f"downloading the best real model for this machine: {offer}")
        return best
    say(f"best real model for this machine: {offer}")
    return best if agrees("download it?", usually=True) else None


def _headless(chosen: _Chosen, *, insecure: bool) -> None:
    import asyncio

    from edgellm.cli.output import say
    from edgellm.cli.serving.ready import ready_text
    from edgellm.cli.serving.serving import Instance, run_instance
    from edgellm.cli.serving.upgrade import fetch, upgrade

    config, hardware, wished = chosen.config, chosen.hardware, chosen.wished
    instance = Instance(
        config,
        hardware,
        (chosen.prepared,),
        insecure=insecure,
        on_listening=lambda url: say(f"listening on {url}, loading {chosen.prepared.name}"),
        on_ready=lambda url, models: print(ready_text(url, models, hardware, config), flush=True),
        errand=upgrade(
            config,
            hardware,
            wished,
            say,
            wished.name if wished else None,
            partial(fetch, chosen.flags),
        ),
    )
    asyncio.run(run_instance(instance))


def _with_screen(chosen: _Chosen, *, insecure: bool) -> None:
    """The server on a thread, the screen in front; whichever ends first ends the other. What the
    server says last is said when the screen is gone: it would be drawn over."""
    import contextlib

    from edgellm.cli.output import say
    from edgellm.cli.serving.background import BackgroundServer
    from edgellm.cli.serving.screen import Screen

    screen, last_words = Screen(), list[str]()
    instance = replace(_behind_screen(chosen, last_words.append), insecure=insecure)
    server = BackgroundServer(instance, waits_for_models=False, on_end=screen.close).start()
    try:
        screen.show(server.url, lambda: server.api_key)
    finally:
        server.stop()
        with contextlib.suppress(OSError):  # it may have ended because the terminal was closed
            for text in last_words:
                say(text)
    if server.failure:
        raise server.failure
    with contextlib.suppress(OSError):
        say("the server has stopped; one that keeps running: edgellm serve MODEL")


def _behind_screen(chosen: _Chosen, say_last: "Callable[[str], None]") -> "Instance":
    from edgellm.cli.serving.serving import Instance
    from edgellm.cli.serving.upgrade import fetch, upgrade

    def unsaid(text: str) -> None:
        """The screen shows it."""

    config, hardware, wished = chosen.config, chosen.hardware, chosen.wished
    return Instance(
        config,
        hardware,
        (chosen.prepared,),
        say=unsaid,
        errand=upgrade(
            config, hardware, wished, unsaid, None, partial(fetch, chosen.flags), say_last
        ),
    )


def _gb(best: "Choice") -> str:
    return f"{best.candidate.file_bytes / 1e9:.1f} GB"


def _pace(best: "Choice") -> str:
    rate = best.plan.decode_tok_s
    return f", {rate.p10:.0f}–{rate.p90:.0f} tok/s" if rate else ""
