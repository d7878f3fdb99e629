"""`<function=NAME><parameter=KEY>...` in `<tool_call>`: Qwen3-Coder, Qwen 3.5, Nemotron 3."""

from edgellm.chat.tools.tagged import Tags, tagged_format

_TAGS = Tags(
    open="<function=",
    named=">",
    key="<parameter=",
    value=">",
    end="</parameter>",
    close="</function>",
    inner="\n",
)


def speaks(source: str) -> bool:
    return all(tag in source for tag in ("<tool_call>", _TAGS.open, _TAGS.key))


FORMAT = tagged_format(
    "qwen-coder", speaks, _TAGS, ["<tool_call>\n"], ["\n</tool_call>"], begins_bare=True
)
