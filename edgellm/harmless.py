"""Text that others wrote, made harmless for a terminal.

Model names, log lines and answers may hold anything: escape sequences that reach the clipboard
(OSC 52), right-to-left overrides that turn a line around, lone surrogates that no terminal can
be sent. All of it is taken out here, once, at the door; nothing behind it interprets markup.
"""

import re

# Whole sequences first, so that a coloured log line leaves no "[31m" behind. What is cut off
# halfway loses at least its control character below.
_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC, DCS, SOS, PM, APC, with their end
    r"|\x1b[ -/]*[0-~]"  # the short ones
)
_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1, but for tab and newline
_UNSEEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)  # bidirectional controls, and what takes no room but may hide words
_SURROGATE = "\ud800-\udfff"
_HARMFUL = re.compile(f"[{_CONTROL}{_UNSEEN}{_SURROGATE}]")
_BREAKS = re.compile(r"[\t\n]+")
_JOINERS = re.compile("[\u200c\u200d\ufe00-\ufe0f]")


def prose(text: str) -> str:
    """Running text: newlines stay, and so do the joiners that Persian, Hindi and emoji need."""
    return _HARMFUL.sub("", _SEQUENCE.sub("", text)).expandtabs(4)


def plain(text: str) -> str:
    """One line for a table. Without joiners: every terminal has its own idea of their width."""
    return _JOINERS.sub("", _HARMFUL.sub("", _BREAKS.sub(" ", _SEQUENCE.sub("", text))))
