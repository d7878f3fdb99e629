"""The HTTP client for hubs, with the proxies and certificates that the environment names, and its
errors in plain words."""

import os
import re
import ssl
import sys
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from edgellm.errors import ConfigError, NetworkError, TransientError
from edgellm.models.hubs import Site

# Each address of a host is tried for so long: one of IPv6 that leads nowhere must not cost minutes.
_CONNECT_TIMEOUT_S: Final = 10.0
_ERRNO: Final = re.compile(r"^\[Errno -?\d+\] ")  # before words that say the same
_DISTRUST: Final = re.compile(r"certificate verify failed: (.*?)(?: \(_ssl\.c:\d+\))?$")
_OTHERS_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Unreachable(TransientError):
    """No connection was made: the host is off, or not to be reached from here."""


def open_client(silence_s: float) -> httpx2.Client:
    """Times out after `silence_s` without a byte. Raises ConfigError for proxies or certificates in
    the environment that can't be used."""
    try:
        return httpx2.Client(
            timeout=timeouts(silence_s),
            follow_redirects=False,
            verify=trusted_certificates() or True,
        )
    except ImportError as error:
        raise ConfigError(
            "the environment names a SOCKS proxy (ALL_PROXY), and socksio is not installed",
            hint=f"{sys.executable} -m pip install socksio; or name an http:// proxy",
        ) from error
    except (ValueError, httpx2.InvalidURL) as error:
        raise ConfigError(
            f"the proxies that the environment names are none: {error}",
            hint="look at HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"the certificates that the environment names can't be read: {error.strerror or error}",
            hint=f"look at SSL_CERT_FILE, SSL_CERT_DIR and {', '.join(_OTHERS_BUNDLES)}",
        ) from error


def timeouts(silence_s: float) -> httpx2.Timeout:
    """A connection may be silent for `silence_s`, and take as long to open, at most 10 s."""
    return httpx2.Timeout(silence_s, connect=min(silence_s, _CONNECT_TIMEOUT_S))


def trusted_certificates() -> ssl.SSLContext | None:
    """The authorities that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names, where the variables of
    OpenSSL are unset: many companies set only these. None: the defaults. Raises OSError."""
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return None
    named = next(filter(None, map(os.environ.get, _OTHERS_BUNDLES)), None)
    if named is None:
        return None
    is_folder = os.path.isdir(named)  # noqa: PTH112 - it goes to ssl as it is written
    return ssl.create_default_context(
        cafile=None if is_folder else named, capath=named if is_folder else None
    )


def connection_error(
    error: Exception, url: httpx2.URL, site: Site, silence_s: float, hub: str | None = None
) -> NetworkError:
    """What went wrong before the host at `url` answered, or in the middle of its answer. `hub`: the
    host that redirected us there."""
    reason = _ERRNO.sub("", str(error)) or type(error).__name__
    host = url.netloc.decode() or url.host
    proxy = proxy_to(url)
    way = f"{host}, through the proxy {proxy}," if proxy else host
    if hub not in (None, url.host):
        host = way = f"{host} (to which {hub} leads)"
    if distrust := _DISTRUST.search(reason):
        return NetworkError(
            f"nobody known here vouches for {host}: {distrust[1]}",
            hint="does a proxy of your company sign anew? SSL_CERT_FILE names its certificate; "
            "is the clock right? Does this network want a login?",
        )
    match error:
        case httpx2.ProxyError():
            return _refused(reason, proxy, host, site)
        case httpx2.ReadTimeout() | httpx2.WriteTimeout():
            return TransientError(f"{host} was silent for {silence_s:g} s", hint=site.other_ways)
        case httpx2.ConnectError() if "WRONG_VERSION_NUMBER" in reason:
            return NetworkError(
                f"{way} does not speak HTTPS",
                hint=f"write http:// in {'HTTPS_PROXY' if proxy else site.variables[0]}",
            )
        case httpx2.ConnectError() | httpx2.ConnectTimeout() | OSError():
            return Unreachable(f"{way} can't be reached: {reason}", hint=site.other_ways)
    return TransientError(f"the connection to {way} broke: {reason}", hint=site.other_ways)


def _refused(reason: str, proxy: str | None, host: str, site: Site) -> NetworkError:
    """A proxy's own refusal. `reason` begins with its status; a 4xx is not worth another try."""
    kind = NetworkError if reason.startswith("4") else TransientError
    way = site.another
    if reason.startswith("407"):
        way = f"it wants HTTPS_PROXY=http://USER:PASSWORD@{proxy or 'HOST:PORT'}"
    return kind(
        f"the proxy {proxy or 'in between'} opens no way to {host}: {reason}",
        hint=f"{way}; NO_PROXY names the hosts that need none",
    )


def proxy_to(url: httpx2.URL) -> str | None:
    """The proxy's host and port, without a password. None: the connection is direct."""
    if proxy_bypass(url.netloc.decode()):
        return None
    proxies = getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    return urlsplit(named).netloc.rpartition("@")[2] if named else None
