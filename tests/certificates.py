"""Certificates for tests, in tests/server/certificates/: valid from 2020 to 2125, P-256.

`authority` has signed all others: `server` for localhost, 127.0.0.1 and ::1; `box` for box.lan;
`expired`, which was good in January 2020; `person`, which is a client's. `locked.key` is
`server.key` behind a passphrase. They were made by `openssl ca` with -startdate and -enddate.
"""

import ssl
from pathlib import Path

from edgellm.server.door.certificate import load_certificate

FOLDER = Path(__file__).parent / "server" / "certificates"
AUTHORITY = FOLDER / "authority.pem"


def certificate(name="server"):
    return load_certificate(FOLDER / f"{name}.pem", FOLDER / f"{name}.key")


def believing():
    """What a client has who believes the authority."""
    return ssl.create_default_context(cafile=AUTHORITY)
