"""`<tool_call>NAME<arg_key>KEY</arg_key><arg_value>...`: GLM 4.5 and later.

4.5 and 4.6 write a new line after each tag, later ones none.
"""

from edgellm.chat.tools.tagged import Tags, tagged_format

_TAGS = Tags(
    open="",
    named="",
    key="<arg_key>",
    value="</arg_key>",
    opening="<arg_value>",
    end="</arg_value>",
    close="</tool_call>",
    has_gaps=None,
)


def speaks(source: str) -> bool:
    return "<tool_call>" in source and _TAGS.key in source


FORMAT = tagged_format("glm", speaks, _TAGS, ["<tool_call>"], [])
