"""`<minimax:tool_call><invoke name="..."><parameter name="...">`: MiniMax M2."""

from edgellm.chat.tools.tagged import Tags, tagged_format

_TAGS = Tags(
    open='<invoke name="',
    named='">',
    key='<parameter name="',
    value='">',
    end="</parameter>",
    close="</invoke>",
)
_BEGIN, _END = "<minimax:tool_call>\n", "\n</minimax:tool_call>"


def speaks(source: str) -> bool:
    return _BEGIN.strip() in source


FORMAT = tagged_format("minimax", speaks, _TAGS, [_BEGIN], [_END], holds_many=True)
