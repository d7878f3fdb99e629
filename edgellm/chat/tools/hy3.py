"""`<tool_call:opensource>NAME<tool_sep:opensource>` and tags like GLM's: Tencent's Hy3.

Every mark has this suffix, which its template sets in one place.
(llama.cpp: models/templates/tencent-Hy3.jinja)
"""

from edgellm.chat.tools.tagged import Tags, tagged_format

_SUFFIX = ":opensource"
_TAGS = Tags(
    open=f"<tool_call{_SUFFIX}>",
    named=f"<tool_sep{_SUFFIX}>",
    key=f"<arg_key{_SUFFIX}>",
    value=f"</arg_key{_SUFFIX}>",
    opening=f"<arg_value{_SUFFIX}>",
    end=f"</arg_value{_SUFFIX}>",
    close=f"</tool_call{_SUFFIX}>",
)
_BEGIN, _END = f"<tool_calls{_SUFFIX}>\n", f"\n</tool_calls{_SUFFIX}>"


def speaks(source: str) -> bool:
    return "<tool_sep" in source and f"'{_SUFFIX}'" in source


FORMAT = tagged_format("hy3", speaks, _TAGS, [_BEGIN], [_END], holds_many=True)
