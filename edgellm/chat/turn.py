"""One turn of a chat: the prompt for the model, and the parser for its answer. Pure.

The chat template shows how its model marks thoughts and calls tools. From this and the request come
the prompt, the structure that binds the answer, and the Listener that takes it apart. The chats of
all dialects go through here.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from edgellm.chat.answer import Listener
from edgellm.chat.continuing import Begun, continued, new, what_is_said
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.messages import (
    GBNF,
    ChatRequest,
    Choices,
    GenerateParams,
    JSONSchema,
    Lark,
    Message,
    Regex,
    Rule,
    Stage,
    Stages,
    Structure,
    Thinking,
    Tool,
    Watch,
)
from edgellm.chat.pairing import paired
from edgellm.chat.pictures import check_shown
from edgellm.chat.templating.template import ChatTemplate
from edgellm.chat.thoughts import Style, is_ended, thoughts_of
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import Format
from edgellm.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Turn:
    """`listen` makes the parser for one answer; None: it is plain text, and needs none.

    `structure_field` is the request's field that asked for the structure, for errors to name.
    """

    prompt: str
    params: GenerateParams
    structure_field: str
    listen: Callable[[Callable[[], str]], Listener] | None


def turn(template: ChatTemplate, asked: ChatRequest, now: datetime | None = None) -> Turn:
    """Raises BadRequest where the template refuses the conversation, or where two things that the
    request asks for exclude each other."""
    tools, style, said = _callable(asked), template.style, _begun(template, asked, now)
    if asked.params.pictures:
        check_shown(said.prompt, asked.params.pictures)
    thinking = _thinking(style, said, asked.reasoning_budget)
    params = replace(
        asked.params,
        stop=asked.params.stop + template.stop,
        structure=_structure(template.format, asked, tools, thinking, has_text=said.has_text),
    )
    field = "tools" if tools and not asked.params.structure else asked.structure_field
    thoughts = thoughts_of(
        style,
        opened=said.in_thoughts,
        apart=asked.reasoning_format != "none",
        text_begun=said.has_text,
    )
    if not (tools or thoughts.start or template.format.preface):
        return Turn(said.prompt, params, field, None)
    markers = (*template.format.starts, *template.format.markers) if tools else ()
    marks = (thoughts.start, thoughts.end, *thoughts.frame, *markers)
    shown = [marker for marker in marks if marker]
    return Turn(
        said.prompt,
        replace(params, markers=tuple(shown)),
        field,
        lambda new_id: Listener(template.format, Calls(tools, new_id), thoughts),
    )


def _begun(template: ChatTemplate, asked: ChatRequest, now: datetime | None) -> Begun:
    def render(messages: Sequence[Message], add_generation_prompt: bool) -> str:
        return template.render(
            messages,
            add_generation_prompt,
            tools=asked.tools,
            variables=asked.template_kwargs,
            now=now,
        )

    messages = paired(asked.messages)
    if not asked.continues:
        return new(messages, template.style, render)
    said = what_is_said(asked, template.style)
    return continued(messages[:-1], said, template.style, render)


def _thinking(style: Style | None, said: Begun, budget: int | None) -> Thinking | None:
    """The thoughts that the answer may still begin with, or is in the midst of."""
    if style is None or said.has_text or is_ended(style, said.prompt):
        return None
    return Thinking(style.start, style.end, said.in_thoughts, budget)


def _callable(asked: ChatRequest) -> tuple[Tool, ...]:
    """The tools that this answer may call."""
    choice = asked.tool_choice
    if choice.mode == "none":
        return ()
    there = {tool.name: tool for tool in asked.tools}
    for name in choice.names:
        if name not in there:
            known = ", ".join(list(there)[:10]) or "none"
            raise BadRequest(
                f"tool_choice: {name!r} is not among the tools ({known})", param="tool_choice"
            )
    return tuple(there[name] for name in choice.names) or asked.tools


def _structure(
    format: Format,
    asked: ChatRequest,
    tools: tuple[Tool, ...],
    thinking: Thinking | None,
    *,
    has_text: bool,
) -> Structure | None:
    """`has_text`: the prompt ends inside the answer's text, so nothing that comes is its first."""
    wanted = asked.params.structure
    stages: tuple[Stage, ...] = (thinking,) if thinking else ()
    if tools and asked.tool_choice.mode == "required":
        if wanted:
            raise BadRequest(
                "tool_choice: a call that must come leaves no room for another structure",
                hint=f"leave out {asked.structure_field}, or let tool_choice be auto",
                param="tool_choice",
            )
        return _staged(*stages, _calls(format, tools, asked.parallel_tool_calls))
    if wanted:
        assert not isinstance(wanted, Stages)
        if tools:
            return _staged(*stages, _or_calls(format, asked, tools, wanted))
        if format.preface:
            stages = (*stages, _preface(format.preface))
        return _staged(*stages, wanted)
    if tools:
        opens = tuple(map(format.binds, tools)) if format.binds else format.opens
        watch = Watch(format.starts, () if has_text else opens)
        return _staged(*stages, watch, _calls(format, tools, asked.parallel_tool_calls))
    return _staged(*stages) if thinking and thinking.budget is not None else None


def _staged(*stages: Stage) -> Structure:
    match stages:
        case (JSONSchema() | Regex() | Choices() | GBNF() | Lark() as only,):
            return only
        case _:
            return Stages(stages)


def _calls(format: Format, tools: tuple[Tool, ...], parallel: bool) -> Lark:
    rules = Rules()
    return rules.starting(format.rule(rules, tools, parallel))


def _preface(preface: Callable[[Rules], str]) -> Lark:
    rules = Rules()
    return rules.starting(preface(rules))


def _or_calls(format: Format, asked: ChatRequest, tools: tuple[Tool, ...], wanted: Rule) -> Lark:
    """An answer of this structure, or calls."""
    if not isinstance(wanted, JSONSchema):
        raise BadRequest(
            "tools: beside them only a JSON schema can bind the text",
            hint="leave out the tools, or say tool_choice: none",
            param="tools",
        )
    try:
        schema = json.loads(wanted.schema)
    except ValueError as error:  # of JSON itself, an integer of thousands of digits
        field = asked.structure_field
        raise BadRequest(f"{field}: {error}", param=field) from None
    rules = Rules()
    calls = format.rule(rules, tools, asked.parallel_tool_calls)
    preface = format.preface(rules) if format.preface else ""
    text = rules.json(schema, asked.structure_field, is_strict=True)
    return rules.starting(f"{preface} {text} | {calls}")
