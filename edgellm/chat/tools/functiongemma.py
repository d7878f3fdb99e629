"""`<start_function_call>call:NAME{key:<escape>text<escape>}<end_function_call>`: FunctionGemma.

(huggingface.co/google/functiongemma-270m-it, vLLM: tool_parsers/functiongemma_tool_parser.py)
"""

from edgellm.chat.tools.braced import Braces
from edgellm.chat.tools.marked import marked_format

_BRACES = Braces("<start_function_call>", "<end_function_call>", "<escape>")


FORMAT = marked_format(
    "functiongemma",
    _BRACES.is_in,
    _BRACES.read,
    _BRACES.rule,
    starts=(_BRACES.open,),
    markers=(_BRACES.close, _BRACES.quote),
)
