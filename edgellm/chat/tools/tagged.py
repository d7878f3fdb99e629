"""Calls written in tags, one for each parameter: Qwen3-Coder, GLM, DeepSeek V3.2 and others.

A value is written as it is. It ends at its end tag, if another parameter or the call's end follows
(or where a model forgot that, the block's end or another call); elsewhere that tag is part of it. A
string is told as JSON while it comes; any other value is JSON already, and told when it is whole.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgellm.chat import schema
from edgellm.chat.grammars.lark import Rules
from edgellm.chat.json_source import inside, is_json
from edgellm.chat.messages import Tool
from edgellm.chat.schema import Schema
from edgellm.chat.source import Broken, Reading, Source
from edgellm.chat.tools.calls import Calls
from edgellm.chat.tools.format import Format, is_of_a_name, repeated
from edgellm.chat.tools.marked import marked_format

_PYTHONS = {"True": "true", "False": "false", "None": "null"}  # as some templates write them


@dataclass(frozen=True, slots=True)
class Tags:
    """`open` NAME `named` (`key` KEY `value` `opening` VALUE `end`)* `close`, with gaps between.

    `inner` stands on both sides of a value and is no part of it, and so may `quotes`. Where the
    format tells strings from other values by itself, `value` is for strings and `other_value` for
    the others.
    """

    open: str
    named: str
    key: str
    value: str
    end: str
    close: str
    opening: str = ""
    inner: str = ""
    quotes: tuple[str, str] | None = None
    other_value: str | None = None
    gap: str = "\n"
    has_gaps: bool | None = True  # None: some of its models write them, some don't

    @property
    def values(self) -> tuple[str, ...]:
        return (self.value, self.other_value) if self.other_value else (self.value,)


def tagged_format(
    name: str,
    speaks: Callable[[str], bool],
    tags: Tags,
    begins: Sequence[str],
    ends: Sequence[str],
    *,
    holds_many: bool = False,
    begins_bare: bool = False,
) -> Format:
    """Calls in blocks: one in each, or all in one. The first of `begins` and `ends` is written.

    A block that isn't closed is a call all the same. `begins_bare`: these models leave out a
    block's begin.
    """
    starts, closes = [one.strip() for one in begins], [one.strip() for one in ends]
    bare = (tags.open,) if begins_bare else ()
    follow = tuple(filter(None, (tags.key, tags.close, *closes, *starts, tags.open)))

    def read(source: Source, calls: Calls, start: str) -> Reading[None]:
        if start != tags.open:
            yield from source.skip()
            if tags.open:
                yield from source.expect(tags.open)
        yield from _read_calls(source, calls, tags, closes, follow)

    def rule(rules: Rules, tools: Sequence[Tool], parallel: bool) -> str:
        one = rules.either([call_rule(rules, tool, tags) for tool in tools])
        inside = repeated(rules, one, tags.gap, parallel) if holds_many else one
        end = rules.text(ends[0]) if ends else ""
        block = rules.add(f"{rules.text(begins[0])} {inside} {end}")
        return block if holds_many else repeated(rules, block, tags.gap, parallel)

    texts = (tags.open, tags.key, *tags.values, tags.opening, tags.end, tags.close, *closes)
    markers = tuple(text for text in texts if text)
    return marked_format(
        name, speaks, read, rule, tuple(starts), markers=markers, bare=bare, ends_thought=True
    )


def _read_calls(
    source: Source, calls: Calls, tags: Tags, closes: Sequence[str], follow: tuple[str, ...]
) -> Reading[None]:
    """Those of one block, from behind the first `open` to the first of `closes`, or without."""
    while True:
        yield from read_call(source, calls, tags, follow)
        yield from source.skip()
        if (yield from source.accepts(*closes)):
            break
        yield from source.skip()
        if not tags.open or not (yield from source.accepts(tags.open)):
            break
    source.mark()


def read_call(source: Source, calls: Calls, tags: Tags, follow: tuple[str, ...]) -> Reading[None]:
    """One call, from its name to `close`. Nothing is told before the first tag behind its name.
    A value ends only where one of `follow` comes next."""
    name = yield from source.take_while(is_of_a_name, calls.max_name)
    if tags.named:
        yield from source.expect(tags.named)
    known = schema.members(schema.parameters(calls.tool(name)))
    is_begun = False
    while True:
        yield from source.skip()
        if (yield from source.expect(tags.key, tags.close)) == tags.close:
            break
        key, value = yield from source.take_until(*tags.values)
        if tags.opening:
            yield from source.skip()
            yield from source.expect(tags.opening)
        if not is_begun:
            is_begun = True
            yield calls.begin(name)
        yield calls.member(key)
        source.unmark()
        wanted, _ = known.get(key, ({}, False))
        if _is_string(wanted, value, tags):
            yield from _tell_string(source, calls, tags, follow)
        else:
            yield from _tell_other(source, calls, tags, follow, wanted)
        source.mark()
    if not is_begun:
        yield calls.begin(name)
    yield calls.end_members()
    source.mark()


def call_rule(rules: Rules, tool: Tool, tags: Tags) -> str:
    """A rule for one call of this tool: its parameters in the schema's order."""
    gap = _gap(rules, tags)
    parts = [rules.text(tags.open + tool.name + tags.named), gap]
    for key, (wanted, is_required) in schema.members(schema.parameters(tool)).items():
        rule = _parameter_rule(rules, tool, key, wanted, tags)
        parts.append(rule if is_required else f"{rule}?")
    return rules.add(" ".join([*parts, rules.text(tags.close)]))


