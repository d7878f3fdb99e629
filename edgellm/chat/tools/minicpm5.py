"""`<function name="NAME"><param name="KEY">VALUE</param></function>`: OpenBMB's MiniCPM 5.

A value of several lines, or with marks in it, may stand in CDATA.
(llama.cpp: common/parsers/minicpm5.cpp)
"""

from edgellm.chat.tools.tagged import Tags, tagged_format

_TAGS = Tags(
    open="",
    named='">',
    key='<param name="',
    value='">',
    end="</param>",
    close="</function>",
    quotes=("<![CDATA[", "]]>"),
    has_gaps=False,
)


def speaks(source: str) -> bool:
    return '<function name="' in source and _TAGS.key in source


FORMAT = tagged_format("minicpm-5", speaks, _TAGS, ['<function name="'], [])
