"""Which start of the machine this is: what was true before another one need not be so any more."""

from edgellm.files import BOOT_ID
from edgellm.probe.host import host
from edgellm.probe.sources import Output, Sources


def boot_id(sources: Sources) -> str | None:
    """None: nobody says, and so nothing may be remembered for longer than this program runs."""
    if sources.system == "Darwin":
        answer = sources.run(host.SYSCTL, host.TIMEOUT_S)
        named = host.named(answer.text) if isinstance(answer, Output) else {}
        return named.get("kern.bootsessionuuid") or None
    text = sources.read_text(BOOT_ID)
    return text.strip() or None if isinstance(text, str) else None