def _tell_string(
    source: Source, calls: Calls, tags: Tags, follow: tuple[str, ...]
) -> Reading[None]:
    yield calls.arguments('"')
    ends = yield from _ends(source, tags)
    while True:
        _, end = yield from source.tell_until(
            ends, lambda text: calls.arguments(inside(text)), trims=False
        )
        if not end:
            raise Broken("a value does not end")
        if (yield from source.is_followed_by(*follow)):
            break
        yield calls.arguments(inside(end))
    yield calls.arguments('"')


def _tell_other(
    source: Source, calls: Calls, tags: Tags, follow: tuple[str, ...], wanted: Schema
) -> Reading[None]:
    source.mark()
    ends = yield from _ends(source, tags)
    text, end = yield from source.take_until(*ends)
    while not (yield from source.is_followed_by(*follow)):
        more, next_end = yield from source.take_until(*ends)
        text, end = text + end + more, next_end
    value = _PYTHONS.get(text.strip(), text.strip())
    is_other = is_json(value) and schema.may_be(wanted, json.loads(value))
    yield calls.arguments(value if is_other else json.dumps(text, ensure_ascii=False))


def _ends(source: Source, tags: Tags) -> Reading[tuple[str, ...]]:
    """A value that begins with `inner` ends with it, and may hold a bare `end`. Who begins one with
    `quotes` may forget to close them."""
    if tags.quotes and (yield from source.accepts(tags.quotes[0])):
        return (tags.quotes[1] + tags.end, tags.end)
    if tags.inner and not (yield from source.accepts(tags.inner)):
        return (tags.end, tags.inner + tags.end)
    return (tags.inner + tags.end,)


def _is_string(wanted: Schema, value: str, tags: Tags) -> bool:
    if tags.other_value:
        return value == tags.value
    return schema.types(wanted) == {"string"}


def _parameter_rule(rules: Rules, tool: Tool, key: str, wanted: Schema, tags: Tags) -> str:
    options = schema.options(wanted)
    if options is not None:
        return _options_rule(rules, key, options, tags)
    kinds = schema.types(wanted)
    if not kinds or "string" in kinds:
        return _written_rule(rules, key, rules.until(tags.inner + tags.end), tags, tags.value)
    value = rules.json(wanted, f"tool {tool.name!r}, parameter {key!r}")
    end = rules.text(tags.inner + tags.end)
    return _written_rule(rules, key, f"{value} {end}", tags, tags.values[-1])


def _options_rule(rules: Rules, key: str, options: Sequence[schema.Scalar], tags: Tags) -> str:
    """Strings stand there as they are, anything else as JSON."""
    texts: dict[str, list[str]] = {}  # by the mark before them
    for option in options:
        text = option if isinstance(option, str) else json.dumps(option)
        mark = tags.value if isinstance(option, str) else tags.values[-1]
        texts.setdefault(mark, []).append(text)
    end = rules.text(tags.inner + tags.end)
    ways = []
    for mark, each in texts.items():
        value = rules.either([rules.plain(text) for text in dict.fromkeys(each)])
        ways.append(_written_rule(rules, key, f"{value} {end}", tags, mark))
    return ways[0] if len(ways) == 1 else rules.either(ways)


def _written_rule(rules: Rules, key: str, value: str, tags: Tags, mark: str) -> str:
    """`value` is a rule up to its end's mark."""
    gap = _gap(rules, tags)
    parts = [rules.text(tags.key + key + mark)]
    if tags.opening:
        parts += [gap, rules.text(tags.opening)]
    if tags.inner:
        parts.append(rules.text(tags.inner))
    return rules.add(" ".join([*parts, value, gap]))


def _gap(rules: Rules, tags: Tags) -> str:
    if tags.has_gaps is False:
        return ""
    return rules.plain(tags.gap) + ("?" if tags.has_gaps is None else "")
