"""The identity of this boot: what was found out before a restart may no longer be true."""

from edgellm.files import BOOT_ID
from edgellm.probe.host import host
from edgellm.probe.sources import Output, Sources


def boot_id(sources: Sources) -> str | None:
    """None where the system tells none: then nothing may be kept beyond this process."""
    if sources.system == "Darwin":
        answer = sources.run(host.SYSCTL, host.TIMEOUT_S)
        named = host.named(answer.text) if isinstance(answer, Output) else {}
        return named.get("kern.bootsessionuuid") or None
    text = sources.read_text(BOOT_ID)
    return text.strip() or None if isinstance(text, str) else None
