"""`<TOOLCALL>[{"name": ..., "arguments": {...}}]</TOOLCALL>`: NVIDIA's Nemotron Nano 2 and Super.

Nemotron 3 calls as Qwen3-Coder does.
"""

from edgellm.chat.tools.listed import listed_format

_OPEN, _CLOSE = "<TOOLCALL>", "</TOOLCALL>"


def speaks(source: str) -> bool:
    return _OPEN in source


FORMAT = listed_format("nemotron", speaks, (_OPEN,), _CLOSE)
