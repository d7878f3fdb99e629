"""`<seed:tool_call><function=NAME><parameter=KEY>...`: ByteDance's Seed-OSS."""

from edgellm.chat.tools.tagged import Tags, tagged_format

_TAGS = Tags(
    open="<function=",
    named=">",
    key="<parameter=",
    value=">",
    end="</parameter>",
    close="</function>",
)


def speaks(source: str) -> bool:
    return "<seed:tool_call>" in source


FORMAT = tagged_format("seed-oss", speaks, _TAGS, ["<seed:tool_call>\n"], ["\n</seed:tool_call>"])
