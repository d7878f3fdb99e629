"""What the documents show: their sections' blocks, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
README, README_ZH = ROOT / "README.md", ROOT / "README.zh-CN.md"
DOCUMENTS = (README, README_ZH, *sorted((ROOT / "docs").rglob("*.md")))
_BLOCK = re.compile(r"^## ([^\n]+)$|^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def blocks(document: Path) -> Iterator[tuple[str, str, str]]:
    """Section, language and text of each fenced block; the section is "" before any heading."""
    section = ""
    for heading, _, language, text in _BLOCK.findall(document.read_text()):
        if heading:
            section = heading
        else:
            yield section, language, text


def commands(text: str) -> Iterator[str]:
    """Of a block for a shell: one may take several lines, by a quote or a backslash at an end."""
    command = ""
    for line in text.splitlines(keepends=True):
        command += line
        if not command.rstrip("\n").endswith("\\") and (words := _words(command)) is not None:
            if words:
                yield command.strip()
            command = ""
    if command.strip():
        raise ValueError(f"a quote stays open: {command}")


def without_remark(command: str) -> str:
    """As a table can name it: without what stands behind #, one blank between words."""
    return shlex.join(_words(command) or ())


def _words(command: str) -> list[str] | None:
    try:
        return shlex.split(command, comments=True)
    except ValueError:  # an open quote
        return None
