"""A certificate that is renewed while its server runs: in some weeks, most are.

Its files are looked at now and then, and read again when they are others. What can't be used is
said, and the one before goes on; connections that are open keep theirs.
"""

import asyncio
from collections.abc import Callable

from edgellm.errors import ConfigError
from edgellm.server.door.certificate import Certificate

_EVERY_S = 60.0

Stamp = tuple[tuple[int, int], ...]


async def keep_renewed(
    tls: Certificate | None,
    shows: Callable[[str], None],
    say: Callable[[str], None],
    every_s: float = _EVERY_S,
) -> None:
    """`shows` is told of each new one, in PEM's form. Lasts until it is cancelled."""
    seen = _stamp(tls) if tls else ()
    while tls:
        await asyncio.sleep(every_s)
        now = await asyncio.to_thread(_stamp, tls)
        if now == seen:
            continue
        seen = now
        try:
            tls = tls.renewed()
        except (ConfigError, OSError) as error:
            say(f"the renewed certificate can't be used, the one before is: {error}")
        else:
            shows(tls.own)
            say(f"the certificate was renewed: {tls.cert_file}")


def _stamp(tls: Certificate) -> Stamp:
    """Of files that are being written, and of none: what is read then, says what is wrong."""
    found = []
    for file in (tls.cert_file, tls.key_file):
        try:
            status = file.stat()
            found.append((status.st_mtime_ns, status.st_ino))
        except OSError:
            found.append((0, 0))
    return tuple(found)
