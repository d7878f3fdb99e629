"""The certificate that a server shows, and its key: looked at before anybody waits for them.

Whether a client could take it is found by a handshake in memory, with a client that trusts the
certificate as it stands: OpenSSL itself says then that it has expired, or is none of a server.
"""

import contextlib
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgellm.errors import ConfigError

_CERTIFICATE, _KEY = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----"
_END = "-----END CERTIFICATE-----"
_MISMATCH = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}
_PROTOCOLS = ["http/1.1"]  # who can speak HTTP/2, too, is told that this can't (RFC 7301)


class _NeedsPassphrase(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server's TLS stands on."""

    context: ssl.SSLContext
    own: str  # in PEM's form, without those that lead to its authority
    names: tuple[str, ...]  # by which it may be asked: DNS names and addresses
    cert_file: Path
    key_file: Path

    def renewed(self) -> "Certificate":
        """From the same files as they are now, for whoever comes from here on: the context is the
        same one. Raises ConfigError; then nothing has changed."""
        new = load_certificate(self.cert_file, self.key_file)
        _load_pair(self.context, self.cert_file, self.key_file)
        return replace(new, context=self.context)


def load_certificate(cert_file: Path, key_file: Path) -> Certificate:
    """Both are PEM; the certificate's own comes first in its file,
    then those between it and the authority.

    Raises ConfigError, which names the file: it can't be read, is of another kind or in another
    form, its key is another's or locked by a passphrase, or no client would take it.
    """
    certificate = _read(cert_file, "ssl_cert_file")
    if _CERTIFICATE not in certificate:
        raise ConfigError(
            f"ssl_cert_file {cert_file} holds no certificate in PEM's form",
            hint="one of DER's: openssl x509 -inform der -in FILE -out FILE.pem",
        )
    if _KEY not in _read(key_file, "ssl_key_file"):
        raise ConfigError(
            f"ssl_key_file {key_file} holds no key in PEM's form",
            hint="one of DER's: openssl pkey -inform der -in FILE -out FILE.pem",
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(_PROTOCOLS)
    context.options |= ssl.OP_NO_RENEGOTIATION  # it costs the server more than who asks for it
    _load_pair(context, cert_file, key_file)
    own = _own_part(certificate.decode("utf-8", "replace"))
    seen = _seen_by_client(context, own, cert_file)
    names = tuple(name for _, name in seen.get("subjectAltName", ()))
    return Certificate(context, own, names, cert_file, key_file)


def _load_pair(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    """Raises ConfigError."""

    def locked() -> str:
        raise _NeedsPassphrase

    try:
        context.load_cert_chain(cert_file, key_file, password=locked)
    except _NeedsPassphrase:
        raise ConfigError(
            f"ssl_key_file {key_file} is locked by a passphrase, and nobody is there to give it",
            hint=f"openssl pkey -in {key_file} -out FILE, readable by its user only",
        ) from None
    except ssl.SSLError as error:
        if error.reason in _MISMATCH:
            told = f"the key {key_file} is another certificate's, not that of {cert_file}"
            raise ConfigError(told, hint="look whether the two files were made together") from error
        raise ConfigError(
            f"{cert_file} and {key_file} can't be used: {_words(error)}",
            hint="openssl x509 -in FILE -noout -text shows a certificate",
        ) from error


def _own_part(pem: str) -> str:
    """The first certificate of a file: the server's own."""
    start = pem.index(_CERTIFICATE.decode())
    return pem[start : pem.index(_END, start) + len(_END)] + "\n"


def trusting(own: str) -> ssl.SSLContext:
    """For a client who knows a server's certificate beforehand: this one, whatever its name and
    whoever has signed it, and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=own)
    return context


def _seen_by_client(server: ssl.SSLContext, own: str, cert_file: Path) -> dict[str, Any]:
    """What a client learns of it, as SSLObject.getpeercert gives it. Raises ConfigError where none
    would take it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client = trusting(own).wrap_bio(to_client, to_server)
        other = server.wrap_bio(to_server, to_client, server_side=True)
        for end in (client, other) * 3:  # TLS 1.2 goes once more to and fro than 1.3
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
        return client.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(
            f"no client would take ssl_cert_file {cert_file}: {error.verify_message}",
            hint=f"openssl x509 -in {cert_file} -noout -dates -purpose tells more",
        ) from error
    except ssl.SSLError as error:
        raise ConfigError(f"ssl_cert_file {cert_file} can't be used: {_words(error)}") from error


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting} {path} can't be read: {error.strerror}") from error


def _words(error: ssl.SSLError) -> str:
    """OpenSSL's, as far as it has any."""
    return (error.reason or "OpenSSL can't read one of them").replace("_", " ")
