"""Files that hold certificates and keys, good ones and bad ones, as OpenSSL finds them."""

import os
import ssl

import pytest
from certificates import FOLDER, certificate

from edgellm.errors import ConfigError
from edgellm.server.door.certificate import load_certificate

BEGIN, END = "-----BEGIN {}-----\n", "-----END {}-----\n"


def junk(kind):
    return f"{BEGIN.format(kind)}bm90aGluZw==\n{END.format(kind)}"


def test_what_a_certificate_may_be_asked_by_is_known():
    assert certificate().names == ("localhost", "127.0.0.1", "0:0:0:0:0:0:0:1")
    assert certificate("box").names == ("box.lan",)


def test_a_system_that_allows_no_more_than_tls_1_2_has_its_certificate_looked_at_too(monkeypatch):
    usual = ssl.create_default_context

    def limited(*purpose):
        context = usual(*purpose)
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # as openssl.cnf's MaxProtocol
        return context

    monkeypatch.setattr(ssl, "create_default_context", limited)
    assert certificate("box").names == ("box.lan",)
    with pytest.raises(ConfigError, match="has expired"):
        certificate("expired")


def test_only_a_files_first_certificate_is_the_servers_own(tmp_path):
    chain = tmp_path / "chain.pem"
    own = (FOLDER / "server.pem").read_text()
    chain.write_text(f"of box 1\n{own}{(FOLDER / 'authority.pem').read_text()}")
    assert load_certificate(chain, FOLDER / "server.key").own == own


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("nowhere.pem", "server.key", "ssl_cert_file .*nowhere.pem can't be read: No such file"),
        ("server.pem", "nowhere.key", "ssl_key_file .*nowhere.key can't be read: No such file"),
        (".", "server.key", "ssl_cert_file .* can't be read: Is a directory"),
        ("server.key", "server.pem", "ssl_cert_file .*server.key holds no certificate"),
        ("server.pem", "server.pem", "ssl_key_file .*server.pem holds no key"),
        ("box.pem", "server.key", "the key .*server.key is another certificate's"),
        ("server.pem", "locked.key", "locked.key is locked by a passphrase"),
        ("expired.pem", "expired.key", "no client would take .*expired.pem: .*has expired"),
        ("person.pem", "person.key", "no client would take .*person.pem: uns.* purpose"),
    ],
)
def test_a_pair_that_is_none_is_said_with_its_file(cert, key, words):
    with pytest.raises(ConfigError, match=words) as raised:
        load_certificate(FOLDER / cert, FOLDER / key)
    assert raised.value.exit_code == 78


@pytest.mark.parametrize("broken", ["cert", "key"])
def test_what_looks_like_pem_and_is_none_is_said(tmp_path, broken):
    files = {"cert": FOLDER / "server.pem", "key": FOLDER / "server.key"}
    files[broken] = tmp_path / "junk.pem"
    files[broken].write_text(junk({"cert": "CERTIFICATE", "key": "PRIVATE KEY"}[broken]))
    with pytest.raises(ConfigError, match=r"junk.pem.* can't be used: \w"):
        load_certificate(files["cert"], files["key"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads whatever it likes")
def test_a_key_that_this_user_may_not_read_is_said(tmp_path):
    key = tmp_path / "server.key"
    key.write_bytes((FOLDER / "server.key").read_bytes())
    key.chmod(0)
    with pytest.raises(ConfigError, match=r"server\.key can't be read: Permission denied"):
        load_certificate(FOLDER / "server.pem", key)


def test_who_could_speak_http_2_is_told_of_http_1_1():
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_alpn_protocols(["h2", "http/1.1"])
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(back, there)
    other = certificate().context.wrap_bio(there, back, server_side=True)
    for end in (one, other, one):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert one.selected_alpn_protocol() == "http/1.1"
