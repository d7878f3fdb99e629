"""Results of calls as a field of the message that called, `tool_responses`: Gemma 4's templates.

What the model said next belongs to the same turn, and so to the same message, where that has no
text of its own. (llama.cpp: common/parsers/gemma4.cpp convert_tool_responses_gemma4)
"""

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

Mapped: TypeAlias = dict[str, Any]  # a message as templates see it


def with_responses(messages: Sequence[Mapped]) -> list[Mapped]:
    told: list[Mapped] = []
    responses: list[Mapped] | None = None  # of the message that was told last
    for message in messages:
        if message["role"] == "tool" and responses is not None:
            responses.append(_response(message))
            told[-1]["tool_responses"] = responses
        elif responses and _is_plain_answer(message) and not told[-1]["content"]:
            told[-1] |= {"content": message["content"]}
            responses = None
        else:
            told.append({**message})
            responses = [] if message.get("tool_calls") else None
    return told


def _response(result: Mapped) -> Mapped:
    try:
        content = json.loads(result["content"])
    except (ValueError, RecursionError):
        content = result["content"]
    return {"name": result.get("name") or result.get("tool_call_id", ""), "response": content}


def _is_plain_answer(message: Mapped) -> bool:
    is_answer = message["role"] == "assistant" and not message.get("tool_calls")
    return is_answer and bool(message["content"])
