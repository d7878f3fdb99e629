"""A mirror from start to end: what it says when it listens, and of each download that has ended."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from starlette.applications import Starlette

from edgellm.cli.flags.addresses import is_everywhere, seen_from_outside, url_at, url_of
from edgellm.cli.output import say
from edgellm.cli.preparing.precheck import bind_of, names_of
from edgellm.cli.preparing.store import store_of
from edgellm.cli.serving.certificate_renewal import keep_renewed
from edgellm.config import Config, host_and_port
from edgellm.harmless import plain
from edgellm.server.door.access import Access
from edgellm.server.door.connections import most_connections
from edgellm.server.hub.app import Download, create_hub
from edgellm.server.hub.digests import Digests
from edgellm.server.hub.page import Row, how_to, rows_of, table_of
from edgellm.server.hub.sending import RateLimit
from edgellm.server.hub.shelf import Shelf
from edgellm.server.serve import Bind, serve
from edgellm.units import format_bytes, format_seconds

_GRACE_S = 1.0  # a download takes minutes; its client goes on with it when the mirror is back


def run(config: Config, port: int, rate_bytes_s: float | None, *, insecure: bool) -> None:
    """Until somebody says stop. The settings are those of a server, but for its port: the two may
    run side by side. Raises AddressInUse, ConfigError, StorageError."""
    bind = bind_of(msgspec.structs.replace(config, port=port, unix_socket=None))
    store, names = store_of(config), names_of(bind)
    access = Access.of(keys=config.all_keys(), host_names=(*config.allowed_hosts, *names))
    shelf = Shelf(store.root, Digests(_tell_of_reading))
    models = rows_of(shelf.copies())
    app = create_hub(
        shelf,
        access,
        limit=RateLimit(rate_bytes_s),
        on_ended=lambda download: say(ended_text(download)),
    )

    def ready(url: str) -> None:
        print(ready_text(url, models, store.root, bind, config), flush=True)

    asyncio.run(_live(app, bind, ready, insecure))


async def _live(app: Starlette, bind: Bind, ready: Callable[[str], None], insecure: bool) -> None:
    renewing = asyncio.create_task(keep_renewed(bind.tls, lambda shown: None, say))
    try:
        await serve(
            app,
            bind,
            on_started=ready,
            on_waiting=_tell_of_breaking_off,
            grace_s=_GRACE_S,
            insecure=insecure,
            max_connections=most_connections(0) // 2,  # each has a file open beside it
        )
    finally:
        renewing.cancel()


def ready_text(
    url: str,
    models: Sequence[Row],
    root: Path,
    bind: Bind,
    config: Config,
    outside: Callable[[str], str | None] = seen_from_outside,
) -> str:
    """What is here, and what to type elsewhere. `outside` tells this machine's address there."""
    count = "1 model" if len(models) == 1 else f"{len(models)} models"
    lines = [f"edgellm mirror serves {count} of {root}", f"  at {url_of(url)}", ""]
    lines += [
        table_of(models),
        "",
        *how_to(_elsewhere(url, outside), has_key=config.needs_key),
    ]
    if bind.is_private:
        lines += ["", "Only this machine reaches it: --host 0.0.0.0 opens it to the others."]
    return "\n".join(lines)


def _elsewhere(url: str, outside: Callable[[str], str | None]) -> str:
    """What other machines call it; where nobody can tell, a word in the address's place."""
    host, port = host_and_port(url)
    if not is_everywhere(host):
        return url
    return url_at(url.partition("://")[0], outside(host) or "ADDRESS", port)


def ended_text(download: Download) -> str:
    """ "192.168.1.7  unsloth/Qwen3-8B-GGUF  Qwen3-8B-Q4_K_M.gguf  5.0 GiB in 43s, 118 MiB/s"."""
    sent = download.sent_bytes
    took = f"{format_bytes(sent)} in {format_seconds(download.took_s)}"
    if download.took_s > 0:
        took += f", {format_bytes(int(sent / download.took_s))}/s"
    if not download.is_whole:
        done = download.start + sent
        took += f"; broken off at {done / download.size_bytes:.0%}"
    elif download.start:
        took += f", from {download.start / download.size_bytes:.0%} on"
    return plain(f"{download.client}  {download.repo}  {download.path}  {took}")


def _tell_of_reading(path: Path, size_bytes: int) -> None:
    size = format_bytes(size_bytes)
    say(f"reading {path.name} ({size}) for its sha256: it is served when that is known")


def _tell_of_breaking_off(n_downloads: int) -> None:
    count = "1 download is" if n_downloads == 1 else f"{n_downloads} downloads are"
    say(f"{count} broken off; the same command goes on with it when the mirror is back")
