"""DeepSeek's markup, `<｜DSML｜invoke name="...">`: V3.2 and V4.

V3.2 calls its block `function_calls`, V4 `tool_calls`. A parameter says itself whether it is a
string; V4's results have no names. (llama.cpp: common/parsers/deepseek.cpp)
"""

from dataclasses import replace

from edgellm.chat.tools.format import results_in_order
from edgellm.chat.tools.tagged import Tags, tagged_format

_MARK = "｜DSML｜"
_TAGS = Tags(
    open=f'<{_MARK}invoke name="',
    named='">',
    key=f'<{_MARK}parameter name="',
    value='" string="true">',
    other_value='" string="false">',
    end=f"</{_MARK}parameter>",
    close=f"</{_MARK}invoke>",
)
_BEGINS = [f"<{_MARK}function_calls>\n", f"<{_MARK}tool_calls>\n"]
_ENDS = [f"\n</{_MARK}function_calls>", f"\n</{_MARK}tool_calls>"]


def speaks(source: str) -> bool:
    return "dsml_token" in source and "DSML" in source


def speaks_v3(source: str) -> bool:
    return speaks(source) and "function_calls" in source


V3 = tagged_format("deepseek-v3.2", speaks_v3, _TAGS, _BEGINS, _ENDS, holds_many=True)
V4 = replace(
    tagged_format("deepseek-v4", speaks, _TAGS, _BEGINS[::-1], _ENDS[::-1], holds_many=True),
    adapt=results_in_order,
)
