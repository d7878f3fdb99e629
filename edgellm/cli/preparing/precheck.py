"""What can be known to fail before minutes are spent on a download: the address, the certificate.

The server checks the same again when it binds; between the two somebody else may come.
"""

import socket

from edgellm.cli.flags.addresses import reached_at
from edgellm.config import Config
from edgellm.errors import AddressInUse
from edgellm.files import path_of
from edgellm.server.door.access import own_names
from edgellm.server.door.certificate import load_certificate
from edgellm.server.serve import Bind, check_reach

_TIMEOUT_S = 1.0


def check_address(config: Config, *, insecure: bool = False) -> None:
    """Raises AddressInUse, and ConfigError for a place that others reach and no key protects, and
    for a certificate or a file of a key that is none."""
    config.all_keys()
    bind = bind_of(config)
    if bind.unix_path:
        return
    check_reach(bind, has_key=config.needs_key, insecure=insecure)
    if config.port and _somebody_listens(config.host, config.port):
        raise AddressInUse(
            f"port {config.port} on {config.host} is taken",
            hint="by no server of yours: --port chooses another, 0 any free one",
        )


def bind_of(config: Config) -> Bind:
    """Where the settings have a server listen, and how. A relative path would be another one for
    whoever finds it from elsewhere; a unix socket speaks no TLS. Raises ConfigError."""
    if config.unix_socket:
        return Bind(config.host, config.port, path_of(config.unix_socket).absolute())
    tls = None
    if config.ssl_cert_file and config.ssl_key_file:
        tls = load_certificate(path_of(config.ssl_cert_file), path_of(config.ssl_key_file))
    return Bind(config.host, config.port, tls=tls)


def names_of(bind: Bind) -> frozenset[str]:
    """By which others may ask there. The system is asked for them, and no name server: its word is
    another's, and takes its time. Who is asked by a name of the certificate has proven it, too."""
    proven = frozenset(bind.tls.names if bind.tls else ())
    return proven if bind.is_private else proven | own_names(bind.host, socket.gethostname())


def _somebody_listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((reached_at(host), port), _TIMEOUT_S):
            return True
    except OSError:
        return False
