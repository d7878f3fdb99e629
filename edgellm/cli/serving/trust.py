"""Whose certificate a command believes.

A server that this user runs here has left its own in the file that says where it listens: that one
and no other is believed, whatever name it was made for. Anybody else's has to be signed by an
authority that the system knows, or that SSL_CERT_FILE or SSL_CERT_DIR names.
"""

import ssl

import httpx2

from edgellm.cli.flags.addresses import hears
from edgellm.cli.serving import state
from edgellm.errors import ConfigError
from edgellm.server.door.certificate import trusting


def trust_for(url: str) -> ssl.SSLContext | bool:
    """What an HTTP client is to verify by; False where there is no TLS, and so no authority need
    be read, which takes longer than a question. Raises ConfigError."""
    if not url.startswith("https:"):
        return False
    for server in state.running():
        if server.certificate and hears(server.url, url):
            return trusting(server.certificate)
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        raise ConfigError(
            f"the certificates that the environment names can't be read: {error.strerror or error}",
            hint="look at SSL_CERT_FILE and SSL_CERT_DIR",
        ) from error


def transport_for(url: str) -> httpx2.AsyncBaseTransport | None:
    """For a screen, which knows no servers; None where it needs none. Raises ConfigError."""
    trust = trust_for(url)
    return httpx2.AsyncHTTPTransport(verify=trust, trust_env=False) if trust else None
