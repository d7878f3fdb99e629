"""Certificates that are renewed under a running server."""

import asyncio
import shutil
import ssl

import pytest
from certificates import AUTHORITY, FOLDER

from edgellm.cli.serving.certificate_renewal import keep_renewed
from edgellm.server.door.certificate import load_certificate

PATIENCE_S = 30.0


@pytest.fixture
def tls(tmp_path):
    """Of localhost, in files of its own."""
    put(tmp_path, "server")
    return load_certificate(tmp_path / "site.pem", tmp_path / "site.key")


def put(folder, name, key=None):
    """As those who renew them do: written beside, then moved into place; the certificate last."""
    for file, source in (("site.key", f"{key or name}.key"), ("site.pem", f"{name}.pem")):
        shutil.copy(FOLDER / source, folder / "new")
        (folder / "new").replace(folder / file)


def shown(context):
    """What a newcomer is shown, by its name."""
    client = ssl.create_default_context(cafile=AUTHORITY)
    client.check_hostname = False
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there), context.wrap_bio(there, back, server_side=True)
    for end in (*ends, *ends):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ends[0].getpeercert()["subject"][0][0][1]


def renewed(tls, change, told):
    """Until something was said."""

    async def run():
        said = asyncio.Event()

        def say(line):
            told.append(line)
            said.set()

        keeping = asyncio.create_task(keep_renewed(tls, told.append, say, every_s=0.01))
        await asyncio.sleep(0)
        change()
        await asyncio.wait_for(said.wait(), PATIENCE_S)
        keeping.cancel()

    asyncio.run(run())


def test_who_comes_after_a_renewal_is_shown_the_new_one(tls, tmp_path):
    told = []
    assert shown(tls.context) == "server"
    renewed(tls, lambda: put(tmp_path, "box"), told)
    assert shown(tls.context) == "box"
    own = (FOLDER / "box.pem").read_text()
    assert told[-2:] == [own, f"the certificate was renewed: {tmp_path / 'site.pem'}"]


@pytest.mark.parametrize("files", [("expired",), ("box", "server")], ids=["expired", "mismatch"])
def test_one_that_cannot_be_used_is_said_and_the_one_before_goes_on(tls, tmp_path, files):
    told = []
    renewed(tls, lambda: put(tmp_path, *files), told)
    assert shown(tls.context) == "server"
    assert told[-1].startswith("the renewed certificate can't be used, the one before is: ")


def test_files_that_are_gone_are_said_once(tls, tmp_path):
    told = []
    renewed(tls, (tmp_path / "site.pem").unlink, told)
    assert "can't be read: No such file" in told[-1]
    assert shown(tls.context) == "server"


def test_without_tls_there_is_nothing_to_renew():
    asyncio.run(asyncio.wait_for(keep_renewed(None, print, print), PATIENCE_S))
